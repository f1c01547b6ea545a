"""Adapter to NATS JetStream: every module that imports nats-py."""
