"""The exporter: stream, consumers, retries, dead letters and claim queues in numbers, for Prometheus."""
