"""The kinds of panels: a number with a judgement, curves, a table of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as style
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.page import DATASOURCE, runbook

Unit = Literal["short", "s", "bytes", "binBps", "percentunit", "ops", "mps", "rowsps", "dateTimeFromNow"]
COUNT: Unit = units.Short
SECONDS: Unit = units.Seconds
BYTES: Unit = units.BytesIEC
BYTES_A_SECOND: Unit = units.BytesPerSecondIEC
MESSAGES_A_SECOND: Unit = units.MessagesPerSecond
OPERATIONS_A_SECOND: Unit = units.OpsPerSecond
ROWS_A_SECOND: Unit = units.RowsPerSecond
SHARE: Unit = units.PercentUnit
WHEN: Unit = units.DateTimeFromNow

_STAT_HEIGHT, _GRAPH_HEIGHT, _TABLE_HEIGHT = 4, 8, 6


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and the name of its curves: `{{label}}` stands for a label's value."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Levels:
    """From where on a value is worth a look, and from where on it is bad."""

    warn: float | None = None
    bad: float | None = None

    def thresholds(self) -> dashboard.ThresholdsConfig:
        """Green, then yellow, then red."""
        steps = [(None, "green"), (self.warn, "yellow"), (self.bad, "red")]
        coloured = [
            model.Threshold(value=value, color=color) for value, color in steps if value is not None or color == "green"
        ]
        return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(coloured)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: a value for each job."""

    title: str
    expr: str
    unit: Unit = COUNT
    levels: Levels = Levels()


def number(
    title: str,
    description: str,
    expr: str,
    *,
    unit: Unit = COUNT,
    levels: Levels = Levels(),
    alert: str = "",
    absent: str = "none",
) -> stat.Panel:
    """What an expression is now, coloured by its level; `alert` names the section of the runbook behind it."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(prometheus.Dataquery().expr(expr).instant().ref_id("A"))
        .unit(unit)
        .thresholds(levels.thresholds())
        .no_value(absent)
        .color_mode(style.BigValueColorMode.BACKGROUND)
        .graph_mode(style.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(_STAT_HEIGHT)
        .span(3)
    )
    return panel.links([runbook("Runbook", alert)]) if alert else panel


def verdict(title: str, description: str, expr: str, *, good: str, bad: str, alert: str) -> stat.Panel:
    """A number that is 1 when all is well and 0 when not, in words."""
    words = {
        "1": model.ValueMappingResult(text=good, color="green", index=0),
        "0": model.ValueMappingResult(text=bad, color="red", index=1),
    }
    return number(title, description, expr, alert=alert).mappings([model.ValueMap(words)])


def curves(
    title: str,
    description: str,
    *queries: Query,
    unit: Unit = COUNT,
    levels: Levels = Levels(),
    width: int = 8,
    stacked: bool = False,
    exemplars: bool = False,
    alert: str = "",
    absent: str = "no pods",
) -> timeseries.Panel:
    """Expressions over time; `alert` as of a number. `absent` is shown when there is nothing to draw."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets([_curve(query, letter, exemplars) for query, letter in zip(queries, ascii_uppercase, strict=False)])
        .unit(unit)
        .min(0)
        .no_value(absent)
        .line_width(1)
        .fill_opacity(30 if stacked else 10)
        .show_points(style.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(style.TooltipDisplayMode.MULTI).sort(style.SortOrder.DESCENDING))
        .height(_GRAPH_HEIGHT)
        .span(width)
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(style.StackingMode.NORMAL).group("A"))
    if levels != Levels():
        line = common.GraphThresholdsStyleConfig().mode(style.GraphTresholdsStyleMode.DASHED)
        panel.thresholds(levels.thresholds()).thresholds_style(line)
    return panel.links([runbook("Runbook", alert)]) if alert else panel


def bars(title: str, description: str, query: Query) -> bargauge.Panel:
    """What an expression is now, a bar for each of its series."""
    instant = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).instant().ref_id("A")
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(instant)
        .unit(COUNT)
        .min(0)
        .no_value("none")
        .thresholds(Levels().thresholds())
        .orientation(style.VizOrientation.HORIZONTAL)
        .display_mode(style.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(_GRAPH_HEIGHT)
        .span(6)
    )


def jobs_table(title: str, description: str, columns: Sequence[Column], address: str, absent: str) -> table.Panel:
    """A row for each job, whose name leads to `address`."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets([_cell(column, letter) for column, letter in zip(columns, ascii_uppercase, strict=False)])
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_named(columns))
        .no_value(absent)
        .override_by_name("Job", [model.DynamicConfigValue("links", [{"title": "This job", "url": address}])])
        .height(_TABLE_HEIGHT)
        .span(24)
    )
    for column in columns:
        panel.override_by_name(column.title, _look(column))
    return panel


def _curve(query: Query, letter: str, exemplars: bool) -> prometheus.Dataquery:
    curve = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).range().ref_id(letter)
    return curve.exemplar(exemplar=True) if exemplars else curve


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(style.LegendDisplayMode.LIST)
        .placement(style.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )


def _cell(column: Column, letter: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(column.expr).instant().format(PromQueryFormat.TABLE).ref_id(letter)


def _named(columns: Sequence[Column]) -> model.DataTransformerConfig:
    values = {f"Value #{letter}": column.title for column, letter in zip(columns, ascii_uppercase, strict=False)}
    shown = {"job": "Job", **values}
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(shown)},
        "renameByName": shown,
    }
    return model.DataTransformerConfig(id_val="organize", options=options)


def _look(column: Column) -> list[model.DynamicConfigValue]:
    look = [model.DynamicConfigValue("unit", column.unit)]
    if column.levels != Levels():
        look.append(model.DynamicConfigValue("thresholds", column.levels.thresholds().build()))
        look.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return look
