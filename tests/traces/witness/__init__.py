"""An event job whose handler tells whether OpenTelemetry is loaded in its process."""
