"""Parts that all dashboards share: variables for data source, environment and job, links, rows of panels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

OVERVIEW, ONE_JOB, BATCH = "keda-jobs-overview", "keda-jobs-job", "keda-jobs-batch"
DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Selects the series of the environment that the variable names.
HERE = 'namespace="$namespace"'
# Base of the links to the runbook, in dashboards and alerts: where people can read your clone.
REPOSITORY = "https://github.com/your-organisation/keda-jobs/blob/main"
_RUNBOOK = "k8s/monitoring/RUNBOOK.md"
_TAG = "keda-jobs"

Panels = Sequence[Builder[model.Panel]]


def page(
    uid: str, title: str, description: str, job: build.QueryVariable, rows: Mapping[str, Panels]
) -> build.Dashboard:
    """Build a dashboard. `uid` is its address in Grafana, and `rows` holds the panels by the question they answer."""
    others = build.DashboardLink("Keda-jobs").type(model.DashboardLinkType.DASHBOARDS).tags([_TAG])
    dashboard = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([_TAG])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(build.ConstantVariable("repository").value(REPOSITORY))
        .with_variable(_namespace())
        .with_variable(job)
        .link(others.keep_time(keep_time=True))
        .link(runbook("Runbook"))
    )
    for question, panels in rows.items():
        dashboard.with_row(build.Row(question))
        for panel in panels:
            dashboard.with_panel(panel)
    return dashboard


def one_of(series: str) -> build.QueryVariable:
    """Build the variable `job`: one of the environment's jobs that have the series of this selector."""
    return _values("job", "Job", f"{{{series}, {HERE}}}")


def _namespace() -> build.QueryVariable:
    """Build the variable `namespace`, which tells environments apart. Each has an exporter."""
    return _values("namespace", "Environment", "keda_jobs_scrape_ok")


def _values(name: str, label: str, series: str) -> build.QueryVariable:
    return (
        build.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def any_of(series: str) -> build.QueryVariable:
    """Build the variable `job`: any of those jobs, and all of them at first."""
    everything = model.VariableOption(text="All", value="$__all", selected=True)
    return one_of(series).multi(multi=True).include_all(include_all=True).current(everything)


def runbook(title: str, alert: str = "") -> build.DashboardLink:
    """Build a link to the runbook, or to its section about `alert`."""
    return (
        build.DashboardLink(title)
        .type(model.DashboardLinkType.LINK)
        .icon("doc")
        .url(_runbook_url("${repository}", alert))
        .target_blank(target_blank=True)
    )


def with_links(rules: str) -> str:
    """Return the text of a rule file in which each alert has the address of its section of the runbook."""
    alert, lines = "", []
    for line in rules.splitlines(keepends=True):
        if found := re.match(r" *- alert: (\w+)$", line):
            alert = found[1]
        lines.append(re.sub(r"(?<= runbook_url:).*", f" {_runbook_url(REPOSITORY, alert)}", line))
    return "".join(lines)


def _runbook_url(repository: str, alert: str) -> str:
    return f"{repository}/{_RUNBOOK}" + (f"#{alert.lower()}" if alert else "")


def link_from_cell(uid: str) -> str:
    """Return the address of the dashboard `uid` for the job in a table's cell, with the same time range."""
    variables = "var-job=${__value.raw}&var-namespace=${namespace}&var-datasource=${datasource}"
    return f"/d/{uid}?{variables}&${{__url_time_range}}"
