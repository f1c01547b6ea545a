"""What the rules make of series: tables for promtool, one sample a minute, in its notation.

`0+60x30` is 0 and thirty more, each 60 higher; `1x10` eleven ones; `_` no sample, `stale` the end of a series.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Labels = dict[str, str]
Series = dict[str, str]


@dataclass(frozen=True, slots=True)
class AlertCase:
    """An alert at some minutes: who it fires for then, by labels without the severity; nobody by default."""

    alert: str
    says: str
    series: Series
    at: tuple[int, ...]
    fires: tuple[Labels, ...] = ()

    def __str__(self) -> str:
        return f"{self.alert}: {self.says}"


@dataclass(frozen=True, slots=True)
class RecordCase:
    """A recorded series at a minute: its values by labels."""

    record: str
    series: Series
    at: int
    values: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.record


A: Labels = {"job": "a"}
SCALED: Labels = {"job": "a", "namespace": "keda-jobs-prod"}
POD: Labels = {"job": "a", "instance": "p"}
ROOM = {'keda_jobs_messages_in_flight{job="a"}': "6x60", 'keda_jobs_concurrency_limit{job="a"}': "8x60"}
FULL = {'keda_jobs_messages_in_flight{job="a"}': "8x60", 'keda_jobs_concurrency_limit{job="a"}': "8x60"}
LAG = 'keda_jobs_consumer_lag{job="a", consumer="a-consumer"}'
AGE = 'keda_jobs_consumer_oldest_age_seconds{job="a", consumer="a-consumer"}'
LETTERS = 'keda_jobs_dead_letters_stored{job="a"}'
DUE = 'keda_jobs_waiting_retry_next_due_timestamp_seconds{job="a"}'
FETCHED = 'keda_jobs_fetch_age_seconds{job="a", instance="p"}'
IN_WORK = 'keda_jobs_messages_in_flight{job="a", instance="p"}'
SLOTS = 'keda_jobs_concurrency_limit{job="a", instance="p"}'
PAUSED = 'keda_jobs_paused{job="a", instance="p"}'
UP = 'up{job="a", instance="p"}'
STORED = 'keda_jobs_store_operation_duration_seconds_count{job="a", operation="put", outcome="ok"}'
REFUSED = 'keda_jobs_store_operation_duration_seconds_count{job="a", operation="put", outcome="unavailable"}'
BROKEN = 'keda_jobs_store_operation_duration_seconds_count{job="a", operation="put", outcome="failed"}'
STALE = 'keda_jobs_queue_batches_stale{job="a"}'
RUNNING = 'keda_jobs_queue_batches_running{job="a"}'
CLAIMABLE = 'keda_jobs_queue_claimable_rows{job="a"}'
WAITING = 'keda_jobs_queue_waiting_rows{job="a"}'
OBJECT = 'keda_scaled_object_errors_total{namespace="keda-jobs-prod", scaledObject="a"}'
JOB = 'keda_scaled_job_errors_total{namespace="keda-jobs-prod", scaledJob="a"}'
FOREIGN = 'keda_scaled_object_errors_total{namespace="shop", scaledObject="a"}'
USED, MOST = "keda_jobs_jetstream_storage_bytes", "keda_jobs_jetstream_storage_max_bytes"
NATS, POSTGRES = 'keda_jobs_scrape_ok{source="nats"}', 'keda_jobs_scrape_ok{source="postgres"}'

ALERTS = [
    AlertCase("KedaJobsLagGrowing", "it grows, and all slots are in use", {LAG: "0+60x60", **FULL}, (20,), (A,)),
    AlertCase("KedaJobsLagGrowing", "it grows for less than 15 minutes", {LAG: "0+60x10 600-20x40", **FULL}, (14, 20)),
    AlertCase("KedaJobsLagGrowing", "a burst is worked off", {LAG: "0x4 5000 9000-60x50", **FULL}, (10, 20, 30, 40)),
    AlertCase("KedaJobsLagGrowing", "it grows, but slots are free", {LAG: "0+60x60", **ROOM}, (20, 40)),
    AlertCase("KedaJobsLagGrowing", "it grows, and nobody is there", {LAG: "0+60x60"}, (20, 40)),
    AlertCase("KedaJobsNotScaledUp", "nobody comes", {LAG: "3x20"}, (6,), (A,)),
    AlertCase("KedaJobsNotScaledUp", "the last pod went", {LAG: "3x20", SLOTS: "8x4 stale"}, (11,), (A,)),
    AlertCase("KedaJobsNotScaledUp", "a pod takes 4 minutes", {LAG: "3x20", SLOTS: "_x4 8x20"}, (3, 6, 12)),
    AlertCase("KedaJobsNotScaledUp", "nothing waits", {LAG: "0x20"}, (6, 12)),
    AlertCase("KedaJobsDeadLettersArriving", "the first one", {LETTERS: "0x4 1x40"}, (6, 18), (A,)),
    AlertCase("KedaJobsDeadLettersArriving", "it was long ago", {LETTERS: "0x4 1x40"}, (4, 22)),
    AlertCase("KedaJobsDeadLettersArriving", "they were there before", {LETTERS: "7x40"}, (1, 6, 20)),
    AlertCase("KedaJobsDeadLettersArriving", "they are purged", {LETTERS: "7x4 0x20"}, (6, 20)),
    AlertCase("KedaJobsOldestMessageTooOld", "it waits and waits", {AGE: "0+60x60"}, (37,), (A,)),
    AlertCase("KedaJobsOldestMessageTooOld", "it was done at the last moment", {AGE: "0+60x34 0x20"}, (34, 40)),
    AlertCase("KedaJobsOldestMessageTooOld", "half an hour, not more", {AGE: "1800x60"}, (30, 60)),
    AlertCase("KedaJobsRetryOverdue", "due since minute 1", {DUE: "60x40"}, (12,), (A,)),
    AlertCase("KedaJobsRetryOverdue", "due in ten hours", {DUE: "36000x60"}, (12, 60)),
    AlertCase("KedaJobsRetryOverdue", "it was given out late", {DUE: "60x9 stale"}, (9, 12, 20)),
    AlertCase(
        "KedaJobsLoopDoesNotPoll",
        "free slots, and no fetch",
        {FETCHED: "10+60x20", IN_WORK: "2x20", SLOTS: "8x20", PAUSED: "0x20", UP: "1x20"},
        (7,),
        (POD,),
    ),
    AlertCase(
        "KedaJobsLoopDoesNotPoll",
        "no slot is free",
        {FETCHED: "10+60x20", IN_WORK: "8x20", SLOTS: "8x20", PAUSED: "0x20", UP: "1x20"},
        (7, 20),
    ),
    AlertCase(
        "KedaJobsLoopDoesNotPoll",
        "it rests",
        {FETCHED: "10+60x20", IN_WORK: "2x20", SLOTS: "8x20", PAUSED: "1x20", UP: "1x20"},
        (7, 20),
    ),
    AlertCase(
        "KedaJobsLoopDoesNotPoll",
        "a fetch takes its time",
        {FETCHED: "50x20", IN_WORK: "2x20", SLOTS: "8x20", PAUSED: "0x20", UP: "1x20"},
        (7, 20),
    ),
    AlertCase(
        "KedaJobsLoopDoesNotPoll", "a pod is restarted", {SLOTS: "8x4 stale _x2 8x20", UP: "1x4 0x2 1x20"}, (6, 9, 12)
    ),
    AlertCase("KedaJobsLoopDoesNotPoll", "a pod answers nobody", {SLOTS: "8x4 stale", UP: "1x4 0x20"}, (11,), (POD,)),
    AlertCase("KedaJobsLoopDoesNotPoll", "a pod ended", {SLOTS: "8x4 stale", UP: "1x4 0 stale"}, (6, 11, 20)),
    AlertCase("KedaJobsLoopDoesNotPoll", "what is down was never a job", {UP: "0x20"}, (11, 20)),
    AlertCase("KedaJobsStoreFailing", "one in six", {STORED: "0+50x20", REFUSED: "0+10x20"}, (12,), (A,)),
    AlertCase("KedaJobsStoreFailing", "one in eleven", {STORED: "0+50x20", REFUSED: "0+5x20"}, (12, 20)),
    AlertCase(
        "KedaJobsStoreFailing", "in two ways", {STORED: "0+50x20", REFUSED: "0+4x20", BROKEN: "0+4x20"}, (12,), (A,)
    ),
    AlertCase("KedaJobsStoreFailing", "for two minutes", {STORED: "0+50x20", REFUSED: "0+10x2 20x20"}, (2, 4, 9)),
    AlertCase("KedaJobsStoreFailing", "nothing is stored", {STORED: "0x20", REFUSED: "0x20"}, (12, 20)),
    AlertCase("KedaJobsPaused", "a long rest", {PAUSED: "0 1x20"}, (7,), (A,)),
    AlertCase("KedaJobsPaused", "NATS restarted", {PAUSED: "0 1x3 0x20"}, (4, 7, 12)),
    AlertCase("KedaJobsBatchesStale", "nobody takes it up", {STALE: "0 1x20"}, (7,), (A,)),
    AlertCase("KedaJobsBatchesStale", "it is recovered", {STALE: "0 1x3 0x20"}, (4, 7, 12)),
    AlertCase("KedaJobsQueueNotWorkedOff", "no batch", {CLAIMABLE: "9x20", RUNNING: "0x20"}, (11,), (A,)),
    AlertCase("KedaJobsQueueNotWorkedOff", "a batch is in work", {CLAIMABLE: "9x20", RUNNING: "1x20"}, (11, 20)),
    AlertCase("KedaJobsQueueNotWorkedOff", "a Job takes its time", {CLAIMABLE: "9x20", RUNNING: "0x8 1x9"}, (8, 12)),
    AlertCase(
        "KedaJobsQueueNotWorkedOff", "retries wait", {CLAIMABLE: "0x20", WAITING: "500x20", RUNNING: "0x20"}, (11, 20)
    ),
    AlertCase("KedaJobsScalerErrors", "at each poll", {OBJECT: "0+12x20"}, (8,), (SCALED,)),
    AlertCase("KedaJobsScalerErrors", "of a ScaledJob", {JOB: "1+2x20"}, (8,), (SCALED,)),
    AlertCase("KedaJobsScalerErrors", "NATS restarted", {OBJECT: "0x3 5 9x20"}, (5, 8, 12)),
    AlertCase("KedaJobsScalerErrors", "an error now and then", {OBJECT: "0x4 1x4 2x4 3x4 4x4"}, (8, 12, 16)),
    AlertCase("KedaJobsScalerErrors", "a ScaledJob's now and then", {JOB: "0x4 1x4 2x4 3x4 4x4"}, (8, 12, 16)),
    AlertCase("KedaJobsScalerErrors", "somebody else's", {FOREIGN: "0+12x20"}, (8, 20)),
    AlertCase("KedaJobsStorageFull", "over 80 %", {USED: "81x20", MOST: "100x20"}, (7,), ({},)),
    AlertCase("KedaJobsStorageFull", "it is purged", {USED: "10 90x2 10x20", MOST: "100x20"}, (2, 3, 8)),
    AlertCase("KedaJobsStorageFull", "80 %", {USED: "80x20", MOST: "100x20"}, (7, 20)),
    AlertCase("KedaJobsStorageFull", "without a limit", {USED: "80x20", MOST: "0x20"}, (7, 20)),
    AlertCase(
        "KedaJobsConsumerMissing",
        "it was deleted",
        {LAG: "0x9 stale", NATS: "1x60"},
        (16,),
        ({**A, "consumer": "a-consumer"},),
    ),
    AlertCase("KedaJobsConsumerMissing", "it came back", {LAG: "0x9 stale _x2 0x60", NATS: "1x60"}, (12, 16, 30)),
    AlertCase("KedaJobsConsumerMissing", "a day later", {LAG: "0x9 stale", NATS: "1x1500"}, (1460,)),
    AlertCase("KedaJobsConsumerMissing", "NATS does not answer", {LAG: "0x9 stale", NATS: "1x9 0x60"}, (16, 30)),
    AlertCase("KedaJobsConsumerMissing", "the exporter went", {LAG: "0x9 stale", NATS: "1x9 stale"}, (16, 30)),
    AlertCase("KedaJobsExporterDown", "it went", {NATS: "1x4 stale"}, (11,), ({},)),
    AlertCase("KedaJobsExporterDown", "it never came", {}, (6,), ({},)),
    AlertCase(
        "KedaJobsExporterDown", "it reads one only", {NATS: "1x20", POSTGRES: "1 0x20"}, (7,), ({"source": "postgres"},)
    ),
    AlertCase("KedaJobsExporterDown", "it is deployed", {NATS: "1x4 stale _x2 1x20"}, (6, 8, 12)),
    AlertCase("KedaJobsExporterDown", "it reads", {NATS: "1x20", POSTGRES: "1x20"}, (6, 20)),
]


def twice(name: str, values: str) -> Series:
    """The same of two pods."""
    return {f'keda_jobs_{name}{{job="a", instance="{pod}"}}': values for pod in "pq"}


RECORDS = [
    RecordCase("job:keda_jobs_consumer_lag:max", twice("consumer_lag", "5x9"), 2, {'job="a"': 5}),
    RecordCase(
        "job:keda_jobs_consumer_oldest_age_seconds:max", twice("consumer_oldest_age_seconds", "5x9"), 2, {'job="a"': 5}
    ),
    RecordCase("job:keda_jobs_dead_letters_stored:max", twice("dead_letters_stored", "5x9"), 2, {'job="a"': 5}),
    RecordCase("job:keda_jobs_waiting_retries:max", twice("waiting_retries", "5x9"), 2, {'job="a"': 5}),
    RecordCase("job:keda_jobs_pods:count", twice("concurrency_limit", "8x9"), 2, {'job="a"': 2}),
    RecordCase(
        "job:keda_jobs_slots_in_use:ratio5m",
        {**twice("messages_in_flight", "2x9"), **twice("concurrency_limit", "8x9")},
        5,
        {'job="a"': 0.25},
    ),
    RecordCase(
        "job_outcome:keda_jobs_messages:rate5m",
        {f'keda_jobs_messages_total{{job="a", outcome="acked", instance="{pod}"}}': "0+60x9" for pod in "pq"},
        6,
        {'job="a", outcome="acked"': 2},
    ),
    RecordCase(
        "job:keda_jobs_message_duration_seconds:p95_5m",
        {f'keda_jobs_message_duration_seconds_bucket{{job="a", le="{le}"}}': "0+60x9" for le in ("20", "+Inf")},
        6,
        {'job="a"': 19},
    ),
    RecordCase("job:keda_jobs_store_failures:ratio5m", {STORED: "0+90x9", REFUSED: "0+30x9"}, 6, {'job="a"': 0.25}),
    RecordCase("job:keda_jobs_queue_claimable_rows:max", twice("queue_claimable_rows", "5x9"), 2, {'job="a"': 5}),
    RecordCase(
        "job_outcome:keda_jobs_queue_rows:rate5m",
        {f'keda_jobs_queue_rows_total{{job="a", outcome="completed", instance="{pod}"}}': "0+60x9" for pod in "pq"},
        6,
        {'job="a", outcome="completed"': 1},
    ),
    RecordCase("keda_jobs:jetstream_storage_used:ratio", {USED: "40x9", MOST: "80x9"}, 2, {"": 0.5}),
]

# An installation without any traffic: what the exporter says, and no pod.
IDLE: Series = {
    **dict.fromkeys((LAG, AGE, LETTERS, STALE, RUNNING, CLAIMABLE, WAITING, OBJECT, JOB, USED), "0x120"),
    'keda_jobs_waiting_retries{job="a"}': "0x120",
    MOST: "100x120",
    NATS: "1x120",
    POSTGRES: "1x120",
}
# A busy job whose pod is replaced by another at minute 30, while the exporter is away for two minutes as well.
GONE = "x29 stale"
DEPLOY: Series = {
    **dict.fromkeys((AGE, LETTERS, STALE, RUNNING, CLAIMABLE, WAITING, USED), f"0{GONE} _x1 0x90"),
    LAG: f"3{GONE} _x1 3x90",
    MOST: f"100{GONE} _x1 100x90",
    NATS: f"1{GONE} _x1 1x90",
    UP: "1x29 0 stale",
    SLOTS: f"8{GONE}",
    IN_WORK: f"2{GONE}",
    FETCHED: f"1{GONE}",
    UP.replace('"p"', '"q"'): "_x29 0 1x90",
    SLOTS.replace('"p"', '"q"'): "_x30 8x90",
    IN_WORK.replace('"p"', '"q"'): "_x30 2x90",
    FETCHED.replace('"p"', '"q"'): "_x30 1x90",
}
