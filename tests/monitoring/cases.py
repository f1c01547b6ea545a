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
    """Alert at some minutes, with the labels for which it fires. By default it does not.

    The labels lack the severity, and the namespace: the series are in two of them, and it fires in both.
    """

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
DELAYED_DUE = "keda_jobs_delayed_event_next_due_timestamp_seconds"
RETRIES = 'keda_jobs_waiting_retries{job="a"}'
ACKED, RETRIED, DEAD, RETURNED = (
    f'keda_jobs_messages_total{{job="a", outcome="{outcome}", instance="p"}}'
    for outcome in ("acked", "retried", "dead_lettered", "returned")
)
ACK_PENDING = 'keda_jobs_consumer_ack_pending{job="a", consumer="a-consumer"}'
LAST_ACK = 'keda_jobs_consumer_last_ack_timestamp_seconds{job="a", consumer="a-consumer"}'
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
GIVEN_UP = 'keda_jobs_queue_rows_failed_permanently{job="a"}'
ROWS_DONE, ROWS_FAILED, ROWS_RETURNED = (
    f'keda_jobs_queue_rows_total{{job="a", outcome="{outcome}"}}' for outcome in ("completed", "failed", "returned")
)
NO_ROWS = dict.fromkeys((ROWS_DONE, ROWS_FAILED, ROWS_RETURNED), "0x40")
EVENTS: Labels = {"stream": "keda-jobs-events"}
LEADERLESS, BEHIND, WRITE_FAILED = (
    f'keda_jobs_stream_{name}{{stream="keda-jobs-events"}}'
    for name in ("leaderless", "replicas_behind", "write_failed")
)
EXPIRY = "keda_jobs_nats_certificate_expiry_timestamp_seconds"
BUILD = 'keda_build_info{namespace="keda"}'
OBJECT = 'keda_scaled_object_errors_total{namespace="keda-jobs-prod", scaledObject="a"}'
JOB = 'keda_scaled_job_errors_total{namespace="keda-jobs-prod", scaledJob="a"}'
FOREIGN = 'keda_scaled_object_errors_total{namespace="shop", scaledObject="a"}'
BACKUP = "keda_jobs_last_backup_timestamp_seconds"
USED, LIMIT = "keda_jobs_jetstream_storage_bytes", "keda_jobs_jetstream_storage_max_bytes"
NATS, POSTGRES = 'keda_jobs_scrape_ok{source="nats"}', 'keda_jobs_scrape_ok{source="postgres"}'


def here(series: Series) -> Series:
    """Put series into one of two environments."""
    return _within("here", series)


def there(series: Series) -> Series:
    """Put series into the other environment."""
    return _within("there", series)


def _within(namespace: str, series: Series) -> Series:
    label = f'namespace="{namespace}"'
    return {
        f"{name[:-1]}, {label}}}" if name.endswith("}") else f"{name}{{{label}}}": values
        for name, values in series.items()
    }


HERE: Labels = {"namespace": "here"}

# A pod below its concurrency limit that does not fetch.
STUCK = {FETCH_AGE: "10+60x20", IN_FLIGHT: "2x20", CONCURRENCY: "8x20", PAUSED: "0x20", UP: "1x20"}


def promised(in_time: str, late: str) -> Series:
    """Return the counts of a pod that promises 99 %. `late` is as long as `in_time`."""
    labels = 'job="a", instance="p"'
    return {
        f'keda_jobs_slo_messages_total{{{labels}, kept="yes"}}': in_time,
        f'keda_jobs_slo_messages_total{{{labels}, kept="no"}}': late,
        f"keda_jobs_slo_objective_ratio{{{labels}}}": "0.99x500",
    }


ALERTS: dict[str, list[AlertCase]] = {
    "KedaJobsLagGrowing": [
        AlertCase("it grows at the concurrency limit", {LAG: "0+60x60", **FULL}, (20,), (A,)),
        AlertCase("it grows with a dip", {LAG: "0+60x10 500 660+60x40", **FULL}, (21,), (A,)),
        AlertCase("it grows for less than 15 minutes", {LAG: "0+60x10 600-20x40", **FULL}, (14, 20)),
        AlertCase("a burst is processed", {LAG: "0x4 5000 9000-60x50", **FULL}, (10, 20, 30, 40)),
        AlertCase("it grows below the concurrency limit", {LAG: "0+60x60", **ROOM}, (20, 40)),
        AlertCase("it grows without a pod", {LAG: "0+60x60"}, (20, 40)),
        AlertCase(
            "another environment's pods are busy",
            here({LAG: "0+60x60", **ROOM}) | there({LAG: "0x60", **FULL}),
            (20, 40),
        ),
    ],
    "KedaJobsNotScaledUp": [
        AlertCase("no pod starts", {LAG: "3x20"}, (6,), (A,)),
        AlertCase("the exporter is away", {LAG: "3x3 _ 3x20"}, (6,), (A,)),
        AlertCase("the last pod stopped", {LAG: "3x20", CONCURRENCY: "8x4 stale"}, (11,), (A,)),
        AlertCase("a pod takes 4 minutes", {LAG: "3x20", CONCURRENCY: "_x4 8x20"}, (3, 6, 12)),
        AlertCase("there is no lag", {LAG: "0x20"}, (6, 12)),
        AlertCase(
            "another environment is well",
            here({LAG: "3x20"}) | there({LAG: "3x20", CONCURRENCY: "8x20"}),
            (6,),
            (A | HERE,),
        ),
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
        AlertCase("in one of two environments", here({DUE: "60x40"}) | there({DUE: "36000x60"}), (12,), (A | HERE,)),
    ],
    "KedaJobsDelayedEventOverdue": [
        AlertCase("due since minute 1", {DELAYED_DUE: "60x40"}, (12,), ({},)),
        AlertCase("due in ten hours", {DELAYED_DUE: "36000x60"}, (12, 60)),
        AlertCase("it is published late", {DELAYED_DUE: "60x9 stale"}, (9, 12, 20)),
        AlertCase(
            "in one of two environments",
            here({DELAYED_DUE: "60x40"}) | there({DELAYED_DUE: "36000x60"}),
            (12,),
            (HERE,),
        ),
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
        AlertCase(
            "another environment had a pod at this address",
            here({UP: "0x20"}) | there({CONCURRENCY: "8x4 stale", UP: "1x4 stale"}),
            (11, 20),
        ),
    ],
    "KedaJobsStoreFailing": [
        AlertCase("one failure in six", {STORED: "0+50x20", REFUSED: "0+10x20"}, (12,), (A,)),
        AlertCase("one failure in eleven", {STORED: "0+50x20", REFUSED: "0+5x20"}, (12, 20)),
        AlertCase("two outcomes add up", {STORED: "0+50x20", REFUSED: "0+4x20", BROKEN: "0+4x20"}, (12,), (A,)),
        AlertCase("for two minutes", {STORED: "0+50x20", REFUSED: "0+10x2 20x20"}, (2, 4, 9)),
        AlertCase("nothing is stored", {STORED: "0x20", REFUSED: "0x20"}, (12, 20)),
    ],
    "KedaJobsNatsTrouble": [
        AlertCase("nobody answers", {NATS_TROUBLE: "0 1x20"}, (1,), (A,)),
        AlertCase("a new leader was elected", {NATS_TROUBLE: "0 1 0x20"}, (2, 12)),
    ],
    "KedaJobsNatsTroubleLasts": [
        AlertCase("nobody answers", {NATS_TROUBLE: "0 1x20"}, (3,), (A,)),
        AlertCase("a new leader is elected", {NATS_TROUBLE: "0 1 0x20"}, (1, 3, 12)),
    ],
    "KedaJobsPaused": [
        AlertCase("a long pause", {PAUSED: "0 1x20"}, (7,), (A,)),
        AlertCase("the pod exits and its successor pauses", {PAUSED: "0 1x10 stale _ 1x9"}, (12, 13, 15), (A,)),
        AlertCase("NATS restarted", {PAUSED: "0 1x3 0x20"}, (4, 7, 12)),
    ],
    "KedaJobsRetriesPilingUp": [
        AlertCase("each message fails", {RETRIES: "0+1x120", RETRIED: "0+1x120"}, (20, 119), (A,)),
        AlertCase("no pod is scraped", {RETRIES: "0+1x120"}, (20, 119), (A,)),
        AlertCase("half of them fail", {RETRIES: "0+1x120", ACKED: "0+1.2x120"}, (20, 119)),
        AlertCase("a few fail", {RETRIES: "0+1x8 8x120", RETRIED: "0+1x8 8x120"}, (20, 119)),
        AlertCase("they come back as fast", {RETRIES: "500x120", RETRIED: "0+9x120"}, (20, 119)),
    ],
    "KedaJobsMostMessagesFailing": [
        AlertCase("all fail", {ACKED: "0x120", RETRIED: "0+1x120"}, (20, 119), (A,)),
        AlertCase("all become dead letters", {ACKED: "0x120", DEAD: "0+1x120"}, (20, 119), (A,)),
        AlertCase("the pod is gone", {RETRIED: "0x3 20x3 stale", LAG: "0x60"}, (12, 55), (A,)),
        AlertCase("the pod was new when they failed", {RETRIED: "_x5 20x3 stale", LAG: "0x60"}, (14, 55), (A,)),
        AlertCase("it was an hour ago", {RETRIED: "0x3 20x3 stale", LAG: "0x120"}, (75, 119)),
        AlertCase("most succeed", {ACKED: "0+3x120", RETRIED: "0+2x120"}, (20, 119)),
        AlertCase("a few bad events", {ACKED: "0x120", RETRIED: "0+1x9 9x120"}, (20, 119)),
        AlertCase("pods give messages back", {ACKED: "0x120", RETURNED: "0+9x120"}, (20, 119)),
    ],
    # The clock of these cases starts at 0, and so does the time of the last ack.
    "KedaJobsNothingSettled": [
        AlertCase("nothing is acked any more", {ACK_PENDING: "2x40", LAST_ACK: "60x40"}, (18,), (A,)),
        AlertCase("nothing was ever acked", {ACK_PENDING: "1x40"}, (18,), (A,)),
        AlertCase("the exporter is away", {ACK_PENDING: "1x9 _ 1x40"}, (18,), (A,)),
        AlertCase("one message hangs, others pass", {ACK_PENDING: "2x40", LAST_ACK: "0+60x40"}, (18, 40)),
        AlertCase("nothing is in flight", {ACK_PENDING: "0x40", LAST_ACK: "0x40"}, (18, 40)),
        AlertCase("a burst comes late", {ACK_PENDING: "0x20 5x9 0x20", LAST_ACK: "0x40"}, (18, 25, 29)),
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
    "KedaJobsRowsGivenUp": [
        AlertCase("the first one", {GIVEN_UP: "0x4 1x90"}, (6, 62), (A,)),
        AlertCase("it is long ago", {GIVEN_UP: "0x4 1x90"}, (4, 68)),
        AlertCase("they existed before", {GIVEN_UP: "7x90"}, (1, 6, 80)),
        AlertCase("they are put back", {GIVEN_UP: "7x4 0x90"}, (6, 80)),
    ],
    "KedaJobsMostRowsFailing": [
        AlertCase("all fail", {ROWS_DONE: "0x60", ROWS_FAILED: "0+100x60"}, (20, 59), (A,)),
        AlertCase("no row was ever completed", {ROWS_FAILED: "0+100x60"}, (20, 59), (A,)),
        AlertCase("most succeed", {ROWS_DONE: "0+100x60", ROWS_FAILED: "0+90x60"}, (20, 59)),
        AlertCase("a few bad rows", {ROWS_DONE: "0x60", ROWS_FAILED: "0x3 5x60"}, (20, 59)),
        AlertCase("workers give rows back", {ROWS_DONE: "0x60", ROWS_RETURNED: "0+100x60"}, (20, 59)),
    ],
    "KedaJobsNoRowSettled": [
        AlertCase("a worker holds a batch", {RUNNING: "1x40", ROWS_DONE: "9x40", CLAIMABLE: "0x40"}, (18,), (A,)),
        AlertCase("workers come and go", {RUNNING: "0 1 0 1 0 1x2 0x40", CLAIMABLE: "9x40", **NO_ROWS}, (18,), (A,)),
        AlertCase("it settles rows", {RUNNING: "1x40", ROWS_DONE: "0+1x40"}, (18, 40)),
        AlertCase("it fails rows", {RUNNING: "1x40", ROWS_FAILED: "0+1x40"}, (18, 40)),
        AlertCase("no worker runs", {RUNNING: "0x40", CLAIMABLE: "9x40", **NO_ROWS}, (18, 40)),
        AlertCase(
            "a worker has just begun", {RUNNING: "0x20 1x9 0x20", CLAIMABLE: "0x20 9x9 0x20", **NO_ROWS}, (18, 28)
        ),
    ],
    # With an objective of 99 %, a burn of 14.4 is 14.4 % late messages.
    "KedaJobsBudgetBurnsFast": [
        AlertCase("a fifth is late", promised("0+80x80", "0+20x80"), (20, 80), (A,)),
        AlertCase("its pod is gone, and came for a minute", promised("0x3 3x5 stale", "0x3 12x5 stale"), (7, 8), (A,)),
        AlertCase("all was late, for long", promised("0x80", "0+20x40 800x40"), (80,)),
        AlertCase("a tenth is late, for hours", promised("0+90x400", "0+10x400"), (100, 400), (A,)),
        AlertCase("one in a hundred is late", promised("0+99x80", "0+1x80"), (20, 80)),
        AlertCase("a quiet night", promised("0x80", "0x20 1x20 2x20 3x20"), (25, 45, 80)),
    ],
    "KedaJobsBudgetBurnsSlowly": [
        AlertCase("three in a hundred and more are late", promised("0+96x200", "0+4x200"), (200,), (A,)),
        AlertCase("two in a hundred are late", promised("0+98x400", "0+2x400"), (400,), (A,)),
        AlertCase("one in two hundred is late", promised("0+199x400", "0+1x400"), (400,)),
    ],
    # Times before 1970, because eight days would be 11 520 samples.
    "KedaJobsQueueNotChecked": [
        AlertCase("the last of three is eight days old", {CHECKED: "-692000x20", CHECK_DAYS: "3x20"}, (10,), (A,)),
        AlertCase("it runs once a week", {CHECKED: "-600000x20", CHECK_DAYS: "5x20"}, (10, 20)),
        AlertCase("nobody scheduled it", {CHECKED: "-692000x20", CHECK_DAYS: "2x20"}, (10, 20)),
        AlertCase("its last days are long ago", {CHECKED: "-692000x20", CHECK_DAYS: "3x3 2x20"}, (6, 10, 20)),
        AlertCase(
            "it is checked in another environment",
            here({CHECKED: "-692000x20", CHECK_DAYS: "3x20"}) | there({CHECKED: "0x20", CHECK_DAYS: "5x20"}),
            (10,),
            (A | HERE,),
        ),
    ],
    "KedaJobsQueueNotWorkedOff": [
        AlertCase("no batch", {CLAIMABLE: "9x20", RUNNING: "0x20"}, (11,), (A,)),
        AlertCase("a batch is running", {CLAIMABLE: "9x20", RUNNING: "1x20"}, (11, 20)),
        AlertCase("a Job starts late", {CLAIMABLE: "9x20", RUNNING: "0x8 1x9"}, (8, 12)),
        AlertCase("only retries wait", {CLAIMABLE: "0x20", WAITING: "500x20", RUNNING: "0x20"}, (11, 20)),
        AlertCase(
            "another environment is well",
            here({CLAIMABLE: "9x20", RUNNING: "0x20"}) | there({RUNNING: "1x20"}),
            (11,),
            (A | HERE,),
        ),
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
        AlertCase(
            "another environment is well",
            here({USED: "9x20", LIMIT: "10x20"}) | there({USED: "9x20", LIMIT: "100x20"}),
            (7,),
            (HERE,),
        ),
    ],
    "KedaJobsStorageFilling": [
        AlertCase("full in 10 hours", {USED: "300+1x60", LIMIT: "960x60"}, (30, 59), ({},)),
        AlertCase("it grows with dips", {USED: "300+1x20 310+1x40", LIMIT: "960x60"}, (59,), ({},)),
        AlertCase("full in 30 hours", {USED: "300+1x60", LIMIT: "2100x60"}, (30, 59)),
        AlertCase("it does not grow", {USED: "900x60", LIMIT: "1000x60"}, (30, 59)),
        AlertCase("it is nearly empty", {USED: "10+1x60", LIMIT: "300x60"}, (30, 59)),
        AlertCase("without a limit", {USED: "300+1x60", LIMIT: "0x60"}, (30, 59)),
    ],
    "KedaJobsNatsNoLeader": [
        AlertCase("two of three servers are down", {LEADERLESS: "0 1x20"}, (4,), (EVENTS,)),
        AlertCase("an election", {LEADERLESS: "0 1 0x20"}, (1, 4, 9)),
    ],
    "KedaJobsNatsReplicasBehind": [
        AlertCase("a server is gone", {BEHIND: "0x3 1x30"}, (16, 20), (EVENTS,)),
        AlertCase("it is behind most of the time", {BEHIND: "1x3 0 1x3 0 1x3 0 1x3 0 1x20"}, (16,), (EVENTS,)),
        AlertCase("a server is restarted", {BEHIND: "0x3 1x2 0x30"}, (8, 16)),
        AlertCase("a burst", {BEHIND: "0x3 1 0x3 1 0x3 1 0x30"}, (8, 16)),
    ],
    "KedaJobsStreamWriteFailed": [
        AlertCase("the disk was full", {WRITE_FAILED: "0 1x30"}, (2, 30), (EVENTS,)),
        AlertCase("one of three servers says so", {WRITE_FAILED: "0 1 0 0 1 0 0 0 0 1 0x5"}, (2, 9, 15), (EVENTS,)),
        AlertCase("it was restarted", {WRITE_FAILED: "0 1x3 0x30"}, (15, 30)),
        AlertCase("it can write", {WRITE_FAILED: "0x30"}, (15, 30)),
    ],
    # The clock of these cases starts at 0.
    "KedaJobsCertificateExpires": [
        AlertCase("in a week", {EXPIRY: "604800x60"}, (6, 30), ({},)),
        AlertCase("a week ago", {EXPIRY: "-604800x60"}, (6, 30), ({},)),
        AlertCase("one of three servers shows the old one", {EXPIRY: "604800 9e6 9e6 604800x9"}, (6,), ({},)),
        AlertCase("in a month", {EXPIRY: "2592000x60"}, (6, 30)),
        AlertCase("it is renewed", {EXPIRY: "604800x9 9000000x60"}, (25, 30)),
        AlertCase("without TLS", {NATS: "1x60"}, (30,)),
    ],
    "KedaJobsKedaNotScraped": [
        AlertCase("its pod is no target", {BUILD: "1x3 stale"}, (20,), ({"namespace": ""},)),
        AlertCase("it was never scraped", {}, (12,), ({"namespace": ""},)),
        AlertCase("it is upgraded", {BUILD: "1x3 stale _x5 1x20"}, (8, 12, 20)),
    ],
    # The clock of these cases starts at 0. Before 1970 is long ago.
    "KedaJobsBackupTooOld": [
        AlertCase("the last one was at the start", {BACKUP: "60x200"}, (155, 200), ({},)),
        AlertCase("none was ever completed", {BACKUP: "-1700000000x60"}, (40,), ({},)),
        AlertCase("the exporter is restarted", {BACKUP: "60x150 stale _x2 60x40"}, (152, 190), ({},)),
        AlertCase("each hour has one", {BACKUP: "0x60 3600x60 7200x60 10800x60"}, (40, 100, 160, 220)),
        AlertCase("one run was missed", {BACKUP: "0x120 7200x120"}, (119, 125, 151, 200)),
        AlertCase("it is complete again", {BACKUP: "60x160 9600x60"}, (165, 200)),
        AlertCase("nobody takes backups", {NATS: "1x200"}, (200,)),
        AlertCase(
            "another environment has one", here({BACKUP: "60x200"}) | there({BACKUP: "11000x200"}), (190,), (HERE,)
        ),
    ],
    "KedaJobsConsumerMissing": [
        AlertCase("it was deleted", {LAG: "0x9 stale", NATS: "1x60"}, (16,), ({**A, "consumer": "a-consumer"},)),
        AlertCase("it came back", {LAG: "0x9 stale _x2 0x60", NATS: "1x60"}, (12, 16, 30)),
        AlertCase("a day later", {LAG: "0x9 stale", NATS: "1x1500"}, (1460,)),
        AlertCase("NATS does not answer", {LAG: "0x9 stale", NATS: "1x9 0x60"}, (16, 30)),
        AlertCase("the exporter stopped", {LAG: "0x9 stale", NATS: "1x9 stale"}, (16, 30)),
        AlertCase(
            "another environment has it",
            here({LAG: "0x9 stale", NATS: "1x60"}) | there({LAG: "0x60", NATS: "1x60"}),
            (16,),
            ({**A, **HERE, "consumer": "a-consumer"},),
        ),
    ],
    "KedaJobsExporterDown": [
        AlertCase("it stopped", {NATS: "1x4 stale"}, (11,), ({},)),
        AlertCase("it never started", {}, (6,), ({"namespace": ""},)),
        AlertCase("it reads only one source", {NATS: "1x20", POSTGRES: "1 0x20"}, (7,), ({"source": "postgres"},)),
        AlertCase("it is redeployed", {NATS: "1x4 stale _x2 1x20"}, (6, 8, 12)),
        AlertCase("it reads both", {NATS: "1x20", POSTGRES: "1x20"}, (6, 20)),
        AlertCase("another environment has one", here({NATS: "1x4 stale"}) | there({NATS: "1x60"}), (11,), (HERE,)),
    ],
}


def twice(name: str, values: str) -> Series:
    """Give the same values to two pods."""
    return {f'keda_jobs_{name}{{job="a", instance="{pod}"}}': values for pod in "pq"}


# Ten late messages, and late messages only, as promtool's float arithmetic has them.
BUDGET, BURN = 10 / (1 - 0.99), 1 / (1 - 0.99)
RECORDS = [
    RecordCase("job:keda_jobs_consumer_lag:max", twice("consumer_lag", "5x9"), 2, {'job="a"': 5}),
    RecordCase(
        "job:keda_jobs_consumer_oldest_age_seconds:max",
        twice("consumer_oldest_age_seconds", "5x9"),
        2,
        {'job="a"': 5},
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
    RecordCase("job:keda_jobs_store_failures:ratio5m", {STORED: "0+90x9", REFUSED: "0+30x9"}, 6, {'job="a"': 0.25}),
    RecordCase("job:keda_jobs_queue_claimable_rows:max", twice("queue_claimable_rows", "5x9"), 2, {'job="a"': 5}),
    RecordCase("job:keda_jobs_queue_batches_running:max", twice("queue_batches_running", "5x9"), 2, {'job="a"': 5}),
    RecordCase(
        "job:keda_jobs_queue_rows_failed_permanently:max",
        twice("queue_rows_failed_permanently", "5x9"),
        2,
        {'job="a"': 5},
    ),
    RecordCase(
        "job_outcome:keda_jobs_queue_rows:increase1h",
        {f'keda_jobs_queue_rows_total{{job="a", outcome="completed", instance="{pod}"}}': "0+60x70" for pod in "pq"},
        65,
        {'job="a", outcome="completed"': 3600},
    ),
    # One pod goes on, one was restarted, one is new, one was not scraped for a while, one is gone.
    RecordCase(
        "job_outcome:keda_jobs_messages:increase1m",
        {
            ACKED.replace('"p"', f'"{pod}"'): values
            for pod, values in {
                "p": "0+60x20",
                "q": "500x9 7x9",
                "r": "_x10 30x9",
                "s": "100 _x8 _ 104x9",
                "t": "900x4 stale",
            }.items()
        },
        10,
        {'job="a", outcome="acked"': 60 + 7 + 30 + 4},
    ),
    RecordCase(
        "job_kept:keda_jobs_slo_messages:increase1m",
        promised("0+90x20", "0+10x20"),
        9,
        {'job="a", kept="yes"': 90, 'job="a", kept="no"': 10},
    ),
    RecordCase("job:keda_jobs_slo_budget_used:increase1m", promised("0+90x20", "0+10x20"), 9, {'job="a"': BUDGET}),
    *[
        RecordCase(f"job:keda_jobs_slo_burn:ratio{window}", promised("0x20", "0+10x20"), 9, {'job="a"': BURN})
        for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    ],
    RecordCase("keda_jobs:jetstream_storage_used:ratio", {USED: "40x9", LIMIT: "80x9"}, 2, {"": 0.5}),
]

# An installation without traffic: series of the exporter, and no pod.
IDLE: Series = {
    **dict.fromkeys((LAG, AGE, DEAD_LETTERS, STALE, RUNNING, STRANDED, CLAIMABLE, WAITING, OBJECT, JOB, USED), "0x120"),
    **dict.fromkeys((RETRIES, ACK_PENDING, GIVEN_UP, ROWS_DONE, LEADERLESS, BEHIND, WRITE_FAILED), "0x120"),
    EXPIRY: "9000000x120",
    BUILD: "1x120",
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
    BUILD: "1x120",
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
