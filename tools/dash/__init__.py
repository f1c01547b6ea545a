"""Command `make dash`: Prometheus, and Grafana where Docker is available, on the local stack of `make up`."""
