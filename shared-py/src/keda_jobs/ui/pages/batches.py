"""Batches: rows by status, running batches, rate and time left, and why rows failed."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from keda_jobs.status.batch import BatchStatus
from keda_jobs.status.row_counts import format_percent
from keda_jobs.ui.page import UI, render
from keda_jobs.ui.row_query import RowQuery


@dataclass(frozen=True, slots=True)
class Part:
    """Rows in one status. `start` and `width` are thousandths of the bar."""

    name: str
    css: str
    rows: int
    percent: str
    start: float
    width: float


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [web.get("/batches", show_all), web.get("/batches/{name}", show)]


async def show_all(request: web.Request) -> web.Response:
    """Show each queue in short."""
    ui = request.app[UI]
    await ui.look()
    batches = ui.queues.value if ui.queues else None
    return render(
        request,
        "batches.html",
        title="Batches",
        has_database=ui.queues is not None,
        batches=None if batches is None else [(one, parts(one)) for one in batches],
        refused=ui.queues_reader.refused if ui.queues_reader else {},
    )


async def show(request: web.Request) -> web.Response:
    """Show one queue."""
    ui, name = request.app[UI], request.match_info["name"]
    await ui.look()
    found = ui.queues.value if ui.queues else None
    one = next((one for one in found or () if one.table.batch_name == name), None)
    return render(
        request,
        "batch.html",
        title=name,
        status=404 if one is None and found is not None else 200,
        name=name,
        batch=one,
        parts=parts(one) if one else [],
        reasons=_with_paths(one) if one else [],
        is_read=found is not None,
        refused=ui.queues_reader.refused.get(name) if ui.queues_reader else None,
    )


def parts(batch: BatchStatus) -> list[Part]:
    """Return the rows by status, one beside the other in a bar."""
    counts, total = batch.counts, batch.counts.total
    found, start = [], 0.0
    for name, css, rows in (
        ("completed", "completed", counts.completed),
        ("processing", "processing", counts.processing),
        ("pending", "pending", counts.pending),
        ("waiting for a retry", "waiting", counts.waiting),
        ("failed permanently", "failed", counts.failed_permanently),
    ):
        width = 1000 * rows / total if total else 0.0
        found.append(Part(name, css, rows, format_percent(rows, total), round(start, 2), round(width, 2)))
        start += width
    return found


def _with_paths(batch: BatchStatus) -> list[tuple[str, int, int, str]]:
    """Return each reason with its numbers and the address of its rows."""
    failures = f"/batches/{batch.table.batch_name}/failures"
    return [
        # A long reason was cut, and perhaps within its dots.
        (one.reason, one.rows, one.failed_permanently, RowQuery(one.reason.rstrip(".")).path(failures))
        for one in batch.failures.reasons
    ]
