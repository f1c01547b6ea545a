"""Grafana dashboards as typed code: a module for each dashboard, and `page`, `panels`, `queries`, `health` for all.

`make dashboards` writes them as JSON to `k8s/monitoring/dashboards`.
"""
