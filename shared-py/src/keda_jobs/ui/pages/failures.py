"""Failed rows of a batch job: listed, and reset to pending, counted and confirmed first."""

from __future__ import annotations

from contextlib import aclosing

from aiohttp import web

from keda_jobs.claims.queue_failures import QueueFailures
from keda_jobs.settings import PgSettings
from keda_jobs.status.batch import find_queue_and_time, open_database
from keda_jobs.ui.actions import Action
from keda_jobs.ui.page import UI, render
from keda_jobs.ui.pages.actions import new_action, run_action
from keda_jobs.ui.row_query import FoundRows, RowQuery, parse_key

_PAGE = 50
_SAMPLE = 10


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [
        web.get("/batches/{name}/failures", show),
        web.get("/batches/{name}/retry", survey),
        web.post("/batches/{name}/retry", retry),
    ]


async def show(request: web.Request) -> web.Response:
    """List the failed rows in key order, a page at a time."""
    name, query, database = _question(request)
    after = parse_key(request.query.get("after", ""))

    async def read() -> FoundRows:
        async with open_database(database) as connection:
            table, now = await find_queue_and_time(connection, name)
            rows = await QueueFailures(connection, table).find(query.row_filter(), _PAGE + 1, after=after)
            return FoundRows(now, table.key, rows)

    found = await request.app[UI].failed_rows.get((name, query, after), read)
    return render(
        request,
        "failures.html",
        title=f"Failed rows of {name}",
        name=name,
        query=query,
        found=found,
        rows=found.rows[:_PAGE],
        is_first=after is None,
        next_path=query.path(request.path, after=found.rows[_PAGE - 1].key) if len(found.rows) > _PAGE else None,
    )


async def survey(request: web.Request) -> web.Response:
    """Count the rows that a retry would reset, show some, and ask."""
    name, query, database = _question(request)

    async def read() -> FoundRows:
        async with open_database(database) as connection:
            table, now = await find_queue_and_time(connection, name)
            failures = QueueFailures(connection, table)
            count = await failures.count(query.row_filter())
            return FoundRows(now, table.key, await failures.find(query.row_filter(), _SAMPLE), count)

    found = await request.app[UI].failed_rows.get((name, query, "count"), read)
    return render(request, "retry.html", title=f"Retry rows of {name}", name=name, query=query, found=found)


async def retry(request: web.Request) -> web.Response:
    """Reset the rows that the form selects to pending, as an action."""
    ui, name = request.app[UI], request.match_info["name"]
    query, database = RowQuery.parse(await request.post()), _database(request)
    async with open_database(database) as connection:
        table, _ = await find_queue_and_time(connection, name)
        count = await QueueFailures(connection, table).count(query.row_filter())

    async def work(action: Action) -> str:
        async with open_database(database) as connection:
            failures = QueueFailures(connection, table)
            async with aclosing(failures.reset_all(query.row_filter(), action.stop)) as resets:
                async for reset in resets:
                    action.done = reset
        ui.failed_rows.forget()
        for holder, rows in failures.locked.most_common():
            action.note(f"{_rows(rows)} left out, locked by {holder}; retry again when it has ended")
        stopped = "; stopped before the end, retry again to go on" if action.stop.is_set() else ""
        return f"{action.done:,} of {_rows(count.rows)} set to pending{stopped}"

    title = f"Retry {_rows(count.rows)} of {name}"
    return await run_action(request, new_action(request, title, f"/batches/{name}", count.rows), work)


def _question(request: web.Request) -> tuple[str, RowQuery, PgSettings]:
    return request.match_info["name"], RowQuery.parse(request.query), _database(request)


def _database(request: web.Request) -> PgSettings:
    database = request.app[UI].database
    if database is None:
        raise web.HTTPNotFound
    return database


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"
