"""Actions: one long one at a time, its progress, its end."""

from __future__ import annotations

import asyncio

import pytest

from keda_jobs.errors import JobError
from keda_jobs.ui.actions import Action, Actions, Busy


def action(total: int | None = 1000, title: str = "Replay 1,000 dead letters") -> Action:
    return Action(title, "ada", "/", total)


async def until_stopped(one: Action) -> str:
    await one.stop.wait()
    return f"{one.done} done"


async def test_a_short_one_ends_at_once_with_its_result() -> None:
    actions = Actions()

    async def work(one: Action) -> str:
        one.done = 1
        return "1 done"

    one = action(1)
    assert await actions.start(one, work)
    assert (one.result, one.error, one.is_running) == ("1 done", "", False)


async def test_a_second_long_one_is_refused_while_the_first_runs() -> None:
    actions = Actions()
    first = action()
    assert not await actions.start(first, until_stopped)

    with pytest.raises(Busy, match="Replay 1,000 dead letters"):
        await actions.start(action(), until_stopped)

    first.stop.set()
    await actions.close()
    assert first.result == "0 done"


async def test_a_short_one_need_not_wait_for_a_long_one() -> None:
    actions = Actions()
    await actions.start(action(), until_stopped)
    short = action(1)
    short.stop.set()

    assert await actions.start(short, until_stopped)
    await actions.close()


async def test_the_end_of_the_server_stops_what_runs() -> None:
    actions = Actions()
    one = action()
    await actions.start(one, until_stopped)

    await actions.close()

    assert one.result == "0 done"
    assert not actions.running


async def test_an_error_is_kept_with_the_action() -> None:
    actions = Actions()

    async def work(one: Action) -> str:
        raise JobError("no right to purge")

    one = action()
    assert await actions.start(one, work)
    assert one.error == "no right to purge"


async def test_the_last_ones_are_kept_and_no_running_one_is_forgotten() -> None:
    actions = Actions()
    running = action()
    await actions.start(running, until_stopped)

    async def work(one: Action) -> str:
        return "done"

    for number in range(30):
        await actions.start(action(1, str(number)), work)

    kept = actions.newest_first
    assert [one.title for one in kept[:2]] == ["29", "28"]
    assert len(kept) == 20
    assert actions.find(running.id) is running
    await actions.close()


async def test_only_the_newest_notes_are_kept_but_all_are_counted() -> None:
    one = action()
    for number in range(1000):
        one.note(str(number))

    assert (len(one.notes), one.notes[-1], one.note_count) == (100, "999", 1000)


async def test_of_those_that_start_together_one_runs() -> None:
    actions = Actions()
    starts = [actions.start(action(title=f"long {n}"), until_stopped) for n in range(3)]

    results = await asyncio.gather(*starts, return_exceptions=True)

    assert [isinstance(result, Busy) for result in results] == [False, True, True]
    await actions.close()
