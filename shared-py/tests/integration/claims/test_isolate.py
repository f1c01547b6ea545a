"""The rows that a statement fails on are found with few statements, wherever they are."""

from __future__ import annotations

import math
from collections.abc import Collection
from unittest.mock import ANY

import pytest

from keda_jobs.claims.isolate import FEW_ROWS, PART_ROWS, isolate, isolate_in_server, isolating_block

from .harness import QueueHarness

_ROWS = 350
_BAD = {
    "none": (),
    "one": (77,),
    "the first and the last": (1, _ROWS),
    "scattered": range(7, _ROWS, 31),
    "in a row": range(95, 125),
    "every second": range(2, _ROWS, 2),
    "all": range(1, _ROWS + 1),
}
_TABLES = """
CREATE TEMP SEQUENCE tries;
CREATE TEMP TABLE groups (number integer PRIMARY KEY);
INSERT INTO groups SELECT generate_series(-1, 1000);
CREATE TEMP TABLE numbers (key bigint PRIMARY KEY, number integer UNIQUE CHECK (number <> -1) REFERENCES groups);
INSERT INTO numbers SELECT generate_series(0, 350);
UPDATE numbers SET number = 0 WHERE key = 0"""
_HAND_OVER = """
SELECT set_config('keda_jobs.keys', $1::bigint[]::text, true),
  set_config('keda_jobs.texts', ARRAY[$2::text[]]::text, true)"""
# The count of tries is not undone either.
_BLOCK = isolating_block("""
PERFORM nextval('tries');
UPDATE numbers AS row SET number = done.number::integer FROM unnest(part, part_texts[1:1]) AS done (key, number)
WHERE row.key = done.key AND row.key = ANY(part)
  AND setval('keda_jobs.batch_tried_row', CASE row.key WHEN done.key THEN done.key END) IS NOT NULL""")


async def _hand_over_no_part(part: list[int]) -> None:
    raise AssertionError(part)


@pytest.mark.parametrize("bad", [pytest.param(keys, id=name) for name, keys in _BAD.items()])
@pytest.mark.parametrize(
    ("number", "error", "most"),
    [
        pytest.param("one", "InvalidTextRepresentationError (22P02)", 1, id="no number"),
        pytest.param("-1", "CheckViolationError (23514)", 1, id="a check"),
        pytest.param("0", "UniqueViolationError (23505)", 1, id="not unique"),
        # It is checked after all rows are written, so the row at fault is not known.
        pytest.param("2000{}", "ForeignKeyViolationError (23503)", FEW_ROWS + 2, id="a foreign key"),
    ],
)
async def test_a_refused_row_costs_a_few_statements(
    users: QueueHarness, bad: Collection[int], number: str, error: str, most: float
) -> None:
    await users.owner.execute(_TABLES)
    keys = range(1, _ROWS + 1)
    numbers = [number.format(key) if key in bad else str(key) for key in keys]
    async with users.owner.transaction():
        await users.owner.execute(_HAND_OVER, keys, numbers)
        written, refused = await isolate_in_server(users.owner, _BLOCK, keys, _hand_over_no_part)
    assert {str(refusal).split(": ")[1].split(",")[0] for refusal in refused.values()} == ({error} if bad else set())
    assert sorted(refused) == list(bad)
    assert written == _ROWS - len(bad)
    stored = await users.owner.fetch("SELECT key FROM numbers WHERE number = key AND key > 0 ORDER BY key")
    assert [row[0] for row in stored] == [key for key in keys if key not in bad]
    # Where the last row is refused, perhaps all had been written, and it is sought in smaller parts.
    parts = math.ceil(_ROWS / PART_ROWS)
    is_told = most == 1 and not {PART_ROWS, _ROWS} & set(bad)
    few = 2 * parts if is_told else 3 * parts + FEW_ROWS + math.ceil(_ROWS / FEW_ROWS)
    assert await users.owner.fetchval("SELECT last_value FROM tries") <= few + most * len(bad)
    # The server remembers 64 subtransactions of a transaction, and a worker's has 25 parts.
    written_by = await users.owner.fetchval("SELECT count(DISTINCT xmin::text) FROM numbers WHERE key = number")
    assert written_by <= 2 * parts + 1


async def test_rows_that_are_refused_only_together_are_written_one_by_one(users: QueueHarness) -> None:
    await users.owner.execute(_TABLES)
    await users.owner.execute("""
CREATE FUNCTION pg_temp.count_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF (SELECT count(*) FROM written) > 1 THEN RAISE 'no more than one at once'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER count_rows AFTER UPDATE ON numbers REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.count_rows()""")
    keys = range(1, 31)
    async with users.owner.transaction():
        await users.owner.execute(_HAND_OVER, keys, ["-1" if key in (2, 30) else str(key) for key in keys])
        written, refused = await isolate_in_server(users.owner, _BLOCK, keys, _hand_over_no_part)
    assert (written, sorted(refused)) == (28, [2, 30])


async def test_a_trigger_that_refuses_every_statement_refuses_each_row_once(users: QueueHarness) -> None:
    await users.owner.execute(_TABLES)
    await users.owner.execute("""
CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON numbers FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.refuse()""")
    keys = range(1, 31)
    async with users.owner.transaction():
        await users.owner.execute(_HAND_OVER, keys, [str(key) for key in keys])
        assert await isolate_in_server(users.owner, _BLOCK, keys, _hand_over_no_part) == (0, dict.fromkeys(keys, ANY))


async def test_one_bad_row_of_thousands_costs_a_few_parts_from_outside(users: QueueHarness) -> None:
    parts = list[int]()

    async def attempt(part: list[int]) -> None:
        parts.append(len(part))
        await users.owner.execute("SELECT 1 / (1 - count(*)) FROM unnest($1::bigint[]) AS key WHERE key = 777", part)

    async with users.owner.transaction():
        refused = await isolate(users.owner, list(range(1, 4097)), attempt)
    assert {key: str(refusal) for key, refusal in refused.items()} == {
        777: "PostgreSQL refused a row: DivisionByZeroError (22012)"
    }
    assert len(parts) == 2 * 12 + 1
