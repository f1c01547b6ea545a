"""`make dash`: Prometheus and, where Docker has it, Grafana on what `make up` started."""
