"""What all dashboards have: data source and job as variables, links to each other and to the runbook, rows."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

OVERVIEW, ONE_JOB, BATCH = "keda-jobs-overview", "keda-jobs-job", "keda-jobs-batch"
DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Where your clone is to be read; the links to the runbook begin with it.
REPOSITORY = "https://github.com/your-organisation/keda-jobs/blob/main"
_TAG = "keda-jobs"


def page(uid: str, title: str, description: str) -> build.Dashboard:
    """An empty dashboard; `uid` is its address in Grafana."""
    return (
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
        .link(_to_the_others())
        .link(runbook("Runbook"))
    )


def one_of(series: str) -> build.QueryVariable:
    """The variable `job`: one of the jobs that have `series`."""
    return (
        build.QueryVariable("job")
        .label("Job")
        .datasource(DATASOURCE)
        .query(f"label_values({series}, job)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def any_of(series: str) -> build.QueryVariable:
    """The variable `job`: any of the jobs that have `series`, at first all."""
    everything = model.VariableOption(text="All", value="$__all", selected=True)
    return one_of(series).multi(multi=True).include_all(include_all=True).current(everything)


def section(dashboard: build.Dashboard, question: str, *panels: Builder[model.Panel]) -> None:
    """A row of the dashboard and, below it, the panels that answer its question."""
    dashboard.with_row(build.Row(question))
    for panel in panels:
        dashboard.with_panel(panel)


def runbook(title: str, alert: str = "") -> build.DashboardLink:
    """A link to the runbook, or to its section about `alert`."""
    section_of = f"#{alert.lower()}" if alert else ""
    return (
        build.DashboardLink(title)
        .type(model.DashboardLinkType.LINK)
        .icon("doc")
        .url(f"${{repository}}/k8s/monitoring/RUNBOOK.md{section_of}")
        .target_blank(target_blank=True)
    )


def about_the_job_in_a_cell(uid: str) -> str:
    """The address of a dashboard about the job whose name a table's cell shows, with the present time range."""
    return f"/d/{uid}?var-job=${{__value.raw}}&var-datasource=${{datasource}}&${{__url_time_range}}"


def _to_the_others() -> build.DashboardLink:
    return (
        build.DashboardLink("Keda-jobs").type(model.DashboardLinkType.DASHBOARDS).tags([_TAG]).keep_time(keep_time=True)
    )
