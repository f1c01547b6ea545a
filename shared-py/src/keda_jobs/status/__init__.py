"""What stream and claim queues hold, read within bounds; for `keda-jobs status` and for the exporter."""
