"""Plan of a workflow run, made by the real steps, and the gate at its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import changed_jobs
from stack.jobs import ROOT

from . import workflows
from .machine import REGISTRY, Machine
from .repository import ONE

ALL = changed_jobs.all_images(ROOT)
CI = workflows.jobs(ROOT / ".github/workflows/ci.yml")
SET_UP = {"REGISTRY": REGISTRY, "ENVIRONMENT": "prod"}


@pytest.fixture
def plan(machine: Machine, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Return a function that runs the job `plan` of a repository with a registry and an environment."""

    def outputs(**environment: str) -> dict[str, str]:
        files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        paths = {name: str(file) for name, file in files.items()}
        ended = machine.run("tools/ci/plan.sh", **{**SET_UP, **paths, **environment})
        assert ended.returncode == 0, ended.stderr
        return dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())

    return outputs


Plan = Callable[..., dict[str, str]]


def built(outputs: dict[str, str]) -> dict[str, list[str]]:
    """Map the workflow's jobs that would run with a matrix to the jobs of this repository in it."""
    named = ("images", "publish")
    assert {CI[name]["strategy"]["matrix"]["job"] for name in named} == {"${{ fromJSON(needs.plan.outputs.jobs) }}"}
    return {name: json.loads(outputs["jobs"]) for name in named if name in running(outputs)}


def running(outputs: dict[str, str]) -> set[str]:
    """Return the workflow's jobs that would run because of the plan."""
    decided = [name for name, job in CI.items() if "needs.plan.outputs" in job.get("if", "")]
    return {name for name in decided if workflows.holds(CI[name]["if"], outputs)}


def of_pull_request(base: str) -> dict[str, str]:
    return {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/1/merge", "BASE_COMMIT": base}


def of_merge_group(base: str) -> dict[str, str]:
    return {
        "GITHUB_EVENT_NAME": "merge_group",
        "GITHUB_REF": "refs/heads/gh-readonly-queue/main/pr-1-0",
        "BASE_COMMIT": base,
    }


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


def test_a_merge_group_is_tried_on_a_cluster_and_publishes_nothing(machine: Machine, plan: Plan) -> None:
    machine.repository.touch(f"jobs/{ONE}/service.yaml")
    machine.repository.commit()
    outputs = plan(**of_merge_group("base"))
    assert (built(outputs), running(outputs)) == ({"images": [ONE]}, {"images", "e2e"})
    assert running(plan(**of_merge_group("HEAD"))) == {"e2e"}


def test_main_is_published_and_after_e2e_deployed(plan: Plan) -> None:
    assert running(plan()) == {"publish", "e2e", "deploy"}
    assert {"publish", "e2e"} <= set(CI["deploy"]["needs"])


def test_each_named_environment_is_deployed_in_that_order(plan: Plan, machine: Machine) -> None:
    assert json.loads(plan(ENVIRONMENT="test prod")["environments"]) == ["test", "prod"]
    assert CI["deploy"]["strategy"]["matrix"]["environment"] == "${{ fromJSON(needs.plan.outputs.environments) }}"
    ended = machine.run("tools/ci/plan.sh", **SET_UP | {"ENVIRONMENT": "test production"})
    told = "environment: there is no environment 'production', there are: prod, test"
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, told)


def test_with_a_branch_for_pins_main_is_pinned_in_place_of_deployed(machine: Machine, plan: Plan) -> None:
    assert running(plan(DEPLOY_BRANCH="deploy")) == {"publish", "e2e", "pin"}
    assert {"publish", "e2e"} <= set(CI["pin"]["needs"])
    # Manifests reach the branch without an image too.
    machine.stand_in("gh", "echo base")
    assert running(plan(DEPLOY_BRANCH="deploy")) == {"e2e", "pin"}
    for missing in ("ENVIRONMENT", "REGISTRY"):
        assert "pin" not in running(plan(**{"DEPLOY_BRANCH": "deploy", missing: ""}))
    assert "pin" not in running(plan(DEPLOY_BRANCH="deploy", **of_pull_request("base")))


@pytest.mark.parametrize(
    ("missing", "runs"),
    [
        ({"REGISTRY", "ENVIRONMENT"}, {"images", "e2e"}),
        ({"REGISTRY"}, {"images", "e2e"}),
        ({"ENVIRONMENT"}, {"publish", "e2e"}),
    ],
    ids=lambda value: " and ".join(sorted(value)),
)
def test_what_is_not_set_up_is_left_out_and_named_in_the_summary(
    plan: Plan, tmp_path: Path, missing: set[str], runs: set[str]
) -> None:
    outputs = plan(**dict.fromkeys(missing, ""))
    assert running(outputs) == runs
    lines = (tmp_path / "GITHUB_STEP_SUMMARY").read_text().splitlines()
    assert {name for name in SET_UP for line in lines if f"set the variable `{name}`" in line} == missing
    assert len(lines) == len(missing)


def test_a_scheduled_run_builds_and_scans_every_job_and_publishes_none(plan: Plan) -> None:
    outputs = plan(GITHUB_EVENT_NAME="schedule")
    assert (built(outputs), running(outputs)) == ({"images": ALL}, {"images", "e2e"})


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
    summary = {"GITHUB_OUTPUT": str(tmp_path / "outputs"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    output = machine.run("tools/ci/plan.sh", **summary, **of_pull_request("base")).stdout
    warnings = [line for line in output.splitlines() if line.startswith("::")]
    assert [ONE in warnings[0], r"new\n::job/consumer.json" in warnings[1], len(warnings)] == [True, True, 2]


@pytest.mark.parametrize("results", ["success", "success skipped success"])
def test_the_gate_passes_success_and_skipped_jobs(machine: Machine, results: str) -> None:
    assert machine.run("tools/ci/gate.sh", RESULTS=results).returncode == 0


@pytest.mark.parametrize("results", ["success failure skipped", "cancelled success", ""])
def test_the_gate_fails_on_any_other_result(machine: Machine, results: str) -> None:
    ended = machine.run("tools/ci/gate.sh", RESULTS=results)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
