"""Plan of a workflow run, made by the real steps, and the gate at its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import changed_jobs
from stack.jobs import ROOT

from . import workflows
from .machine import Machine
from .repository import ONE

ALL = changed_jobs.all_jobs(ROOT)
CI = workflows.jobs(ROOT / ".github/workflows/ci.yml")


@pytest.fixture
def plan(machine: Machine, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Return a function that runs the job `plan` and returns its outputs."""

    def outputs(**environment: str) -> dict[str, str]:
        file = tmp_path / "outputs"
        file.unlink(missing_ok=True)
        ended = machine.run("tools/ci/plan.sh", GITHUB_OUTPUT=str(file), **environment)
        assert ended.returncode == 0, ended.stderr
        return dict(line.split("=", 1) for line in file.read_text().splitlines())

    return outputs


Plan = Callable[..., dict[str, str]]


def built(outputs: dict[str, str]) -> dict[str, list[str]]:
    """Map the workflow's jobs that would run with a matrix to the jobs of this repository in it."""
    named = ("images", "publish")
    assert {CI[name]["strategy"]["matrix"]["job"] for name in named} == {"${{ fromJSON(needs.plan.outputs.jobs) }}"}
    return {name: json.loads(outputs["jobs"]) for name in named if workflows.holds(CI[name]["if"], outputs)}


def of_pull_request(base: str) -> dict[str, str]:
    return {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/1/merge", "PULL_REQUEST_BASE": base}


@pytest.mark.parametrize(
    ("path", "matrix"),
    [
        (f"jobs/{ONE}/service.yaml", {"images": [ONE]}),
        ("shared-py/src/keda_jobs/domain/policy.py", {"images": ALL}),
        ("README.md", {}),
    ],
)
def test_a_pull_request_builds_what_it_changes_and_publishes_nothing(
    machine: Machine, plan: Plan, path: str, matrix: dict[str, list[str]]
) -> None:
    machine.repository.touch(path)
    machine.repository.commit()
    assert built(plan(**of_pull_request("base"))) == matrix


def test_main_publishes_changes_since_the_last_successful_run(machine: Machine, plan: Plan) -> None:
    machine.stand_in("gh", "echo $LAST")
    machine.repository.touch(f"jobs/{ONE}/service.yaml")
    last = machine.repository.commit()
    assert built(plan(LAST="base")) == {"publish": [ONE]}
    assert built(plan(LAST=last)) == {}
    assert all("--branch main --event push --status success" in call for call in machine.called())


@pytest.mark.parametrize("gh", ["", "exit 1"], ids=["no run yet", "no answer"])
def test_main_publishes_everything_before_the_first_successful_run(machine: Machine, plan: Plan, gh: str) -> None:
    machine.stand_in("gh", gh)
    assert built(plan()) == {"publish": ALL}


def test_a_manual_run_takes_every_job(plan: Plan) -> None:
    assert built(plan(GITHUB_EVENT_NAME="workflow_dispatch")) == {"publish": ALL}
    by_hand = {"GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_REF": "refs/heads/branch"}
    assert built(plan(**by_hand)) == {"images": ALL}


def test_manual_steps_of_a_deploy_are_warnings(machine: Machine, tmp_path: Path) -> None:
    machine.repository.new_job("new\n::job")
    machine.repository.git("rm", "-r", "--quiet", f"jobs/{ONE}")
    machine.repository.commit()
    output = machine.run("tools/ci/plan.sh", GITHUB_OUTPUT=str(tmp_path / "outputs"), **of_pull_request("base")).stdout
    warnings = [line for line in output.splitlines() if line.startswith("::")]
    assert [ONE in warnings[0], r"new\n::job/consumer.json" in warnings[1], len(warnings)] == [True, True, 2]


@pytest.mark.parametrize("results", ["success", "success skipped success"])
def test_the_gate_passes_success_and_skipped_jobs(machine: Machine, results: str) -> None:
    assert machine.run("tools/ci/gate.sh", RESULTS=results).returncode == 0


@pytest.mark.parametrize("results", ["success failure skipped", "cancelled success", ""])
def test_the_gate_fails_on_any_other_result(machine: Machine, results: str) -> None:
    ended = machine.run("tools/ci/gate.sh", RESULTS=results)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
