"""The adapter to NATS JetStream: everything that imports nats-py."""
