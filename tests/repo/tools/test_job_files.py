"""A job's files for images and clusters come from its `JOB` and its job.toml. A stale file and a mistake are named."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from job_files.__main__ import main
from stack.jobs import ROOT

EVENT_JOB = """
from keda_jobs import Event, event_job
from keda_jobs.event.handler import Context
from keda_jobs.settings import JobSettings

class Happened(Event, subject="happened"):
    key: str

async def handle(event: Happened, job: Context[JobSettings]) -> None: ...

JOB = event_job(handle, JobSettings)
"""
LONG_JOB = """
from keda_jobs import Event
from keda_jobs.long import LongContext, LongSettings, long_job

class Happened(Event, subject="happened"):
    key: str

async def handle(event: Happened, job: LongContext[LongSettings]) -> None: ...

JOB = long_job(handle, LongSettings)
"""
BATCH_JOB = """
from typing import NamedTuple
from keda_jobs.batch import BatchContext, BatchSettings, batch_job

class Row(NamedTuple):
    name: str

async def handle(row: Row, job: BatchContext[BatchSettings]) -> None: ...

JOB = batch_job(handle, BatchSettings, table="rows")
"""
SERVICE = """
from keda_jobs import service
from keda_jobs.settings import ProcessSettings

async def serve(process): ...

JOB = service(serve, ProcessSettings)
"""
EVENT_TOML = """
internet = true

[scale]
max_replicas = 3
lag_threshold = 40 # five "rounds" # of work

[resources]
requests = {cpu = "100m", memory = "96Mi"} # at rest
limits = {cpu = "1", memory = "256Mi"}

[settings]
SHUTDOWN_GRACE_S = "60s" # a long event
ACK_WAIT_S = 90
"""
RESOURCES = EVENT_TOML[EVENT_TOML.index("[resources]") : EVENT_TOML.index("[settings]")]
LONG_TOML = f"[scale]\nmax_replicas = 2\n{RESOURCES}[settings]\nHANDLER_TIMEOUT_S = 7200\n"
BATCH_TOML = f"[scale]\nmax_replicas = 2\n{RESOURCES}[settings]\nCLAIM_SIZE = 500\n"


class Repository:
    """Repository with one job, `new-here`."""

    def __init__(self, root: Path, package: Path) -> None:
        self.root = root
        self.package = package
        self.folder = root / "jobs" / "new-here"
        (root / "tools/ops").mkdir(parents=True)
        (root / "docs").mkdir()
        shutil.copy(ROOT / "docs/job-toml.md", root / "docs")

    def declare(self, job: str, toml: str) -> None:
        """Write the module `job`, to be imported anew, and the job.toml."""
        sys.modules.pop(f"{self.package.name}.job", None)
        shutil.rmtree(self.package / "__pycache__", ignore_errors=True)
        (self.package / "job.py").write_text(job)
        (self.folder / "job.toml").write_text(toml)

    def written(self, job: str, toml: str) -> dict[str, Any]:
        """Write the files and return the objects of service.yaml by kind."""
        self.declare(job, toml)
        assert main([], self.root) == 0
        return {one["kind"]: one for one in yaml.safe_load_all((self.folder / "service.yaml").read_text())}


@pytest.fixture
def repository(new_package: Path, tmp_path: Path) -> Repository:
    """Return a repository whose job is not declared yet."""
    return Repository(tmp_path, new_package)


def test_an_event_jobs_files_follow_its_subject_its_settings_and_its_scale(repository: Repository) -> None:
    objects = repository.written(EVENT_JOB, EVENT_TOML)
    consumer = json.loads((repository.folder / "consumer.json").read_text())
    assert (consumer["filter_subjects"], consumer["ack_wait"]) == (["happened", "retry.due.new-here"], 90 * 10**9)
    assert objects["ScaledObject"]["spec"]["maxReplicaCount"] == 3
    [trigger] = objects["ScaledObject"]["spec"]["triggers"]
    assert (trigger["metadata"]["consumer"], trigger["metadata"]["lagThreshold"]) == ("new-here-consumer", "40")
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 75
    assert {"name": "SHUTDOWN_GRACE_S", "value": "60s"} in pod["containers"][0]["env"]
    assert [port["port"] for rule in objects["NetworkPolicy"]["spec"]["egress"] for port in rule["ports"]] == [80, 443]


def test_an_event_job_without_a_store_and_the_internet_reaches_nats_only(repository: Repository) -> None:
    objects = repository.written(EVENT_JOB, EVENT_TOML.replace("internet = true", ""))
    assert "NetworkPolicy" not in objects
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert [name for name in labels if name.startswith("needs-")] == ["needs-nats"]


def test_a_long_job_is_a_scaledjob_that_starts_a_pod_for_each_message(repository: Repository) -> None:
    objects = repository.written(LONG_JOB, LONG_TOML)
    assert json.loads((repository.folder / "consumer.json").read_text())["filter_subjects"][0] == "happened"
    assert objects.keys() == {"ServiceAccount", "ScaledJob"}
    spec = objects["ScaledJob"]["spec"]
    [trigger] = spec["triggers"]
    assert (trigger["type"], trigger["metadata"]["consumer"]) == ("nats-jetstream", "new-here-consumer")
    # The lag counts what is in flight. KEDA would start a second Job for it with the strategy `accurate`.
    assert (trigger["metadata"]["lagThreshold"], spec["scalingStrategy"]) == ("1", {"strategy": "default"})
    assert (spec["maxReplicaCount"], spec["rollout"]) == (2, {"strategy": "gradual"})
    assert spec["jobTargetRef"]["activeDeadlineSeconds"] == 7200 + 3600


def test_no_node_is_removed_under_a_long_job_to_save_money(repository: Repository) -> None:
    job = repository.written(LONG_JOB, LONG_TOML)["ScaledJob"]["spec"]["jobTargetRef"]
    assert job["template"]["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }


def test_a_batch_jobs_files_follow_its_table_and_its_claim_size(repository: Repository) -> None:
    objects = repository.written(BATCH_JOB, BATCH_TOML)
    [trigger] = objects["ScaledJob"]["spec"]["triggers"]
    assert trigger["metadata"] == {
        "userName": "rows_scaler",
        "query": "SELECT rows FROM keda_jobs.rows_claimable",
        "targetQueryValue": "500",
    }
    assert trigger["authenticationRef"]["name"] == objects["TriggerAuthentication"]["metadata"]["name"]
    assert not (repository.folder / "consumer.json").exists()
    assert "NetworkPolicy" not in objects


def test_a_batch_job_may_reach_the_internet_too(repository: Repository) -> None:
    objects = repository.written(BATCH_JOB, f"internet = true\n{BATCH_TOML}")
    assert objects["NetworkPolicy"]["spec"]["podSelector"] == {"matchLabels": {"app": "new-here"}}


def test_a_service_reads_no_queue_where_no_batch_job_is(repository: Repository) -> None:
    objects = repository.written(SERVICE, RESOURCES)
    assert "postgres" not in str(objects)


def test_the_comment_beside_a_number_stays_beside_it(repository: Repository) -> None:
    repository.written(EVENT_JOB, EVENT_TOML)
    text = (repository.folder / "service.yaml").read_text()
    assert 'lagThreshold: "40" # five "rounds" # of work\n' in text
    assert '{name: SHUTDOWN_GRACE_S, value: "60s"} # a long event\n' in text
    assert re.search(r"requests: \{.*\} # at rest\n", text)
    assert re.search(r"limits: \{.*\}\n", text)


def test_keys_may_be_written_with_dots(repository: Repository) -> None:
    scale = "scale.max_replicas = 3 # enough\nscale.lag_threshold = 40\n"
    repository.written(EVENT_JOB, f"{scale}{RESOURCES}[settings]\nNATS_USER = 'somebody'\n")
    assert "maxReplicaCount: 3 # enough\n" in (repository.folder / "service.yaml").read_text()


def test_a_stale_or_missing_file_is_named_and_left_alone(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.written(EVENT_JOB, EVENT_TOML)
    assert main(["--check"], repository.root) == 0
    repository.declare(EVENT_JOB, EVENT_TOML.replace("max_replicas = 3", "max_replicas = 4"))
    (repository.folder / "Dockerfile").unlink()
    (repository.root / "tools/ops/Dockerfile").write_text("FROM scratch\n")
    capsys.readouterr()
    assert main(["--check"], repository.root) == 1
    assert capsys.readouterr().err.splitlines() == [
        "jobs/new-here/Dockerfile is stale; run `make job-files`",
        "jobs/new-here/service.yaml is stale; run `make job-files`",
        "tools/ops/Dockerfile is stale; run `make job-files`",
    ]
    assert "maxReplicaCount: 3\n" in (repository.folder / "service.yaml").read_text()


@pytest.mark.parametrize(
    ("present", "wrong", "mistake"),
    [
        ("max_replicas", "max_replica", "scale.max_replicas is missing"),
        ("internet", "intrenet", "intrenet is no key of this kind of job"),
        ("internet = true", "trigger_authentication = 'a'", "trigger_authentication is no key of this kind of job"),
        ("max_replicas = 3", 'max_replicas = "3"', "scale.max_replicas: Input should be a valid integer"),
        ("max_replicas = 3", "max_replicas = 0", "scale.max_replicas: Input should be greater than or equal to 1"),
        ('cpu = "1"', "cpu = 1", "resources.limits.cpu: Input should be a valid string"),
        ("256Mi", "256MB", "resources.limits.memory: String should match"),
        ("[scale]", "scale = 3\n[other]", "scale: "),
        (
            "[scale]",
            "[scale]\nwake_with = ['new-here']",
            "scale.wake_with: there is no job 'new-here' that",
        ),
        ("[scale]", "[scale]\nwake_with = 'new-here'", "scale.wake_with: Input should be a valid list"),
        ("ACK_WAIT_S = 90", "CONCURRENCY = true", "settings.CONCURRENCY must be a number or a text"),
        ("ACK_WAIT_S", "ACK_WAIT", "settings.ACK_WAIT: the job has no such setting"),
        ("ACK_WAIT_S = 90", "CONCURRENCY = 'many'", "settings.CONCURRENCY: Input should be a valid integer"),
        ("ACK_WAIT_S = 90", "ACK_WAIT_S = 90\nACK_WAIT_S = 91", "Key "),
        ("internet = true", "internet =", "Unexpected"),
    ],
)
def test_a_mistake_is_a_line_with_the_file_and_the_key(
    repository: Repository, present: str, wrong: str, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.declare(EVENT_JOB, EVENT_TOML.replace(present, wrong))
    assert main([], repository.root) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"jobs/new-here/job.toml: {mistake}") for line in lines), lines
    assert all(line.startswith("jobs/new-here/job.toml: ") for line in lines)
    assert not (repository.folder / "service.yaml").exists()


SCHEDULE = '[[schedules]]\nname = "nightly"\ncron = "30 2 * * *"\nevent = {key = "a"}\n'


@pytest.mark.parametrize(("job", "toml"), [(EVENT_JOB, EVENT_TOML), (LONG_JOB, LONG_TOML)], ids=["event", "long"])
def test_a_job_may_have_schedules_and_its_pods_know_nothing_of_them(
    repository: Repository, job: str, toml: str
) -> None:
    objects = repository.written(job, toml)
    assert repository.written(job, f"{toml}\n{SCHEDULE}") == objects


@pytest.mark.parametrize(
    ("job", "toml", "present", "wrong", "mistake"),
    [
        (EVENT_JOB, EVENT_TOML, "30 2", "30 24", "schedules.0.cron: '24' is no hour: write 0 to 23"),
        (EVENT_JOB, EVENT_TOML, "cron", "corn", "schedules.0.corn is no key of this kind of job"),
        (EVENT_JOB, EVENT_TOML, '"a"', "1", "schedules: the event of nightly is refused: Happened: key: "),
        (
            LONG_JOB,
            LONG_TOML,
            "key",
            "kay",
            "schedules: the event of nightly is refused: Happened: key: Field required",
        ),
        (LONG_JOB, LONG_TOML, '"a"', "12:00:00", "schedules.0.event: it cannot be written as JSON: "),
        (BATCH_JOB, BATCH_TOML, "", "", "schedules is no key of this kind of job"),
        (SERVICE, RESOURCES, "", "", "schedules is no key of this kind of job"),
    ],
)
def test_a_mistake_in_a_schedule_is_named_too(
    repository: Repository,
    job: str,
    toml: str,
    present: str,
    wrong: str,
    mistake: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository.declare(job, f"{toml}\n{SCHEDULE.replace(present, wrong)}")
    assert main([], repository.root) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"jobs/new-here/job.toml: {mistake}") for line in lines), lines
    assert all(line.startswith("jobs/new-here/job.toml: ") for line in lines)


def test_a_job_without_a_job_toml_is_named(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    repository.declare(EVENT_JOB, "")
    (repository.folder / "job.toml").unlink()
    assert main([], repository.root) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("jobs/new-here/job.toml: ")
