"""Expressions that several panels share. `JOB` selects by the variables, and every event job has `LAG`."""

from __future__ import annotations

from dashboards.page import HERE
from dashboards.panels import Query

JOB = f'{HERE}, job=~"$job"'
SCALED = f'{HERE}, scaledObject=~"$job"'
LAG = "keda_jobs_consumer_lag"
_WINDOW = "$__rate_interval"


def highest(series: str, by: str = "", selector: str = JOB) -> str:
    """Return the highest value of a series."""
    return f"max{_by(by)}({series}{{{selector}}})"


def per_job(series: str, selector: str = JOB) -> str:
    """Return the exporter's value for each job. It is a maximum: an old and a new exporter may overlap."""
    return highest(series, "job", selector)


def total(series: str, selector: str = JOB) -> str:
    """Return the sum of the exporter's values over the jobs."""
    return f"sum({per_job(series, selector)})"


def over_pods(series: str, by: str = "") -> str:
    """Return the sum of a series over the pods."""
    return f"sum{_by(by)}({series}{{{JOB}}})"


def pods(series: str, exported: str, by: str = "") -> str:
    """Return the number of pods that have `series`."""
    return or_zero(f"count{_by(by)}({series}{{{JOB}}})", exported, by)


def exported_rate(counter: str, by: str) -> str:
    """Return the growth per second of a counter of the exporter."""
    return f"max{_by(by)}(rate({counter}{{{JOB}}}[{_WINDOW}]))"


def rate(counter: str, by: str = "") -> str:
    """Return the growth per second of a counter of the jobs, over all pods."""
    return f"sum{_by(by)}(rate({counter}{{{JOB}}}[{_WINDOW}]))"


def increase(counter: str, by: str = "") -> str:
    """Return the growth of a counter of the jobs in the window, over all pods."""
    return f"sum{_by(by)}(increase({counter}{{{JOB}}}[{_WINDOW}]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """Return the value below which a `share` of the observations lies."""
    buckets = rate(f"{histogram}_bucket", ", ".join(filter(None, ["le", by])))
    return f"histogram_quantile({share:g}, {buckets})"


def quantiles(histogram: str) -> list[Query]:
    """Return the median, the 95th and the 99th percentile."""
    return [Query(quantile(share, histogram), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


def mean(histogram: str) -> str:
    """Return the mean of the observations."""
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"


def or_zero(expr: str, exported: str, by: str = "") -> str:
    """Return `expr`, or 0 where it has no value but the exporter, whose series `exported` is, runs."""
    return f"{expr} or 0 * {highest(exported, by)}"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
