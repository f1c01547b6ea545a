"""Surroundings of a handler in a test: default settings, and threads for CPU work."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple, get_args, get_type_hints

from keda_jobs.runtime.cpu import CPU_S, MEMORY
from keda_jobs.settings import PgSettings, Settings, StoreSettings

Args = TypeVarTuple("Args")
T = TypeVar("T")
S = TypeVar("S", bound=Settings)

# Settings without a default. Nothing connects to these.
_STORE = {
    "r2_endpoint_url": "http://localhost",
    "r2_access_key_id": "test",
    "r2_secret_access_key": "test",
    "r2_bucket": "test",
}
_PG = {"pg_dsn": "postgresql://localhost/test"}


async def in_thread(function: Callable[[*Args], T], *args: *Args, memory: int = MEMORY, cpu_s: float = CPU_S) -> T:
    """Run `function(*args)` in a thread, without limits: the context's `cpu` in tests. Both must be picklable."""
    pickle.dumps((function, args, memory, cpu_s))
    return await asyncio.to_thread(function, *args)


def default_settings(handler: Callable[..., Any], base: type[S]) -> S:
    """Build the default settings of the handler's context, else of `base`, without the environment."""
    hints = [hint for name, hint in get_type_hints(handler).items() if name != "return"]
    kinds = [kind for hint in hints for kind in get_args(hint) if isinstance(kind, type) and issubclass(kind, base)]
    kind = kinds[0] if kinds else base
    values: dict[str, Any] = {"_env_prefix": "NOT_FROM_THE_ENVIRONMENT_"}
    for concern, required in ((StoreSettings, _STORE), (PgSettings, _PG)):
        if issubclass(kind, concern):
            values |= required
    return kind(**values)
