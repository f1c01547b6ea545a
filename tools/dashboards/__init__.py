"""Grafana's dashboards as typed code: one module for each, `page` and `panels` for what they share.

`make dashboards` writes them as JSON to `k8s/monitoring/dashboards`.
"""
