"""Job <job>: <purpose>."""
