"""Parts that all dashboards share: variables for data source and job, links, rows of panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

OVERVIEW, ONE_JOB, BATCH = "keda-jobs-overview", "keda-jobs-job", "keda-jobs-batch"
DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Base of the links to the runbook: the address of your clone.
REPOSITORY = "https://github.com/your-organisation/keda-jobs/blob/main"
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
    """Build the variable `job`: one of the jobs that have `series`."""
    return (
        build.QueryVariable("job")
        .label("Job")
        .datasource(DATASOURCE)
        .query(f"label_values({series}, job)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def any_of(series: str) -> build.QueryVariable:
    """Build the variable `job`: any of the jobs that have `series`, and all of them at first."""
    everything = model.VariableOption(text="All", value="$__all", selected=True)
    return one_of(series).multi(multi=True).include_all(include_all=True).current(everything)


def runbook(title: str, alert: str = "") -> build.DashboardLink:
    """Build a link to the runbook, or to its section about `alert`."""
    section = f"#{alert.lower()}" if alert else ""
    return (
        build.DashboardLink(title)
        .type(model.DashboardLinkType.LINK)
        .icon("doc")
        .url(f"${{repository}}/k8s/monitoring/RUNBOOK.md{section}")
        .target_blank(target_blank=True)
    )


def link_from_cell(uid: str) -> str:
    """Return the address of the dashboard `uid` for the job in a table's cell, with the same time range."""
    return f"/d/{uid}?var-job=${{__value.raw}}&var-datasource=${{datasource}}&${{__url_time_range}}"
