"""What the soak calls flat."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from .report import failures, table
from .samples import Sample, Use, read_use

MINUTES, PER_MINUTE = 60, 6

# Each line on standard input makes a step, and is answered.
PROGRAM = """
import os, sys
kept = []
for line in sys.stdin:
    block = os.urandom(300_000)
    {step}
    print("done", flush=True)
"""


def hour(memory: Callable[[float], float]) -> list[Sample]:
    """Return the samples of an hour of a process that uses `memory` MB at a minute."""
    moments = [number / PER_MINUTE for number in range(MINUTES * PER_MINUTE)]
    return [Sample(at * 60, {"NATS": Use(memory(at), 20, 9)}) for at in moments]


def noise(at: float) -> float:
    """Return -3, 0 or 3 MB, another one at each sample."""
    return (round(at * PER_MINUTE) * 7 % 3 - 1) * 3


def child(at: float) -> float:
    """Return 27 MB while a child runs. It runs more and more often towards the end."""
    return 27 if round(at * PER_MINUTE) * 7919 % 60 < 20 + at / 2 else 0


def step(when: float) -> Callable[[float], float]:
    return lambda at: 46 if at >= when else 29


FLAT = {
    "level": lambda _at: 100.0,
    "noise": lambda at: 60 + noise(at),
    "warm-up": lambda at: 100 - 70 * max(0, 1 - at / 14),
    "a child that comes and goes": lambda at: 90 + child(at) + noise(at) / 3,
    "a burst": lambda at: 400 if 40 < at < 44 else 60,
    "a rise within noise": lambda at: 100 + at / 10,
    **{f"a step after {when} minutes": step(when) for when in (16, 25, 30, 37, 45, 55)},
}
LEAKS = {
    "1 MB a minute": lambda at: 60 + at + noise(at),
    "1 MB a minute beside a child": lambda at: 90 + at + child(at) + noise(at) / 3,
    "5 MB every five minutes": lambda at: 60 + 5 * (at // 5),
    "200 kB a minute": lambda at: 40 + at / 5,
    "in a child": lambda at: 90 + (child(at) and child(at) + at),
}


@pytest.mark.parametrize("memory", FLAT.values(), ids=FLAT)
def test_what_swings_or_steps_once_is_flat(memory: Callable[[float], float]) -> None:
    assert failures(hour(memory)) == []


@pytest.mark.parametrize("memory", LEAKS.values(), ids=LEAKS)
def test_a_leak_is_named(memory: Callable[[float], float]) -> None:
    [line] = failures(hour(memory))
    assert line.startswith("NATS: private memory, MB keeps rising: ")


def test_a_descriptor_every_four_minutes_is_a_leak() -> None:
    samples = [Sample(at * 10.0, {"S3": Use(50, 20 + at // 24, 9)}) for at in range(MINUTES * PER_MINUTE)]
    assert failures(samples) == ["S3: open descriptors keeps rising: 25 → 29 → 33"]
    assert table(samples).splitlines()[-1] == "| S3 | 50 → 50 → 50 | 25 → 29 → 33 | 9 → 9 → 9 |"


@pytest.mark.parametrize(
    ("step", "leaks"),
    [("pass", []), ("kept.append(block)", ["private memory, MB"]), ("os.dup(1)", ["open descriptors"])],
    ids=["nothing", "memory", "descriptors"],
)
def test_a_leak_of_a_real_process_is_named(step: str, leaks: list[str]) -> None:
    command = [sys.executable, "-c", PROGRAM.format(step=step)]
    samples = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for number in range(96):
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
            samples.append(Sample(number, {"it": read_use(process.pid)}))
        process.stdin.close()
    assert [line.split(": ")[1].removesuffix(" keeps rising") for line in failures(samples)] == leaks


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
