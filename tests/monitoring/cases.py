"""Cases for the rules: series in promtool's notation, one sample per minute, and the alerts and values they give.

`0+60x30` is 0 and thirty more values, each 60 higher. `1x10` is eleven ones. `_` is no sample, and `stale` ends a
series.
"""

from __future__ import annotations

from dataclasses import dataclass

Labels = dict[str, str]
Series = dict[str, str]


@dataclass(frozen=True, slots=True)
class AlertCase:
    """Alert at some minutes, with the labels (without the severity) for which it fires. By default it does not."""

    situation: str
    series: Series
    at: tuple[int, ...]
    fires: tuple[Labels, ...] = ()

    def __str__(self) -> str:
        return self.situation


@dataclass(frozen=True, slots=True)
class RecordCase:
    """Recorded series at a minute, with its values by labels."""

    record: str
    series: Series
    at: int
    values: dict[str, float]

    def __str__(self) -> str:
        return self.record


A: Labels = {"job": "a"}
SCALED: Labels = {"job": "a", "namespace": "keda-jobs-prod"}
POD: Labels = {"job": "a", "instance": "p"}
ROOM = {'keda_jobs_messages_in_flight{job="a"}': "6x60", 'keda_jobs_concurrency_limit{job="a"}': "8x60"}
FULL = {'keda_jobs_messages_in_flight{job="a"}': "8x60", 'keda_jobs_concurrency_limit{job="a"}': "8x60"}
LAG = 'keda_jobs_consumer_lag{job="a", consumer="a-consumer"}'
AGE = 'keda_jobs_consumer_oldest_age_seconds{job="a", consumer="a-consumer"}'
DEAD_LETTERS = 'keda_jobs_dead_letters_stored{job="a"}'
DUE = 'keda_jobs_waiting_retry_next_due_timestamp_seconds{job="a"}'
FETCH_AGE = 'keda_jobs_fetch_age_seconds{job="a", instance="p"}'
IN_FLIGHT = 'keda_jobs_messages_in_flight{job="a", instance="p"}'
CONCURRENCY = 'keda_jobs_concurrency_limit{job="a", instance="p"}'
NATS_TROUBLE = 'keda_jobs_nats_trouble{job="a", instance="p"}'
PAUSED = 'keda_jobs_paused{job="a", instance="p"}'
UP = 'up{job="a", instance="p"}'
STORED = 'keda_jobs_store_operation_duration_seconds_count{job="a", operation="put", outcome="ok"}'
REFUSED = 'keda_jobs_store_operation_duration_seconds_count{job="a", operation="put", outcome="unavailable"}'
BROKEN = 'keda_jobs_store_operation_duration_seconds_count{job="a", operation="put", outcome="failed"}'
STALE = 'keda_jobs_queue_batches_stale{job="a"}'
RUNNING = 'keda_jobs_queue_batches_running{job="a"}'
STRANDED = 'keda_jobs_queue_stranded_rows{job="a"}'
ASIDE = 'keda_jobs_queue_set_aside_rows{job="a"}'
CHECKED = 'keda_jobs_queue_checked_timestamp_seconds{job="a"}'
CHECK_DAYS = 'keda_jobs_queue_check_days{job="a"}'
CLAIMABLE = 'keda_jobs_queue_claimable_rows{job="a"}'
WAITING = 'keda_jobs_queue_waiting_rows{job="a"}'
OBJECT = 'keda_scaled_object_errors_total{namespace="keda-jobs-prod", scaledObject="a"}'
JOB = 'keda_scaled_job_errors_total{namespace="keda-jobs-prod", scaledJob="a"}'
FOREIGN = 'keda_scaled_object_errors_total{namespace="shop", scaledObject="a"}'
USED, LIMIT = "keda_jobs_jetstream_storage_bytes", "keda_jobs_jetstream_storage_max_bytes"
NATS, POSTGRES = 'keda_jobs_scrape_ok{source="nats"}', 'keda_jobs_scrape_ok{source="postgres"}'

# A pod below its concurrency limit that does not fetch.
STUCK = {FETCH_AGE: "10+60x20", IN_FLIGHT: "2x20", CONCURRENCY: "8x20", PAUSED: "0x20", UP: "1x20"}

ALERTS: dict[str, list[AlertCase]] = {
    "KedaJobsLagGrowing": [
        AlertCase("it grows at the concurrency limit", {LAG: "0+60x60", **FULL}, (20,), (A,)),
        AlertCase("it grows for less than 15 minutes", {LAG: "0+60x10 600-20x40", **FULL}, (14, 20)),
        AlertCase("a burst is processed", {LAG: "0x4 5000 9000-60x50", **FULL}, (10, 20, 30, 40)),
        AlertCase("it grows below the concurrency limit", {LAG: "0+60x60", **ROOM}, (20, 40)),
        AlertCase("it grows without a pod", {LAG: "0+60x60"}, (20, 40)),
    ],
    "KedaJobsNotScaledUp": [
        AlertCase("no pod starts", {LAG: "3x20"}, (6,), (A,)),
        AlertCase("the last pod stopped", {LAG: "3x20", CONCURRENCY: "8x4 stale"}, (11,), (A,)),
        AlertCase("a pod takes 4 minutes", {LAG: "3x20", CONCURRENCY: "_x4 8x20"}, (3, 6, 12)),
        AlertCase("there is no lag", {LAG: "0x20"}, (6, 12)),
    ],
    "KedaJobsDeadLettersArriving": [
        AlertCase("the first one", {DEAD_LETTERS: "0x4 1x40"}, (6, 18), (A,)),
        AlertCase("it is long ago", {DEAD_LETTERS: "0x4 1x40"}, (4, 22)),
        AlertCase("they existed before", {DEAD_LETTERS: "7x40"}, (1, 6, 20)),
        AlertCase("they are purged", {DEAD_LETTERS: "7x4 0x20"}, (6, 20)),
    ],
    "KedaJobsOldestMessageTooOld": [
        AlertCase("it keeps waiting", {AGE: "0+60x60"}, (37,), (A,)),
        AlertCase("it is finished at the last moment", {AGE: "0+60x34 0x20"}, (34, 40)),
        AlertCase("exactly half an hour", {AGE: "1800x60"}, (30, 60)),
    ],
    "KedaJobsRetryOverdue": [
        AlertCase("due since minute 1", {DUE: "60x40"}, (12,), (A,)),
        AlertCase("due in ten hours", {DUE: "36000x60"}, (12, 60)),
        AlertCase("it fires late", {DUE: "60x9 stale"}, (9, 12, 20)),
    ],
    "KedaJobsLoopDoesNotPoll": [
        AlertCase("no fetch below the concurrency limit", STUCK, (7,), (POD,)),
        AlertCase("at the concurrency limit", STUCK | {IN_FLIGHT: "8x20"}, (7, 20)),
        AlertCase("it is paused", STUCK | {PAUSED: "1x20"}, (7, 20)),
        AlertCase("a fetch takes long", STUCK | {FETCH_AGE: "50x20"}, (7, 20)),
        AlertCase("a pod is restarted", {CONCURRENCY: "8x4 stale _x2 8x20", UP: "1x4 0x2 1x20"}, (6, 9, 12)),
        AlertCase("a pod does not answer", {CONCURRENCY: "8x4 stale", UP: "1x4 0x20"}, (11,), (POD,)),
        AlertCase("a pod stopped", {CONCURRENCY: "8x4 stale", UP: "1x4 0 stale"}, (6, 11, 20)),
        AlertCase("the target was never a job", {UP: "0x20"}, (11, 20)),
    ],
    "KedaJobsStoreFailing": [
        AlertCase("one failure in six", {STORED: "0+50x20", REFUSED: "0+10x20"}, (12,), (A,)),
        AlertCase("one failure in eleven", {STORED: "0+50x20", REFUSED: "0+5x20"}, (12, 20)),
        AlertCase("two outcomes add up", {STORED: "0+50x20", REFUSED: "0+4x20", BROKEN: "0+4x20"}, (12,), (A,)),
        AlertCase("for two minutes", {STORED: "0+50x20", REFUSED: "0+10x2 20x20"}, (2, 4, 9)),
        AlertCase("nothing is stored", {STORED: "0x20", REFUSED: "0x20"}, (12, 20)),
    ],
    "KedaJobsNatsTrouble": [
        AlertCase("nobody answers", {NATS_TROUBLE: "0 1x20"}, (3,), (A,)),
        AlertCase("a new leader is elected", {NATS_TROUBLE: "0 1 0x20"}, (1, 3, 12)),
    ],
    "KedaJobsPaused": [
        AlertCase("a long pause", {PAUSED: "0 1x20"}, (7,), (A,)),
        AlertCase("NATS restarted", {PAUSED: "0 1x3 0x20"}, (4, 7, 12)),
    ],
    "KedaJobsBatchesStale": [
        AlertCase("nobody recovers it", {STALE: "0 1x20"}, (7,), (A,)),
        AlertCase("it is recovered", {STALE: "0 1x3 0x20"}, (4, 7, 12)),
    ],
    "KedaJobsQueueRowsStranded": [
        AlertCase("a check found some", {STRANDED: "_ 0x3 7x20"}, (7,), (A,)),
        AlertCase("they are repaired at once", {STRANDED: "0x3 7 0x20"}, (4, 6, 12)),
        AlertCase("there was no check", {CLAIMABLE: "0x20", RUNNING: "0x20"}, (7, 20)),
    ],
    "KedaJobsQueueRowsSetAside": [
        AlertCase("some are refused", {ASIDE: "0x3 7x20"}, (10,), (A,)),
        AlertCase("they are tried again", {ASIDE: "0x3 7x3 0x20"}, (6, 8, 12)),
    ],
    # Times before 1970, because eight days would be 11 520 samples.
    "KedaJobsQueueNotChecked": [
        AlertCase("the last of three is eight days old", {CHECKED: "-692000x20", CHECK_DAYS: "3x20"}, (10,), (A,)),
        AlertCase("it runs once a week", {CHECKED: "-600000x20", CHECK_DAYS: "5x20"}, (10, 20)),
        AlertCase("nobody scheduled it", {CHECKED: "-692000x20", CHECK_DAYS: "2x20"}, (10, 20)),
        AlertCase("its last days are long ago", {CHECKED: "-692000x20", CHECK_DAYS: "3x3 2x20"}, (6, 10, 20)),
    ],
    "KedaJobsQueueNotWorkedOff": [
        AlertCase("no batch", {CLAIMABLE: "9x20", RUNNING: "0x20"}, (11,), (A,)),
        AlertCase("a batch is running", {CLAIMABLE: "9x20", RUNNING: "1x20"}, (11, 20)),
        AlertCase("a Job starts late", {CLAIMABLE: "9x20", RUNNING: "0x8 1x9"}, (8, 12)),
        AlertCase("only retries wait", {CLAIMABLE: "0x20", WAITING: "500x20", RUNNING: "0x20"}, (11, 20)),
    ],
    "KedaJobsScalerErrors": [
        AlertCase("at each poll", {OBJECT: "0+12x20"}, (8,), (SCALED,)),
        AlertCase("a ScaledJob at each poll", {JOB: "1+2x20"}, (8,), (SCALED,)),
        AlertCase("NATS restarted", {OBJECT: "0x3 5 9x20"}, (5, 8, 12)),
        AlertCase("an error now and then", {OBJECT: "0x4 1x4 2x4 3x4 4x4"}, (8, 12, 16)),
        AlertCase("a ScaledJob's error now and then", {JOB: "0x4 1x4 2x4 3x4 4x4"}, (8, 12, 16)),
        AlertCase("another namespace", {FOREIGN: "0+12x20"}, (8, 20)),
    ],
    "KedaJobsStorageFull": [
        AlertCase("over 80 %", {USED: "81x20", LIMIT: "100x20"}, (7,), ({},)),
        AlertCase("it is purged", {USED: "10 90x2 10x20", LIMIT: "100x20"}, (2, 3, 8)),
        AlertCase("exactly 80 %", {USED: "80x20", LIMIT: "100x20"}, (7, 20)),
        AlertCase("without a limit", {USED: "80x20", LIMIT: "0x20"}, (7, 20)),
    ],
    "KedaJobsConsumerMissing": [
        AlertCase("it was deleted", {LAG: "0x9 stale", NATS: "1x60"}, (16,), ({**A, "consumer": "a-consumer"},)),
        AlertCase("it came back", {LAG: "0x9 stale _x2 0x60", NATS: "1x60"}, (12, 16, 30)),
        AlertCase("a day later", {LAG: "0x9 stale", NATS: "1x1500"}, (1460,)),
        AlertCase("NATS does not answer", {LAG: "0x9 stale", NATS: "1x9 0x60"}, (16, 30)),
        AlertCase("the exporter stopped", {LAG: "0x9 stale", NATS: "1x9 stale"}, (16, 30)),
    ],
    "KedaJobsExporterDown": [
        AlertCase("it stopped", {NATS: "1x4 stale"}, (11,), ({},)),
        AlertCase("it never started", {}, (6,), ({},)),
        AlertCase("it reads only one source", {NATS: "1x20", POSTGRES: "1 0x20"}, (7,), ({"source": "postgres"},)),
        AlertCase("it is redeployed", {NATS: "1x4 stale _x2 1x20"}, (6, 8, 12)),
        AlertCase("it reads both", {NATS: "1x20", POSTGRES: "1x20"}, (6, 20)),
    ],
}


def twice(name: str, values: str) -> Series:
    """Give the same values to two pods."""
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
        "job:keda_jobs_concurrency_used:ratio5m",
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
    RecordCase("keda_jobs:jetstream_storage_used:ratio", {USED: "40x9", LIMIT: "80x9"}, 2, {"": 0.5}),
]

# An installation without traffic: series of the exporter, and no pod.
IDLE: Series = {
    **dict.fromkeys((LAG, AGE, DEAD_LETTERS, STALE, RUNNING, STRANDED, CLAIMABLE, WAITING, OBJECT, JOB, USED), "0x120"),
    'keda_jobs_waiting_retries{job="a"}': "0x120",
    LIMIT: "100x120",
    NATS: "1x120",
    POSTGRES: "1x120",
}
# A busy job whose pod is replaced at minute 30, while the exporter is unavailable for two minutes.
GONE = "x29 stale"
DEPLOY: Series = {
    **dict.fromkeys((AGE, DEAD_LETTERS, STALE, RUNNING, CLAIMABLE, WAITING, USED), f"0{GONE} _x1 0x90"),
    LAG: f"3{GONE} _x1 3x90",
    LIMIT: f"100{GONE} _x1 100x90",
    NATS: f"1{GONE} _x1 1x90",
    UP: "1x29 0 stale",
    CONCURRENCY: f"8{GONE}",
    IN_FLIGHT: f"2{GONE}",
    FETCH_AGE: f"1{GONE}",
    UP.replace('"p"', '"q"'): "_x29 0 1x90",
    CONCURRENCY.replace('"p"', '"q"'): "_x30 8x90",
    IN_FLIGHT.replace('"p"', '"q"'): "_x30 2x90",
    FETCH_AGE.replace('"p"', '"q"'): "_x30 1x90",
}
