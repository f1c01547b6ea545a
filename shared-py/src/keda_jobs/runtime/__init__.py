"""What every process has: start and stop, logs, probes, metrics, traces, CPU workers."""
