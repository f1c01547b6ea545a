"""Job <job>: reads <subject>."""
