"""Expressions that several panels share. `JOB` selects by the variable `job`, one or many; each event job has `LAG`."""

from __future__ import annotations

from dashboards.panels import Query

JOB = 'job=~"$job"'
LAG = "keda_jobs_consumer_lag"
_WINDOW = "$__rate_interval"


def of_each(series: str, selector: str = JOB) -> str:
    """What the exporter says of each job. While one exporter replaces the other, both say it, hence `max`."""
    return f"max by (job) ({series}{{{selector}}})"


def total(series: str, selector: str = JOB) -> str:
    """What the exporter says, added up over the jobs."""
    return f"sum({of_each(series, selector)})"


def from_postgres(counter: str, by: str) -> str:
    """How much a `counter` of the exporter's grows in a second."""
    return f"max by ({by}) (rate({counter}{{{JOB}}}[{_WINDOW}]))"


def rate(counter: str, by: str = "") -> str:
    """How much a `counter` of the jobs' own grows in a second, over all pods; by `by` when given."""
    return f"sum{_by(by)}(rate({counter}{{{JOB}}}[{_WINDOW}]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """The value below which `share` of what `histogram` saw lies."""
    buckets = rate(f"{histogram}_bucket", ", ".join(filter(None, ["le", by])))
    return f"histogram_quantile({share:g}, {buckets})"


def quantiles(histogram: str) -> list[Query]:
    """The median, and what one in 20 and one in 100 exceed."""
    return [Query(quantile(share, histogram), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


def mean(histogram: str) -> str:
    """The mean of what `histogram` saw."""
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"


def or_zero(expr: str, series: str, by: str = "") -> str:
    """`expr`, or 0 where it has nothing and the exporter, whose `series` it is, runs: a job without pods has none."""
    return f"{expr} or 0 * max{_by(by)}({series}{{{JOB}}})"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
