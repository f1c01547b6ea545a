"""Long actions: each runs in the server's process, whoever looks, and can be stopped."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from keda_jobs.errors import JobError
from keda_jobs.runtime.shutdown import wait_for

_KEPT = 20
_NOTES = 100
_SHORT = 100
# An action that ends sooner needs no page of its own.
_SHORT_S = 1.0
_CLOSE_S = 10.0

log = logging.getLogger(__name__)


class Busy(JobError):
    """Another long action is running."""


@dataclass(slots=True)
class Action:
    """One action. Whoever works on it counts `done`, adds notes, and ends once `stop` is set.

    `title` says what it does: "Replay 12 dead letters". `back` is the path to go on from its end. `result` is its
    last line, and `error` the reason where it could not be finished.
    """

    title: str
    who: str
    back: str
    total: int | None = None
    done: int = 0
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=_NOTES))
    note_count: int = 0
    result: str = ""
    error: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended_at: datetime | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def path(self) -> str:
        """Path of its page."""
        return f"/actions/{self.id}"

    @property
    def is_running(self) -> bool:
        """True until it has ended."""
        return self.ended_at is None

    @property
    def is_long(self) -> bool:
        """False where it changes so few things that others need not wait for it."""
        return self.total is None or self.total > _SHORT

    def note(self, text: str) -> None:
        """Add a line about one thing that was left out, and why. The newest hundred are kept."""
        self.notes.append(text)
        self.note_count += 1


Work = Callable[[Action], Awaitable[str]]
"""Does an action, and returns its result. Raises `JobError` where it cannot go on."""


class Actions:
    """Actions of this process: one long one at a time, and the last ones with their results."""

    def __init__(self) -> None:
        self._actions: OrderedDict[str, Action] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def newest_first(self) -> list[Action]:
        """Actions that are kept."""
        return list(reversed(self._actions.values()))

    @property
    def running(self) -> list[Action]:
        """Actions that have not ended."""
        return [action for action in self._actions.values() if action.is_running]

    def find(self, id_: str) -> Action | None:
        """Return the action with this id, if it is kept."""
        return self._actions.get(id_)

    async def start(self, action: Action, work: Work) -> bool:
        """Start the action, and return whether it has ended within a moment. Raises `Busy`."""
        others = [other for other in self.running if action.is_long and other.is_long]
        if others or len(self.running) == _KEPT:
            title = (others or self.running)[0].title
            raise Busy(f"one long action at a time: wait until “{title}” has ended, or stop it")
        self._forget_oldest()
        self._actions[action.id] = action
        ended = asyncio.Event()
        task = self._tasks[action.id] = asyncio.create_task(self._run(action, work, ended))
        task.add_done_callback(lambda _task: self._tasks.pop(action.id, None))
        await wait_for(ended, _SHORT_S)
        return ended.is_set()

    async def close(self) -> None:
        """Stop what is running, and wait until it has ended."""
        for action in self.running:
            action.stop.set()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_oldest(self) -> None:
        ended = [id_ for id_, action in self._actions.items() if not action.is_running]
        for id_ in ended[: max(0, len(self._actions) - _KEPT + 1)]:
            del self._actions[id_]

    async def _run(self, action: Action, work: Work, ended: asyncio.Event) -> None:
        try:
            action.result = await work(action)
        except JobError as error:
            action.error = str(error)
        except Exception:
            log.exception("%s stopped by a bug", action.title)
            action.error = "stopped by a bug; the log of `keda-jobs ui` has it"
        except asyncio.CancelledError:
            action.error = "the server of this page was stopped"
            raise
        finally:
            action.ended_at = datetime.now(UTC)
            ended.set()
            end = action.result or f"not finished: {action.error}"
            log.info("action ended: %s: %s", action.title, end, extra={"who": action.who, "done": action.done})
