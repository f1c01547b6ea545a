"""State of the stream and of claim queues, read within bounds. `keda-jobs status` and the exporter show it."""
