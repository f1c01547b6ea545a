"""Exporter of the stream, its consumers, retries and dead letters, and of the claim queues, for Prometheus."""
