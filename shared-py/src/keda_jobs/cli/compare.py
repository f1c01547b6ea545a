"""`keda-jobs compare`: which outputs of a trial differ from those of the deployed version."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import aclosing
from typing import Annotated

import typer

from keda_jobs.cli.connection import INTERRUPTED, interruptible
from keda_jobs.cli.options import JsonOption
from keda_jobs.cli.terminal import JsonArray, pluralize, print_err, print_out, progress_meter, sanitize
from keda_jobs.cli.trial import prefix_of
from keda_jobs.errors import JobError
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.settings import StoreSettings, load_settings
from keda_jobs.storage import S3Bucket
from keda_jobs.storage.compare import CONNECTIONS, Compared, Verdict, compare


def compare_outputs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Trial, as in `replay --into NAME`.")],
    as_json: JsonOption = False,
) -> None:
    """List the outputs of a trial that differ from the live ones, with both sizes in bytes.

    Each object below trials/NAME/ in the bucket of R2_BUCKET is compared with the one of the same key without that
    prefix: `different`, or `missing` where there is no live one. Nothing is changed.

    Exit code 1: some differ or are missing.

    Example: `keda-jobs compare bigger`

    JSON: `[{"key", "verdict", "size", "live_size"}]`, of those that are not equal.
    """
    prefix = prefix_of(name)
    counts, is_interrupted = asyncio.run(_compare(prefix, as_json=as_json))
    if not counts and not is_interrupted:
        raise JobError(f"there is no object below {prefix}: try events with `keda-jobs replay JOB --into {name}`")
    numbers = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in Verdict)
    print_err(f"{pluralize(counts.total(), 'output')} compared: {numbers}" + ", interrupted" * is_interrupted)
    if code := INTERRUPTED if is_interrupted else int(counts.total() > counts[Verdict.EQUAL]):
        raise typer.Exit(code)


async def _compare(prefix: str, *, as_json: bool) -> tuple[Counter[Verdict], bool]:
    """Print what differs. Return the numbers of verdicts, and whether it was interrupted."""
    counts, array = Counter[Verdict](), JsonArray()
    metrics = StoreMetrics(JobRegistry("keda-jobs-cli"))
    async with S3Bucket(load_settings(StoreSettings), CONNECTIONS, metrics) as bucket:
        await bucket.check()
        with interruptible() as stop, progress_meter("compare", None) as progress:
            async with aclosing(compare(bucket, prefix)) as pages:
                async for page in pages:
                    counts.update(one.verdict for one in page)
                    progress(counts.total())
                    _print([one for one in page if one.verdict is not Verdict.EQUAL], array if as_json else None)
                    if stop.is_set():
                        break
    if as_json:
        array.close()
    return counts, stop.is_set()


def _print(found: list[Compared], array: JsonArray | None) -> None:
    if array is not None:
        array.add(json.dumps(_as_json(one)) for one in found)
        return
    for one in found:
        live = "no live object" if one.live_size is None else f"live {one.live_size:,}"
        print_out(f"{one.verdict:<9}  {sanitize(one.key)}  {one.size:,} bytes, {live}")


def _as_json(one: Compared) -> dict[str, object]:
    return {"key": one.key, "verdict": one.verdict, "size": one.size, "live_size": one.live_size}
