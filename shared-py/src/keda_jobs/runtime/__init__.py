"""Parts of every process: start and stop, logs, probes, metrics, traces, CPU workers."""
