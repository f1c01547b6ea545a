"""Isolation of the rows that a statement fails on, so that it can be run on all the others.

In the server a sequence tells which row is at fault: what was assigned to it outlasts the statement, and each row
assigns its key just before it is written, in the order of keys. So a refused row costs one short statement, and the
next one goes on after it. The rows before it were undone, and are written at the end. What refuses a row only after the
statement has written them all, such as a foreign key, does not tell which. Then few rows are written by a statement,
and those that are refused together one by one.

A statement that takes too long is cancelled, which no block of the server survives, or it gives up a lock. Its part is
tried again from outside, in a hundred parts: the time limit costs more than they do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias

from asyncpg import exceptions as pg

from keda_jobs.postgres import (
    UNDECODABLE,
    Connection,
    StatementBlocked,
    StatementGivenUp,
    StatementRefused,
    translate,
)

Refusal: TypeAlias = StatementRefused | StatementGivenUp

PART_ROWS = 200
"""Rows of a part, which the block writes in one transaction within its own, or in two. The server remembers 64 of them,
and of more the snapshots of others get slow. A worker writes 5000 rows at once."""
FEW_ROWS = 8
"""Rows of a statement where one has not told which row was refused. Fewer cost more with 1 % of such rows, more do with
10 %."""

# Parts of a part whose statement took too long, and of any other that failed.
_PARTS_IF_SLOW, _PARTS_IF_REFUSED = 100, 2
# After so many rows that take too long, the cause is hardly a row. The others have to wait.
_MOST_SLOW = 10
_NOT_TRIED = StatementBlocked(f"not tried, because {_MOST_SLOW} other rows took too long")
ERRORS = (pg.PostgresError, pg.PostgresWarning, pg.InterfaceError, StatementRefused, *UNDECODABLE)
"""Errors that may be about a row."""
_SLOW_ERRORS = (pg.QueryCanceledError, pg.LockNotAvailableError)

HAND_OVER = """
SELECT set_config('keda_jobs.keys', $1::bigint[]::text, true), set_config('keda_jobs.texts', ({})::text, true)"""
"""Statement that gives a block its keys, and the texts that belong to them: a row of an array for each column."""
TRIED = "setval('keda_jobs.batch_tried_row', {}) IS NOT NULL"
"""Condition that tells which row the block's statement is about to write, by its key."""
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
  usual integer := {PART_ROWS};
  most integer;
  first integer;
  last integer;
  next integer;
  beyond integer;
  tried bigint;
  at_fault integer;
  number integer;
  part_written integer;
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
    last := cardinality(some_keys);
    most := usual;
    usual := {PART_ROWS};
    WHILE last > 0 LOOP
      first := 1;
      LOOP
        next := first;
        part_written := 0;
        BEGIN
          WHILE next <= last LOOP
            IF some_keys[next] IS NULL THEN  -- it was refused
              next := next + 1;
              CONTINUE;
            END IF;
            beyond := least(next + most, last + 1);
            part := some_keys[next:beyond - 1];
            part_texts := some_texts[:][next:beyond - 1];
            {{statement}};
            GET DIAGNOSTICS number = ROW_COUNT;
            part_written := part_written + number;
            next := beyond;
          END LOOP;
          EXIT;
        EXCEPTION
        WHEN LOCK_NOT_AVAILABLE THEN
          RAISE;
        WHEN OTHERS OR ASSERT_FAILURE THEN
          tried := currval('keda_jobs.batch_tried_row');
          at_fault := next - 1 + array_position(part, tried);
          IF cardinality(part) > 1 AND (at_fault IS NULL OR tried >= ALL (array_remove(part, NULL))) THEN
            -- Perhaps all rows had been written.
            most := CASE WHEN most > {FEW_ROWS} THEN {FEW_ROWS} ELSE 1 END;
            usual := {FEW_ROWS};
            first := next;
          ELSE
            at_fault := coalesce(at_fault, next);
            GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, its_table = TABLE_NAME,
              its_column = COLUMN_NAME, its_type = PG_DATATYPE_NAME, its_constraint = CONSTRAINT_NAME;
            -- By the letters of PostgreSQL's protocol. The true context of each would be the whole statement.
            refused[cardinality(refused) + 1] := jsonb_build_array(some_keys[at_fault], jsonb_build_object(
              'C', code, 'M', message, 'W', 'a block',
              't', its_table, 'c', its_column, 'd', its_type, 'n', its_constraint
            ));
            some_keys[at_fault] := NULL;
            first := at_fault + 1;
            -- The next row may be refused too, where the one before it was.
            IF most = 1 AND (at_fault = 1 OR some_keys[at_fault - 1] IS NOT NULL) THEN
              most := {FEW_ROWS};
            END IF;
          END IF;
        END;
      END LOOP;
      written := written + part_written;
      -- The rows before were undone.
      last := first - 1;
      most := {PART_ROWS};
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
    """Run the block on the keys that were handed over, and where it takes too long, on parts of them.

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
        refused.update({key: refusal_of(pg.PostgresError.new(fields)) for key, fields in found})

    refused |= await isolate(connection, keys, run, errors=_SLOW_ERRORS)
    return written, refused


async def isolate(
    connection: Connection,
    keys: Collection[int],
    attempt: Callable[[list[int]], Awaitable[None]],
    *,
    errors: tuple[type[Exception], ...] = ERRORS,
) -> dict[int, Refusal]:
    """Call `attempt` on all keys, and again on parts of a part that it fails on. Return the single keys left."""
    refused: dict[int, Refusal] = {}
    parts = [list(keys)] if keys else []
    slow = 0
    while parts:
        part = parts.pop()
        if slow == _MOST_SLOW:
            refused |= dict.fromkeys(part, _NOT_TRIED)
            continue
        try:
            async with connection.transaction():  # a savepoint
                await attempt(part)
        except errors as error:
            refusal = refusal_of(error)
            is_slow = isinstance(error, _SLOW_ERRORS)
            if len(part) == 1:
                refused[part[0]] = refusal
                slow += is_slow
            else:
                parts += reversed(_split(part, _PARTS_IF_SLOW if is_slow else _PARTS_IF_REFUSED))
    return refused


def _split(part: list[int], number: int) -> list[list[int]]:
    """Split a part into at most `number` parts."""
    most = math.ceil(len(part) / number)
    return [part[start : start + most] for start in range(0, len(part), most)]


def refusal_of(error: Exception) -> Refusal:
    """Return the refusal of a row. Raise an error that is not about a row."""
    refusal = error if isinstance(error, StatementRefused) else translate(error)
    if not isinstance(refusal, StatementRefused | StatementGivenUp):
        raise refusal
    return refusal
