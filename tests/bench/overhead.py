"""Cost of metrics and of traces for a no-op event job, compared with the same job without them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cpu_time
import throughput
from bounds import TO_UNMETERED
from results import Baseline, Comparison
from scripts import HERE, Script

from stack import StackError, free_port

_UNMETERED, _METERED, _SAMPLED, _TRACED = "no metrics", "no-op job", "traces, 1 % of them", "traces, all"
_NOTE = (
    "The no-op job has metrics and a log line for each message. With traces it makes a span for each message and sends "
    "the sampled ones to a collector on this machine. A full queue (2048 spans) drops further ones."
)


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Comparison]:
    """Measure the CPU time of a message, exporter included, in microseconds. Raises `StackError`."""
    if not cpu_time.readable():
        raise StackError("the overhead is CPU time, and this system has no /proc to read it from")
    port = free_port()
    sink = Script("collector", [str(HERE / "trace_sink.py"), str(port)], folder / "collector.log")
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    sampled = traces | {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}

    def contestants(url: str) -> list[Script]:
        return [
            throughput.noop_job(_UNMETERED, url, folder, module="noop_job.unmetered"),
            throughput.noop_job(_METERED, url, folder),
            throughput.noop_job(_SAMPLED, url, folder, **sampled),
            throughput.noop_job(_TRACED, url, folder, **traces),
        ]

    sink.launch()
    try:
        series = throughput.figures("overhead", contestants, throughput.Window.cpu_us, folder, rounds, say)
    finally:
        sink.stop()
    metered = Baseline(series[_METERED])
    return [
        Comparison("metrics", "CPU µs/message", series[_METERED], [Baseline(series[_UNMETERED], TO_UNMETERED)]),
        Comparison("sampled traces", "CPU µs/message", series[_SAMPLED], [metered]),
        Comparison("traces", "CPU µs/message", series[_TRACED], [metered], note=_NOTE),
    ]
