"""Event job whose handler logs whether OpenTelemetry is loaded in its process."""
