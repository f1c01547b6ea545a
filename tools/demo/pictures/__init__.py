"""Scenario with pictures: the event jobs between a web server, NATS and S3."""
