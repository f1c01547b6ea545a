"""Isolation of the rows that a statement fails on, so that it can be run on all the others.

A failed part is tried again without the row at fault. In the server a sequence tells which row that is: what was
assigned to it outlasts the statement, and each row assigns its key just before it is written. Then a refused row costs
three short statements, where halves would cost two for each level. They remain for what refuses rows after the
statement has written them all, such as a foreign key, and for what fails before the server has the values.

A statement that takes too long is cancelled, which no block of the server survives. Its part is tried again from
outside, in a hundred parts: the time limit costs more than they do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TypeAlias

from asyncpg import exceptions as pg

from keda_jobs.postgres import (
    UNDECODABLE,
    Connection,
    StatementCancelled,
    StatementGivenUp,
    StatementRefused,
    translate,
)

Refusal: TypeAlias = StatementRefused | StatementGivenUp

PART_ROWS = 100
"""Rows of the first parts. A failed one is undone, and its rows are written again."""

# Parts of a part whose statement was cancelled, and of any other that failed.
_PARTS_IF_CANCELLED, _PARTS_IF_REFUSED = 100, 2
# After so many rows that take too long, the cause is hardly a row. The others have to wait.
_MOST_CANCELLED = 10
_NOT_TRIED = StatementGivenUp(f"not tried, because {_MOST_CANCELLED} other rows took too long")
_ERRORS = (pg.PostgresError, pg.InterfaceError, StatementRefused, *UNDECODABLE)

_OUTCOME = "SELECT current_setting('keda_jobs.outcome')"
# A block has neither arguments nor a result, so settings of the transaction carry them. Its plans are those of one
# part: the planner would take longer than the part.
_BLOCK = f"""
#variable_conflict use_variable
DECLARE
  keys CONSTANT bigint[] := current_setting('keda_jobs.keys');
  texts CONSTANT text[] := current_setting('keda_jobs.texts');
  some_keys bigint[];
  some_texts text[];
  part bigint[];
  part_texts text[];
  firsts integer[];
  lasts integer[];
  parts integer;
  first integer;
  middle integer;
  last integer;
  at_fault integer;
  is_known boolean := true;
  number integer;
  written integer := 0;
  refused jsonb[] := '{{{{}}}}';
  code text;
  message text;
  its_table text;
  its_column text;
  its_type text;
  its_constraint text;
BEGIN
  PERFORM set_config('plan_cache_mode', 'force_generic_plan', true), setval('keda_jobs.batch_tried_row', 1);
  FOR start IN 1..coalesce(cardinality(keys), 0) BY {PART_ROWS} LOOP
    some_keys := keys[start:start + {PART_ROWS - 1}];
    some_texts := texts[:][start:start + {PART_ROWS - 1}];
    firsts[1] := 1;
    lasts[1] := cardinality(some_keys);
    parts := 1;
    at_fault := NULL;
    WHILE parts > 0 LOOP
      first := firsts[parts];
      last := lasts[parts];
      parts := parts - 1;
      CONTINUE WHEN first > last;
      part := some_keys[first:last];
      part_texts := some_texts[:][first:last];
      BEGIN
        {{statement}};
        GET DIAGNOSTICS number = ROW_COUNT;
        written := written + number;
        -- The row was written without the others.
        is_known := is_known AND (first < last OR first IS DISTINCT FROM at_fault);
      EXCEPTION WHEN OTHERS THEN
        IF first < last THEN
          at_fault := array_position(part, currval('keda_jobs.batch_tried_row')) + first - 1;
          IF NOT is_known OR at_fault IS NULL THEN
            middle := (first + last) / 2;
            firsts[parts + 1:parts + 2] := ARRAY[middle + 1, first];
            lasts[parts + 1:parts + 2] := ARRAY[last, middle];
            parts := parts + 2;
          ELSIF at_fault = last THEN  -- or all rows had been written
            firsts[parts + 1:parts + 2] := ARRAY[first, last];
            lasts[parts + 1:parts + 2] := ARRAY[last - 1, last];
            parts := parts + 2;
          ELSE
            firsts[parts + 1:parts + 3] := ARRAY[at_fault + 1, at_fault, first];
            lasts[parts + 1:parts + 3] := ARRAY[last, at_fault, at_fault - 1];
            parts := parts + 3;
          END IF;
        ELSE
          GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, its_table = TABLE_NAME,
            its_column = COLUMN_NAME, its_type = PG_DATATYPE_NAME, its_constraint = CONSTRAINT_NAME;
          -- By the letters of PostgreSQL's protocol. The true context of each would be the whole statement.
          refused[cardinality(refused) + 1] := jsonb_build_array(part[1], jsonb_build_object(
            'C', code, 'M', message, 'W', 'a block',
            't', its_table, 'c', its_column, 'd', its_type, 'n', its_constraint
          ));
        END IF;
      END;
    END LOOP;
  END LOOP;
  PERFORM set_config('plan_cache_mode', 'auto', true),
    set_config('keda_jobs.outcome', jsonb_build_array(written, to_jsonb(refused))::text, true);
END"""


def isolating_block(statement: str) -> str:
    """Build the block that runs a statement on parts. It has the keys of each in `part`, their texts in `part_texts`.

    The statement assigns the key of each row to the sequence, and does nothing else before it writes the row.
    """
    return "DO '" + _BLOCK.format(statement=statement).replace("'", "''") + "'"


async def isolate_in_server(
    connection: Connection, block: str, keys: Collection[int], hand_over: Callable[[list[int]], Awaitable[None]]
) -> tuple[int, dict[int, Refusal]]:
    """Run the block on the keys that were handed over, and where it is cancelled, on parts of them.

    Return the number of rows written, and the refusals of the others.
    """
    written, refused = 0, dict[int, Refusal]()

    async def run(part: list[int]) -> None:
        nonlocal written
        if len(part) < len(keys):
            await hand_over(part)
        await connection.execute(block)
        number, found = json.loads(await connection.fetchval(_OUTCOME))
        written += number
        refused.update({key: _refusal(pg.PostgresError.new(fields)) for key, fields in found})

    refused |= await isolate(connection, keys, run, errors=(pg.QueryCanceledError,))
    return written, refused


async def isolate(
    connection: Connection,
    keys: Collection[int],
    attempt: Callable[[list[int]], Awaitable[None]],
    *,
    errors: tuple[type[Exception], ...] = _ERRORS,
) -> dict[int, Refusal]:
    """Call `attempt` on all keys, and again on parts of a part that it fails on. Return the single keys left."""
    refused: dict[int, Refusal] = {}
    parts = [list(keys)] if keys else []
    cancelled = 0
    while parts:
        part = parts.pop()
        if cancelled == _MOST_CANCELLED:
            refused |= dict.fromkeys(part, _NOT_TRIED)
            continue
        try:
            async with connection.transaction():  # a savepoint
                await attempt(part)
        except errors as error:
            refusal = _refusal(error)
            is_cancelled = isinstance(refusal, StatementCancelled)
            if len(part) == 1:
                refused[part[0]] = refusal
                cancelled += is_cancelled
            else:
                parts += reversed(_split(part, _PARTS_IF_CANCELLED if is_cancelled else _PARTS_IF_REFUSED))
    return refused


def _split(part: list[int], number: int) -> list[list[int]]:
    """Split a part into at most `number` parts."""
    most = math.ceil(len(part) / number)
    return [part[start : start + most] for start in range(0, len(part), most)]


def refuse_text(values: Iterable[object]) -> Refusal | None:
    """Return the refusal of a text that no database stores: with a NUL character, or with half of a character."""
    for value in values:
        if isinstance(value, str):
            try:
                if b"\0" in value.encode():
                    return _refusal(pg.CharacterNotInRepertoireError("a text with a NUL character"))
            except UnicodeEncodeError as error:
                return _refusal(error)
    return None


def _refusal(error: Exception) -> Refusal:
    """Return the refusal of a row. Raise an error that is not about a row."""
    refusal = error if isinstance(error, StatementRefused) else translate(error)
    if not isinstance(refusal, StatementRefused | StatementGivenUp):
        raise refusal
    return refusal
