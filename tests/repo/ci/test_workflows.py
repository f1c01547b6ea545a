"""Workflows have no logic of their own and pinned actions. zizmor checks their rights, see tools/lint.sh."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from stack.jobs import ROOT

from . import workflows
from .workflows import ACTIONS, FOLDER, WORKFLOWS, Step

FILES = [*WORKFLOWS, *ACTIONS]
STEPS = list(workflows.steps())
COMMANDS = sorted({step.run for step in STEPS if step.run})
CI = FOLDER / "workflows" / "ci.yml"
ALL_JOBS = [(path, name) for path in WORKFLOWS for name in workflows.jobs(path)]

EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
EACH_JOB = pytest.mark.parametrize(("path", "name"), ALL_JOBS, ids=[f"{path.stem}-{name}" for path, name in ALL_JOBS])
EACH_COMMAND = pytest.mark.parametrize("command", COMMANDS)


@EACH_COMMAND
def test_a_step_is_a_make_target_or_a_tested_script(command: str) -> None:
    if command.startswith("make "):
        made = subprocess.run(["bash", "-euc", f"make -n {command[5:]}"], cwd=ROOT, capture_output=True, check=False)
        assert made.returncode == 0, made.stderr
        return
    assert re.fullmatch(r"tools/ci/[a-z0-9-]+\.sh", command)
    assert os.access(ROOT / command, os.X_OK)
    assert any(command in tests.read_text() for tests in Path(__file__).parent.glob("test_*.py"))


def test_every_script_is_run_by_a_workflow() -> None:
    assert {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tools/ci/*")} <= set(COMMANDS)


@EACH_COMMAND
def test_named_checks_exist(command: str) -> None:
    named = re.findall(r'make lint ARGS="?(?:--except )?(.*?)"?$', command)
    assert set(named) <= set(re.findall(r'^check "(.+?)"', (ROOT / "tools/lint.sh").read_text(), re.MULTILINE))


@EACH_FILE
def test_an_action_is_pinned_by_commit_with_its_version_as_comment(path: Path) -> None:
    for line in re.findall(r"uses: (.+)", path.read_text()):
        assert line.startswith("./.github/") or re.fullmatch(r"\S+@[0-9a-f]{40} # v\d+(\.\d+)+", line), line


def test_an_action_has_one_version() -> None:
    pins = {line for path in FILES for line in re.findall(r"uses: (.+@.+)", path.read_text())}
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})


@pytest.mark.parametrize("step", [step for step in STEPS if step.uses.startswith("./")], ids=lambda step: step.place)
def test_a_local_action_exists_and_has_the_given_inputs(step: Step) -> None:
    action = workflows.read(ROOT / step.uses / "action.yml")
    assert set(step.content.get("with", {})) <= set(action["inputs"])


@EACH_JOB
def test_a_job_has_a_time_limit(path: Path, name: str) -> None:
    job = workflows.jobs(path)[name]
    if "uses" not in job:  # the jobs of the workflow that it calls have theirs
        assert 0 < job["timeout-minutes"] <= 60


@EACH_JOB
def test_jobs_with_secrets_or_write_access_never_run_for_a_pull_request(path: Path, name: str) -> None:
    job = workflows.jobs(path)[name]
    is_trusted = "write" in job.get("permissions", {}).values() or "secrets." in str(job)
    of_pull_request = {"any": "true", "e2e": "false", "publish": "false", "deploy": "false", "pin": "false"}
    if is_trusted and "pull_request" in workflows.triggers(path):
        assert not workflows.holds(job["if"], of_pull_request)


def test_a_checkout_leaves_no_token_behind() -> None:
    checkouts = [step for step in STEPS if step.uses.startswith("actions/checkout@")]
    assert checkouts
    assert all(step.content["with"]["persist-credentials"] is False for step in checkouts)


def test_the_gate_waits_for_every_other_job() -> None:
    jobs = workflows.jobs(CI)
    assert set(jobs["gate"]["needs"]) == set(jobs) - {"gate"}
    assert jobs["gate"]["if"] == "always()"


def test_a_deploy_is_never_cancelled() -> None:
    cancelled = workflows.read(CI)["concurrency"]["cancel-in-progress"]
    assert cancelled == "${{ github.event_name == 'pull_request' }}"


def test_no_file_names_the_host_of_a_registry() -> None:
    words = [word for path in [*FOLDER.rglob("*.yml"), *ROOT.glob("tools/ci/*")] for word in path.read_text().split()]
    assert not [word for word in words if re.search(r"\w\.(io|dev|com)/", word) and "githubusercontent" not in word]


def test_dependabot_watches_every_folder_with_pins() -> None:
    updates = workflows.read(FOLDER / "dependabot.yml")["updates"]
    watched = {
        (update["package-ecosystem"], folder)
        for update in updates
        for pattern in update["directories"]
        for folder in ([ROOT] if pattern == "/" else ROOT.glob(pattern.lstrip("/")))
    }
    pinned = {path.parent for path in ROOT.glob("tools/**/Dockerfile") if "@sha256:" in path.read_text()}
    assert pinned
    assert {("docker", folder) for folder in pinned} <= watched
    assert {("github-actions", path.parent) for path in ACTIONS} <= watched
