"""Queues in databases of other people: any names, any schema, rights taken away, and roles that are not trusted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.claims import ClaimTable, Failure, SettledRows, schema
from keda_jobs.claims.check import QueueCheck
from keda_jobs.claims.failed_rows import FailedRows, RowFilter
from keda_jobs.claims.registry import list_queues
from keda_jobs.claims.roles import EXPORTER, OWNER
from keda_jobs.claims.rows import CompletedRow
from keda_jobs.claims.table import quote
from keda_jobs.errors import Misconfigured
from keda_jobs.status.queues import read_batches, read_claimable, read_ranges
from keda_jobs.status.row_counts import read_failures
from stack import PostgresServer

from .example_tables import ExampleTable
from .harness import Owner, QueueHarness, failures

_ODD = 'O\'Brien "q" $1 %I {key}; $body$ $body_ --'

# People harden databases so: nobody may use `public` without having been told so.
_HARDENED = "REVOKE ALL ON SCHEMA public FROM PUBLIC"


def table_of(
    name: str, key: str = "id", *, schema: str | None = None, batch_name: str = "odd-lines", columns: Sequence[str] = ()
) -> ExampleTable:
    """Describe a table with a key and a text column that the job reads and writes, and further `columns`."""
    table = ClaimTable(batch_name, name, key, ("order",), ("Net", *columns), schema=schema)
    more = "".join(f", {quote(column)} text" for column in columns)
    ddl = f'CREATE TABLE {table.sql_name} ({quote(key)} bigint PRIMARY KEY, "order" text, "Net" text{more})'
    return ExampleTable(table, ddl, '"order"', "'order ' || key", lambda key: (f"net {key}", *columns))


@pytest.fixture
async def owner(postgres_server: PostgresServer, database: str) -> AsyncIterator[Owner]:
    """Connect to an empty database as its owner."""
    connection = await asyncpg.connect(postgres_server.dsn_of(database))
    yield connection
    await connection.close()


@pytest.fixture
def no_migrations(tmp_path: Path) -> Path:
    """Create the folder of a job whose table exists already."""
    return tmp_path


async def create(owner: Owner, example: ExampleTable) -> None:
    """Create the table, owned as a job's own migrations would have it."""
    await owner.execute(f"""
DO $$ BEGIN CREATE ROLE {OWNER} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
{example.ddl}; ALTER TABLE {example.table.sql_name} OWNER TO {OWNER}""")


async def insert(owner: Owner, table: ClaimTable, keys: Sequence[int]) -> None:
    await owner.execute(
        f"INSERT INTO {table.sql_name} ({table.sql_key}, \"order\") SELECT k, 'o' FROM unnest($1::bigint[]) AS k", keys
    )


@pytest.mark.parametrize(
    ("schema_name", "name", "key"),
    [("My.Shop", "Order Lines", "Id"), ("order", "select", "user"), (_ODD, _ODD, _ODD), ("日本", "ü" * 31, "Ключ")],
)
async def test_a_queue_works_whatever_the_names_are_and_without_the_schema_public(
    postgres_server: PostgresServer,
    database: str,
    owner: Owner,
    no_migrations: Path,
    schema_name: str,
    name: str,
    key: str,
) -> None:
    example = table_of(name, key, schema=schema_name)
    table = example.table
    await owner.execute(f"CREATE SCHEMA {quote(schema_name)}; {_HARDENED}")
    await create(owner, example)
    await insert(owner, table, [1])
    await schema.apply(owner, table, no_migrations)
    await insert(owner, table, range(2, 9))
    queue = QueueHarness(postgres_server, database, example, owner)

    worker = await queue.worker()
    batch = await worker.claim(6)
    assert batch is not None
    assert {row.values for row in batch.rows} == {("o",)}
    done = [CompletedRow(row, ("net",)) for row in batch.rows if row.key <= 3]
    await worker.settle(batch, done, failures(batch, None, [4, 5]))
    await worker.close(batch)
    batch = await worker.claim(1)
    assert batch is not None
    await queue.expire_leases()
    assert await worker.recover() == 1

    reset = FailedRows(await queue.connect(f"{table.queue_name}_worker"), table_with_schema(table, schema_name))
    assert await anext(reset.reset_all(RowFilter(), asyncio.Event())) == 2
    await owner.execute(f"UPDATE {table.sql_name} SET batch_status = 'pending' WHERE {table.sql_key} = 1")
    await owner.execute(f"DELETE FROM {table.sql_name} WHERE {table.sql_key} = 8")
    assert await (await queue.scaler()).fetchval(f"SELECT rows FROM {table.claimable}") == 5

    exporter = await queue.connect(EXPORTER)
    [listed] = await list_queues(exporter)
    assert (listed.sql_name, listed.sql_key) == (table.sql_name, table.sql_key)
    assert await read_claimable(exporter, listed) == 5
    assert (await read_batches(exporter, listed)).batches_abandoned == 1
    assert (await read_ranges(exporter, listed)).pending == 5
    async with owner.transaction():
        assert (await read_failures(owner, listed, await owner.fetchval("SELECT now()"))).permanently == 0
    check = QueueCheck(await queue.connect(f"{table.queue_name}_worker"), listed, repair=True)
    last = [step async for step in check.run(asyncio.Event())][-1]
    assert (last.rows, last.stranded_rows, last.wrong_ranges) == (7, 0, 0)
    assert await queue.drain(worker) == 5
    await owner.execute(f"TRUNCATE {table.sql_name}")
    assert await queue.ranges() == []

    await insert(owner, table, range(9, 13))
    await owner.execute(f"""
UPDATE {table.sql_name} SET "order" = 'bad' WHERE {table.sql_key} = 9;
ALTER TABLE {table.sql_name} ADD CHECK ("Net" <> 'bad'),
  ADD CHECK (batch_status <> 'processing' OR "order" <> 'bad') NOT VALID""")
    batch = await worker.claim(4)
    assert batch is not None
    assert sorted(row.key for row in batch.rows) == [10, 11, 12]
    done = [CompletedRow(row, ("bad" if row.key == 10 else "net",)) for row in batch.rows]
    assert await worker.settle(batch, done, ()) == SettledRows(completed=2, failed=1)
    await queue.disconnect()


def table_with_schema(table: ClaimTable, schema_name: str) -> ClaimTable:
    """Describe the table as the records of the database do."""
    return ClaimTable(table.batch_name, table.name, table.key, schema=schema_name, queue_name=table.queue_name)


async def test_the_search_path_of_no_role_matters_after_the_apply(
    postgres_server: PostgresServer, database: str, owner: Owner, no_migrations: Path
) -> None:
    example = table_of("lines")
    await owner.execute(f"CREATE SCHEMA app; SET search_path = app; {_HARDENED}")
    await create(owner, example)
    await schema.apply(owner, example.table, no_migrations)
    await owner.execute("RESET search_path; CREATE TABLE public.lines (id integer)")
    queue = QueueHarness(postgres_server, database, example, owner)
    for role in ("lines_worker", "lines_scaler", EXPORTER):
        await owner.execute(f"ALTER ROLE {role} IN DATABASE {database} SET search_path = nowhere")
    await insert(owner, table_with_schema(example.table, "app"), [1, 2, 3])
    worker = await queue.worker()
    batch = await worker.claim(9)
    assert batch is not None
    await queue.settle_all(worker, batch)
    assert await (await queue.connect(EXPORTER)).fetchval("SELECT completed FROM keda_jobs.lines_batches") == 3
    assert await (await queue.scaler()).fetchval(f"SELECT rows FROM {example.table.claimable}") == 0
    await queue.disconnect()


async def test_tables_of_one_name_in_two_schemas_have_a_queue_each(
    postgres_server: PostgresServer, database: str, owner: Owner, no_migrations: Path
) -> None:
    shop = table_of("lines", schema="shop", batch_name="shop-lines")
    depot = table_of("lines", schema="depot", batch_name="depot-lines")
    await owner.execute("CREATE SCHEMA shop; CREATE SCHEMA depot")
    for number, example in enumerate((shop, depot), 1):
        await create(owner, example)
        await schema.apply(owner, example.table, no_migrations)
        await insert(owner, example.table, range(number))
    for number, example in enumerate((shop, depot), 1):
        queue = QueueHarness(postgres_server, database, example, owner)
        assert await queue.drain(await queue.worker()) == number
        await queue.disconnect()


@pytest.mark.parametrize(
    "other",
    [
        ClaimTable("odd-lines", "more"),
        ClaimTable("odd-lines", "lines", "no"),
        ClaimTable("more-lines", "lines"),
        ClaimTable("odd-lines", "lines", schema="app"),
    ],
)
async def test_a_second_queue_by_the_same_job_table_or_name_is_refused_in_one_line(
    owner: Owner, no_migrations: Path, other: ClaimTable
) -> None:
    await create(owner, table_of("lines"))
    await schema.apply(owner, ClaimTable("odd-lines", "lines"), no_migrations)
    await owner.execute(f"""
ALTER TABLE lines ADD COLUMN no bigint NOT NULL UNIQUE; CREATE SCHEMA app;
CREATE TABLE app.lines (id bigint PRIMARY KEY); CREATE TABLE public.more (id bigint PRIMARY KEY);
ALTER TABLE app.lines OWNER TO {OWNER}; ALTER TABLE public.more OWNER TO {OWNER}""")
    with pytest.raises(Misconfigured, match=r'the queue lines of the job odd-lines is on "public"\."lines"') as refused:
        await schema.apply(owner, other, no_migrations)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("keda_jobs", "lines is in keda_jobs, the library's schema; move it"), ("nope", "there is no schema nope")],
)
async def test_a_schema_that_cannot_have_a_queue_is_refused(
    owner: Owner, no_migrations: Path, name: str, reason: str
) -> None:
    with pytest.raises(Misconfigured, match=reason):
        await schema.apply(owner, ClaimTable("odd-lines", "lines", schema=name), no_migrations)


async def test_a_worker_sees_the_batches_of_its_own_queue_and_the_columns_that_it_needs(
    postgres_server: PostgresServer, database: str, owner: Owner, no_migrations: Path
) -> None:
    lines, secrets = (
        table_of("lines", columns=["secret"]),
        table_of("others", batch_name="other-lines", schema="public"),
    )
    for example in (lines, secrets):
        await create(owner, example)
        await schema.apply(owner, example.table, no_migrations)
        await insert(owner, example.table, [1, 2])
        queue = QueueHarness(postgres_server, database, example, owner)
        await queue.drain(await queue.worker())
        await queue.disconnect()
    assert await owner.fetchval("SELECT count(*) FROM public.batch_jobs") == 2
    queue = QueueHarness(postgres_server, database, lines, owner)
    worker = await queue.connect("lines_worker")
    for seen in ("batch_jobs ORDER BY started_at DESC LIMIT 10", "keda_jobs.lines_batches"):
        assert {row["batch_name"] for row in await worker.fetch(f"SELECT * FROM {seen}")} == {"odd-lines"}
    # A view without a barrier would show the rows to a function that the worker brings along.
    await worker.execute("CREATE FUNCTION pg_temp.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN"
        " RAISE EXCEPTION 'leaked %', $1; END $$")  # fmt: skip
    for view in ("batch_jobs", "keda_jobs.lines_batches"):
        with pytest.raises(asyncpg.RaiseError, match="leaked odd-lines"):
            await worker.fetch(f"SELECT * FROM {view} WHERE pg_temp.leak(batch_name)")
    for forbidden in (
        "SELECT * FROM keda_jobs.batch_jobs",
        "SELECT * FROM keda_jobs.other_lines_batches",
        "SELECT rows FROM keda_jobs.other_lines_claimable",
        "SELECT * FROM public.others",
        'SELECT "order", secret FROM lines',
        "SELECT lines FROM lines",
        "CREATE TABLE keda_jobs.mine (a text)",
        "SELECT keda_jobs.other_lines_queue_recount('{1}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute(forbidden)
    columns = "batch_name, pod_name, lease_expires_at"
    with pytest.raises(asyncpg.WithCheckOptionViolationError):
        await worker.execute(f"INSERT INTO keda_jobs.lines_batches ({columns}) VALUES ('other-lines', 'x', now())")
    await queue.disconnect()


async def test_a_right_that_the_server_does_not_grant_is_an_error_in_one_line(
    postgres_server: PostgresServer, database: str, owner: Owner, no_migrations: Path
) -> None:
    await owner.execute(f"""
DO $$ BEGIN CREATE ROLE depot_clerk LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
ALTER DATABASE {database} OWNER TO depot_clerk; CREATE SCHEMA app""")
    await create(owner, table_of("lines", schema="app"))
    await owner.execute(f"GRANT {OWNER} TO depot_clerk WITH ADMIN OPTION; GRANT USAGE ON SCHEMA app TO depot_clerk")
    clerk = await asyncpg.connect(postgres_server.dsn_of(database, "depot_clerk"))
    try:
        with pytest.raises(Misconfigured) as refused:
            await schema.apply(clerk, ClaimTable("clerk-lines", "lines", schema="app"), no_migrations)
        assert "no privileges were granted" in str(refused.value) or "permission denied" in str(refused.value)
        assert "\n" not in str(refused.value)
        await owner.execute("SET client_min_messages = error")
        (no_migrations / "0001_careless.sql").write_text("DO $$ BEGIN RAISE WARNING 'look %', E'a\\nb'; END $$")
        with pytest.raises(Misconfigured, match=r"careless\.sql: PostgreSQL warned: look a b; nothing was changed"):
            await schema.apply(owner, ClaimTable("clerk-lines", "lines", schema="app"), no_migrations)
    finally:
        await clerk.close()
        await owner.execute(
            "REASSIGN OWNED BY depot_clerk TO keda_jobs; DROP OWNED BY depot_clerk; DROP ROLE depot_clerk"
        )


async def test_a_column_that_a_job_cannot_write_is_refused_by_the_schema(owner: Owner, no_migrations: Path) -> None:
    example = table_of("lines")
    await create(owner, example)
    await owner.execute("ALTER TABLE lines ADD COLUMN tags text[]")
    reasons = {"tags": r"cannot write lines\.tags: arrays are not", "phone": "lines has no column phone; create it"}
    for column, reason in reasons.items():
        with pytest.raises(Misconfigured, match=reason):
            await schema.apply(owner, replace(example.table, writes=(column,)), no_migrations)
    assert not await owner.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'keda_jobs')")


async def test_jsonb_is_a_python_value_and_an_array_is_a_list(
    postgres_server: PostgresServer, database: str, owner: Owner, no_migrations: Path
) -> None:
    values = [{"a": [1, None, {"b": "ü"}]}, [1, 2.5], "text", None, True, 2**70]
    table = ClaimTable("odd-lines", "lines", "id", ("doc", "plain", "tags"), ("doc", "plain"))
    ddl = "CREATE TABLE lines (id bigint PRIMARY KEY, doc jsonb, plain json, tags text[])"
    queue = QueueHarness(postgres_server, database, ExampleTable(table, ddl, "", "", lambda key: ()), owner)
    await create(owner, queue.example)
    await schema.apply(owner, table, no_migrations)
    rows = [(key, json.dumps(value), json.dumps(value), ["a", None]) for key, value in enumerate(values)]
    await owner.executemany("INSERT INTO lines VALUES ($1, $2, $3, $4)", rows)
    await owner.execute("INSERT INTO lines VALUES (99)")
    worker = await queue.worker()
    batch = await worker.claim(100)
    assert batch is not None
    claimed = {row.key: row.values for row in batch.rows}
    assert claimed == {key: (v, v, ["a", None]) for key, v in enumerate(values)} | {99: (None, None, None)}
    await worker.settle(batch, [CompletedRow(row, ({"key": row.key}, '{"is": "text"}')) for row in batch.rows], ())
    written = await owner.fetch("SELECT doc ->> 'key', plain ->> 'is' FROM lines ORDER BY id")
    assert [tuple(row) for row in written] == [(str(key), "text") for key in (*range(6), 99)]
    await queue.disconnect()


async def test_a_database_that_knows_few_characters_stores_what_it_can_and_every_reason(
    postgres_server: PostgresServer, database: str, owner: Owner, no_migrations: Path
) -> None:
    name = f"latin_{database}"
    await owner.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    connection = await asyncpg.connect(postgres_server.dsn_of(name))
    queue = QueueHarness(postgres_server, name, table_of("Bücher"), connection)
    try:
        await create(connection, queue.example)
        await schema.apply(connection, queue.table, no_migrations)
        await insert(connection, queue.table, [1, 2, 3])
        worker = await queue.worker()
        batch = await worker.claim(3)
        assert batch is not None
        done, failed, refused = sorted(batch.rows)
        completed = [CompletedRow(done, ("schön\\",)), CompletedRow(refused, ("漢",))]
        await worker.settle(batch, completed, [Failure(failed.key, "漢 is not in “É”", None, failed.values)])
        await worker.close(batch)
        error = "\\u6f22 is not in \\u201c\\xc9\\u201d"
        [*others, (net, reason)] = await queue.rows('"Net", error')
        assert others == [("schön\\", None), (None, error)]
        assert (net, reason.partition(" ")[0]) == (None, "ValuesRefused:")
        rows = await connection.fetch("SELECT table_name FROM keda_jobs.batch_queues")
        assert [row[0] for row in rows] == ["Bücher"]
    finally:
        await queue.close()
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


# A role that may insert rows and create functions, and looks into its own schema first. Each of its functions is a
# better match for a call in a function of the queue than the one that is meant, or as good a match.
_TRAPS = """
CREATE FUNCTION public.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  IF current_user = 'keda_jobs_owner' THEN RAISE EXCEPTION 'taken over'; END IF;
END $$;
CREATE FUNCTION public.batch_ranges(ids bigint[], gap integer) RETURNS TABLE (lo bigint, hi bigint, claimable integer)
  LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); END $$;
CREATE FUNCTION public.unnest(bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); END $$;
CREATE FUNCTION public.gather(bigint[], bigint) RETURNS bigint[]
  LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN $1; END $$;
CREATE AGGREGATE public.array_agg(bigint) (SFUNC = public.gather, STYPE = bigint[], INITCOND = '{}');
CREATE FUNCTION public.now() RETURNS timestamptz
  LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN pg_catalog.now(); END $$;
CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text
  LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN pg_catalog.set_config($1, $2, $3); END $$;
CREATE FUNCTION public.same(text, text) RETURNS boolean
  LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
CREATE FUNCTION public.same(bigint, bigint[]) RETURNS boolean
  LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN true; END $$;
CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint[], FUNCTION = public.same)"""


@pytest.mark.parametrize("when", ["before the queue is made", "after"])
async def test_a_role_that_may_insert_and_create_functions_gets_no_rights_of_the_owner(
    postgres_server: PostgresServer, database: str, owner: Owner, no_migrations: Path, when: str
) -> None:
    example = table_of("lines")
    role = f"intruder_{database}"
    await owner.execute(f"CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}")
    await create(owner, example)
    await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON lines TO {role}")
    intruder = await asyncpg.connect(postgres_server.dsn_of(database, role))
    try:
        if when == "after":
            await schema.apply(owner, example.table, no_migrations)
        await intruder.execute(_TRAPS)
        if when != "after":
            await schema.apply(owner, example.table, no_migrations)
        for path in ("public, pg_catalog, keda_jobs", "pg_temp, public"):
            await intruder.execute(f"SET search_path = {path}")
            await intruder.execute("INSERT INTO public.lines VALUES (1), (2), (3), (4), (9)")
            await intruder.execute("INSERT INTO public.lines (id, batch_status) VALUES (5, 'processing')")
            await intruder.execute("UPDATE public.lines SET next_attempt_at = '2020-01-01' WHERE id > 2")
            await intruder.execute("UPDATE public.lines SET batch_status = 'pending', attempts = 0, id = -id")
            await intruder.execute("DELETE FROM public.lines WHERE id > -3")
            queue = QueueHarness(postgres_server, database, example, owner)
            assert await queue.claimable() == await queue.recount() == 4
            await owner.execute("TRUNCATE lines")
        await queue.disconnect()
    finally:
        await intruder.close()
        await owner.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
