"""Kinds of panels: a number with a level, curves, bars, a table of jobs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as style
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.page import DATASOURCE, runbook
from exporter.metrics import COUNTERS, GAUGES

# Units by the first pattern that matches an expression.
_UNITS = (
    ("^count", units.Short),
    ("_timestamp_seconds", units.DateTimeFromNow),
    (r"rate\(\w+_messages_total", units.MessagesPerSecond),
    (r"rate\(\w+_rows_total", units.RowsPerSecond),
    (r"rate\(\w+_bytes_total", units.BytesPerSecondIEC),
    (r"rate\(\w+_(seconds_count|batches_total)", units.OpsPerSecond),
    ("_seconds", units.Seconds),
    ("_bytes", units.BytesIEC),
    ("", units.Short),
)
_COLUMNS, _IN_A_ROW = 24, 8
_STAT_HEIGHT, _GRAPH_HEIGHT, _TABLE_HEIGHT = 4, 8, 6
_EXPORTED = {name for name, *_ in GAUGES} | {f"{name}_total" for name, *_ in COUNTERS}

Panel = TypeVar("Panel", stat.Panel, timeseries.Panel, bargauge.Panel, table.Panel)


class Query(NamedTuple):
    """Expression, and the name of its curves. `{{label}}` is replaced by a label's value."""

    expr: str
    legend: str


class Levels(NamedTuple):
    """Values from which a number is yellow and red."""

    warn: float
    bad: float


class Column(NamedTuple):
    """Column of a table: a value for each job."""

    title: str
    expr: str
    levels: Levels | None = None


def number(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "",
    levels: Levels | None = None,
    alert: str = "",
    absent: str = "",
) -> stat.Panel:
    """Show the current value of an expression, coloured by level."""
    return (
        _panel(stat.Panel(), title, description, absent or _absent(expr), alert)
        .with_target(prometheus.Dataquery().expr(expr).instant().ref_id("A"))
        .unit(unit or _unit(expr))
        .thresholds(_thresholds(levels))
        .color_mode(style.BigValueColorMode.BACKGROUND)
        .graph_mode(style.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(_STAT_HEIGHT)
        .span(_COLUMNS // _IN_A_ROW)
    )


def spread(*numbers: stat.Panel) -> list[stat.Panel]:
    """Set the widths of numbers so that they fill their rows, with at most eight in each."""
    rows = math.ceil(len(numbers) / _IN_A_ROW)
    size = math.ceil(len(numbers) / rows)
    for first in range(0, len(numbers), size):
        row = numbers[first : first + size]
        for place, panel in enumerate(row):
            panel.span(_COLUMNS * (place + 1) // len(row) - _COLUMNS * place // len(row))
    return list(numbers)


def verdict(title: str, description: str, expr: str, *, good: str, bad: str, alert: str) -> stat.Panel:
    """Show in words an expression that is 1 or 0."""
    words = {
        "1": model.ValueMappingResult(text=good, color="green", index=0),
        "0": model.ValueMappingResult(text=bad, color="red", index=1),
    }
    return number(title, description, expr, alert=alert).mappings([model.ValueMap(words)])


def curves(
    title: str,
    description: str,
    *queries: Query,
    levels: Levels | None = None,
    width: int = 8,
    stacked: bool = False,
    exemplars: bool = False,
    alert: str = "",
    absent: str = "",
) -> timeseries.Panel:
    """Show expressions over time."""
    panel = (
        _panel(timeseries.Panel(), title, description, absent or _absent(*(query.expr for query in queries)), alert)
        .targets([_curve(query, letter, exemplars) for query, letter in zip(queries, ascii_uppercase, strict=False)])
        .unit(_unit(queries[0].expr))
        .min(0)
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
    if levels:
        line = common.GraphThresholdsStyleConfig().mode(style.GraphTresholdsStyleMode.DASHED)
        panel.thresholds(_thresholds(levels)).thresholds_style(line)
    return panel


def bars(title: str, description: str, query: Query) -> bargauge.Panel:
    """Show the current value of each series of an expression as a bar."""
    return (
        _panel(bargauge.Panel(), title, description, "none")
        .with_target(prometheus.Dataquery().expr(query.expr).legend_format(query.legend).instant().ref_id("A"))
        .unit(_unit(query.expr))
        .min(0)
        .thresholds(_thresholds(None))
        .orientation(style.VizOrientation.HORIZONTAL)
        .display_mode(style.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(_GRAPH_HEIGHT)
        .span(6)
    )


def jobs_table(title: str, description: str, columns: Sequence[Column], address: str, absent: str) -> table.Panel:
    """Show a row for each job, whose name links to `address`."""
    panel = (
        _panel(table.Panel(), title, description, absent)
        .targets([_cell(column, letter) for column, letter in zip(columns, ascii_uppercase, strict=False)])
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_name_columns(columns))
        .override_by_name("Job", [model.DynamicConfigValue("links", [{"title": "This job", "url": address}])])
        .height(_TABLE_HEIGHT)
        .span(24)
    )
    for column in columns:
        panel.override_by_name(column.title, _format(column))
    return panel


def _panel(panel: Panel, title: str, description: str, absent: str, alert: str = "") -> Panel:
    """Set the parts that all panels have. `alert` names the section of the runbook to link to."""
    panel.title(title).description(description).datasource(DATASOURCE).no_value(absent)
    return panel.links([runbook("Runbook", alert)]) if alert else panel


def _absent(*exprs: str) -> str:
    """Return the text for missing data, by the process that exports the series."""
    series = set(re.findall(r"keda_\w+", " ".join(exprs)))
    if any(name.startswith("keda_scaler_") for name in series):
        return "KEDA is not scraped"
    return "no exporter" if series & _EXPORTED else "no pods"


def _unit(expr: str) -> str:
    return next(unit for pattern, unit in _UNITS if re.search(pattern, expr))


def _thresholds(levels: Levels | None) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(value=None, color="green")]
    if levels:
        steps += [model.Threshold(levels.warn, "yellow"), model.Threshold(levels.bad, "red")]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


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


def _name_columns(columns: Sequence[Column]) -> model.DataTransformerConfig:
    values = {f"Value #{letter}": column.title for column, letter in zip(columns, ascii_uppercase, strict=False)}
    names = {"job": "Job", **values}
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": names,
    }
    return model.DataTransformerConfig(id_val="organize", options=options)


def _format(column: Column) -> list[model.DynamicConfigValue]:
    values = [model.DynamicConfigValue("unit", _unit(column.expr))]
    if column.levels:
        values.append(model.DynamicConfigValue("thresholds", _thresholds(column.levels).build()))
        values.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return values
