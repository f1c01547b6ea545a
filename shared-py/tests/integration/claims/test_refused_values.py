"""A value that cannot be written fails its row, whoever refuses it: driver, server, table, triggers."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from keda_jobs.claims import Batch, ClaimQueue, SettledRows
from keda_jobs.claims.isolate import PART_ROWS
from keda_jobs.claims.rows import ClaimedRow, CompletedRow

from .example_tables import USERS
from .harness import QueueHarness

_TYPES = """
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE DOMAIN percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN lowest AS percent CHECK (VALUE < 50);
CREATE DOMAIN code AS varchar(3);
CREATE DOMAIN good_mood AS mood CHECK (VALUE = 'happy')"""
# A column of each type, a value that it takes, how the value is stored, and values that it does not take.
_COLUMNS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "integer": (1, "1", {"a text": "secret", "too large": 2**31, "a list": [1, 2]}),
    "text": (
        "a\\b é", "a\\b é", {"a number": 7, "NUL": "secret\0", "half a character": "\ud800", "a list": ["secret"]}
    ),
    "varchar(3)": ("abc", "abc", {"too long": "secret"}),
    "mood": ("sad", "sad", {"no label": "secret", "a number": 7}),
    "jsonb": (
        [1, {"a": "b\\c"}], '[1, {"a": "b\\\\c"}]',
        {"NUL": {"secret": "\0"}, "half a character": ["\ud800"], "no JSON": "{secret", "a set": {"secret"}},
    ),
    "json": ({"a": [None, "é"]}, '{"a": [null, "\\u00e9"]}', {"no JSON": "{secret", "an object": object()}),
    "percent": (7, "7", {"too large": 101, "a text": "secret"}),
    "lowest": (7, "7", {"too large": 99}),
    "code": ("abc", "abc", {"too long": "secret"}),
    "good_mood": ("happy", "happy", {"the other one": "sad"}),
    "numeric(4, 1)": (Decimal("1.5"), "1.5", {"too large": Decimal(10_000), "a text": "secret"}),
    "timestamptz": (
        datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00", {"a number": 7, "a text": "2026-01-02"}
    ),
    "bytea": (b"\\\0", "\\x5c00", {"a text": "secret"}),
    "uuid": ("6f1e7c5e-6a2b-4a6e-9f50-0d0f3c1f6f11", "6f1e7c5e-6a2b-4a6e-9f50-0d0f3c1f6f11", {"no uuid": "secret"}),
}  # fmt: skip
_REFUSED = [(kind, value) for kind, (_, _, refused) in _COLUMNS.items() for value in refused.values()]


async def claim_new(queue: QueueHarness, number: int) -> tuple[ClaimQueue, Batch]:
    """Give `users` a column of each type, and claim new rows of it."""
    columns = [f'"{kind}"' for kind in _COLUMNS]
    added = ", ".join(f"ADD COLUMN {column} {kind}" for column, kind in zip(columns, _COLUMNS, strict=True))
    await queue.owner.execute(_TYPES)
    await queue.owner.execute(f"""
ALTER TABLE users {added}; GRANT SELECT ({",".join(columns)}), UPDATE ({",".join(columns)}) ON users TO users_worker""")
    await queue.insert(range(1, number + 1))
    worker = await queue.worker(table=replace(USERS.table, writes=tuple(_COLUMNS)), connections=1)
    batch = await worker.claim(number)
    assert batch is not None
    return worker, replace(batch, rows=sorted(batch.rows))


def result(row: ClaimedRow, **bad: object) -> CompletedRow:
    """Build the result of a row, with bad values for some columns."""
    good = {kind: value for kind, (value, _, _) in _COLUMNS.items()}
    return CompletedRow(row, tuple((good | bad).values()))


async def stored(queue: QueueHarness) -> set[tuple[Any, ...]]:
    """Read what is stored in completed rows."""
    await queue.owner.execute("SET timezone = 'UTC'")
    return set(await queue.rows(", ".join(f'"{kind}"::text' for kind in _COLUMNS), "batch_status = 'completed'"))


async def test_each_refused_value_fails_its_row_alone(
    own_users: QueueHarness, caplog: pytest.LogCaptureFixture
) -> None:
    worker, batch = await claim_new(own_users, 3 * len(_REFUSED))
    rows = iter(batch.rows)
    with caplog.at_level(logging.DEBUG):
        for kind, value in _REFUSED:
            alone, beside = next(rows), [next(rows), next(rows)]
            assert await worker.settle(batch, [result(alone, **{kind: value})], []) == SettledRows(failed=1), kind
            settled = await worker.settle(batch, [result(beside[0], **{kind: value}), result(beside[1])], [])
            assert settled == SettledRows(completed=1, failed=1), (kind, value)
    assert len(await own_users.keys("batch_status = 'failed' AND error LIKE 'ValuesRefused: %'")) == 2 * len(_REFUSED)
    assert "secret" not in caplog.text
    assert await stored(own_users) == {tuple(text for _, text, _ in _COLUMNS.values())}
    assert [closed.status for closed in await own_users.batches()] == ["completed"]


_COUNT = """
CREATE SEQUENCE updates; GRANT UPDATE ON SEQUENCE updates TO users_worker;
CREATE FUNCTION count_update() RETURNS trigger
  LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('updates'); RETURN NULL; END $$;
CREATE TRIGGER count_update BEFORE UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION count_update()"""
_ROWS, _BAD = 400, range(7, 400, 40)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param("integer", 2**31, id="the driver cannot encode it"),
        pytest.param("mood", "secret", id="the server cannot read it"),
        pytest.param("percent", 101, id="a domain refuses it"),
        pytest.param("varchar(3)", "secret", id="the column refuses it"),
        pytest.param("text", "secret\0", id="no database stores it"),
    ],
)
async def test_a_refused_value_costs_a_few_statements(own_users: QueueHarness, kind: str, value: object) -> None:
    worker, batch = await claim_new(own_users, _ROWS)
    await own_users.owner.execute(_COUNT)
    sent: list[str] = []
    async with worker._pool.acquire() as connection:  # the only one
        connection.add_query_logger(lambda query: sent.append(query.query))
    bad = {batch.rows[number].key for number in _BAD}
    outcomes = [result(row, **({kind: value} if row.key in bad else {})) for row in batch.rows]
    assert await worker.settle(batch, outcomes, []) == SettledRows(completed=_ROWS - len(bad), failed=len(bad))
    # None for a value that the driver cannot encode.
    assert len(sent) < 60
    # That of all rows, of no row, of the failures, and some of each part.
    few = 3 + 4 * math.ceil(_ROWS / PART_ROWS)
    assert await own_users.owner.fetchval("SELECT last_value FROM updates") <= few + len(bad)


# Good rows have the country DE. Each country refuses its row in another way, each error code by a trigger.
_TABLE_REFUSES = """
CREATE TABLE countries (code text PRIMARY KEY);
INSERT INTO countries VALUES ('DE');
CREATE TABLE domains (name text PRIMARY KEY);
INSERT INTO domains VALUES ('example.org');
INSERT INTO users (id, batch_status, country) VALUES (1001, 'completed', 'unique'), (1002, 'completed', 'exclusion');
ALTER TABLE users
  ADD CHECK (country <> 'check'), ADD EXCLUDE USING btree (country WITH =) WHERE (country = 'exclusion'),
  ADD UNIQUE (normalized_email) DEFERRABLE INITIALLY DEFERRED,
  ADD COLUMN parts integer GENERATED ALWAYS AS (1 / CASE country WHEN 'generated' THEN 0 ELSE 1 END) STORED,
  ALTER normalized_name SET STORAGE PLAIN;
CREATE UNIQUE INDEX ON users (country) WHERE country = 'unique';
CREATE INDEX ON users ((1 / CASE country WHEN 'indexed' THEN 0 ELSE 1 END));
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.country = 'assert' THEN ASSERT false, 'secret'; END IF;
  IF NEW.country = 'forbidden' THEN DELETE FROM users; END IF;
  IF NEW.country = 'large' THEN PERFORM repeat('x', 2000000000); END IF;
  IF NEW.country = 'later' THEN RAISE 'secret'; END IF;
  IF NEW.country ~ '^[0-9A-Z]{5}$' THEN RAISE 'secret' USING ERRCODE = NEW.country; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER now BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.country <> 'later') EXECUTE FUNCTION meddle();
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.country = 'later') EXECUTE FUNCTION meddle();
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF EXISTS (SELECT FROM now WHERE country = 'statement') THEN RAISE 'secret'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER look AFTER UPDATE ON users REFERENCING NEW TABLE AS now FOR EACH STATEMENT EXECUTE FUNCTION look()"""
_COUNTRIES = [
    "check", "unique", "exclusion", "generated", "indexed", "assert", "forbidden", "large", "later", "statement",
    # Errors of the server, of its login, of a connection, of a warning, of none.
    "53300", "57P01", "58030", "25006", "08006", "28P01", "3D000", "42P01", "XX000", "01000", "02000", "ZZZZZ",
]  # fmt: skip
_FOREIGN_KEYS = """
INSERT INTO countries SELECT unnest($1::text[]);
ALTER TABLE users
  ADD FOREIGN KEY (country) REFERENCES countries,
  ADD FOREIGN KEY (email_domain) REFERENCES domains DEFERRABLE INITIALLY DEFERRED"""


async def test_each_row_that_the_table_refuses_fails_alone(
    own_users: QueueHarness, caplog: pytest.LogCaptureFixture
) -> None:
    good = ("name", "example.org", "DE")
    bad = [*((*good[:2], country) for country in _COUNTRIES), (*good[:2], "nowhere"), ("name", "nowhere", "DE")]
    bad.append(("x" * 10_000, *good[1:]))  # too large for a page
    await own_users.insert(range(1, 2 * len(bad) + 1))
    worker = await own_users.worker()
    batch = await worker.claim(2 * len(bad))
    assert batch is not None
    await own_users.owner.execute(_TABLE_REFUSES)
    add_countries, add_keys = _FOREIGN_KEYS.split(";")
    await own_users.owner.execute(add_countries, [*_COUNTRIES])
    await own_users.owner.execute(add_keys)
    values = [value for refused in bad for value in (good, refused)]
    outcomes = [
        CompletedRow(row, (name, f"{row.key}@example.org", domain, country))
        for row, (name, domain, country) in zip(sorted(batch.rows), values, strict=True)
    ]
    with caplog.at_level(logging.DEBUG):
        assert await worker.settle(batch, outcomes, []) == SettledRows(completed=len(bad), failed=len(bad))
    refused_keys = [row.row.key for row in outcomes[1::2]]
    assert await own_users.keys("batch_status = 'failed' AND error LIKE 'ValuesRefused: %'") == refused_keys
    assert "secret" not in caplog.text
    assert [closed.status for closed in await own_users.batches()] == ["completed"]


async def test_rows_that_a_deferred_constraint_refuses_fail_alone(own_users: QueueHarness) -> None:
    await own_users.owner.execute("ALTER TABLE users ADD UNIQUE (country) DEFERRABLE INITIALLY DEFERRED")
    await own_users.insert(range(1, 4))
    worker = await own_users.worker()
    batch = await worker.claim(3)
    assert batch is not None
    same = [CompletedRow(row, ("n", "e", "d", "DE")) for row in batch.rows]
    assert await worker.settle(batch, same, []) == SettledRows(completed=1, failed=2)
    assert len(await own_users.keys("error LIKE 'ValuesRefused: duplicate key value violates unique%'")) == 2


async def test_a_row_that_refers_to_a_locked_one_waits_and_counts_no_attempt(own_users: QueueHarness) -> None:
    await own_users.owner.execute("""
CREATE TABLE countries (code text PRIMARY KEY);
INSERT INTO countries VALUES ('DE'), ('FR');
ALTER TABLE users ADD FOREIGN KEY (country) REFERENCES countries""")
    await own_users.insert(range(1, 21))
    worker, person = await own_users.worker(), await own_users.connect()
    batch = await worker.claim(20)
    assert batch is not None
    outcomes = [CompletedRow(row, ("n", "e", "d", "FR" if row.key in (5, 6, 20) else "DE")) for row in batch.rows]
    async with person.transaction():
        await person.execute("SELECT FROM countries WHERE code = 'FR' FOR UPDATE")
        assert await worker.settle(batch, outcomes, []) == SettledRows(completed=17)
    aside = await own_users.owner.fetch(
        "SELECT lo, tries, error FROM keda_jobs.users_queue WHERE error <> '' ORDER BY 1"
    )
    assert [tuple(row) for row in aside] == [
        (key, 0, "PostgreSQL: LockNotAvailableError (55P03)") for key in (5, 6, 20)
    ]
    assert [closed.status for closed in await own_users.batches()] == ["completed"]
