"""What the soak calls flat."""

from __future__ import annotations

import os
import threading

import pytest

from .report import failures, table
from .samples import Sample, Use, read_use

MINUTES = 60


def course(memory: float, rise: float = 0, swing: float = 0) -> list[Sample]:
    """Return samples of a process that takes `rise` MB more over the second half, and swings by `swing` around it."""
    start = 10 * memory  # the first half does not count
    uses = [
        memory + rise * (at - MINUTES / 2) / (MINUTES / 2) + swing * (-1) ** at for at in range(MINUTES // 2, MINUTES)
    ]
    values = [start] * (MINUTES // 2) + uses
    return [Sample(at * 60.0, {"NATS": Use(value, 20, 9)}) for at, value in enumerate(values)]


@pytest.mark.parametrize("samples", [course(100), course(100, swing=30), course(100, rise=4.9), course(10, rise=3.9)])
def test_what_swings_or_rises_a_little_is_flat(samples: list[Sample]) -> None:
    assert failures(samples) == []


@pytest.mark.parametrize("samples", [course(100, rise=7), course(10, rise=5), course(100, rise=15, swing=30)])
def test_what_rises_is_named(samples: list[Sample]) -> None:
    [line] = failures(samples)
    assert line.startswith("NATS: private memory, MB rose by")


def test_a_descriptor_a_minute_is_a_leak() -> None:
    samples = [Sample(at * 60.0, {"S3": Use(50, 20 + at, 9)}) for at in range(MINUTES)]
    assert failures(samples) == ["S3: open descriptors rose by 29.0 over the second half, to a mean of 64.5"]
    assert table(samples).splitlines()[-1] == "| S3 | 50 (+0.0) | 64 (+29.0) | 9 (+0.0) |"


def test_the_use_of_this_process_is_read() -> None:
    before = read_use(os.getpid())
    held = bytearray(os.urandom(30_000_000))
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    read, write = os.pipe()
    after = read_use(os.getpid())
    done.set()
    thread.join()
    os.close(read)
    os.close(write)
    assert after.memory - before.memory > 25, len(held)
    assert (after.descriptors - before.descriptors, after.threads - before.threads) == (2, 1)
