"""Secrets of the NATS users: one for each user, and a second run changes nothing."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from .secrets_tool import JOBS, as_kubectl_lists, by_name, content, made_of, run_tool


def test_every_user_has_a_secret_in_its_namespace(made: dict[str, Any]) -> None:
    places = {secret["metadata"]["name"]: secret["metadata"]["namespace"] for secret in made["items"]}
    others = {f"nats-{name}": "nats" for name in ("auth", "admin", "publisher", "routes")}
    assert places == others | {f"nats-{job}": "keda-jobs-prod" for job in [*JOBS, "exporter"]}
    for name, secret in by_name(made).items():
        assert secret["metadata"]["labels"]["app.kubernetes.io/part-of"] == "keda-jobs"
        if name != "nats-auth":
            login = content(secret)
            assert secret["metadata"]["labels"]["keda-jobs/nats-user"] == login["NATS_USER"] == name[len("nats-") :]
            assert re.fullmatch(r"[\w-]{32,}", login["NATS_PASSWORD"])


def test_a_second_run_with_a_list_for_each_namespace_changes_nothing(made: dict[str, Any]) -> None:
    listed = as_kubectl_lists(made)
    lists = [
        {**listed, "items": [secret for secret in listed["items"] if secret["metadata"]["namespace"] == namespace]}
        for namespace in ("nats", "keda-jobs-prod")
    ]
    assert json.loads(run_tool("\n".join(map(json.dumps, lists))).stdout) == made


def test_a_deleted_secret_gets_a_new_password_and_the_others_keep_theirs(made: dict[str, Any]) -> None:
    kept = [secret for secret in made["items"] if secret["metadata"]["name"] != "nats-image-resize"]
    again = made_of(as_kubectl_lists({**made, "items": kept}))
    before, after = by_name(made), by_name(again)
    assert {name for name in before if before[name] != after[name]} == {"nats-auth", "nats-image-resize"}
    assert content(after["nats-image-resize"])["NATS_PASSWORD"] in content(after["nats-auth"])["auth.conf"]


def test_the_secret_of_a_deleted_job_is_named_and_kept(made: dict[str, Any]) -> None:
    listed = as_kubectl_lists(made)
    [gone] = [json.loads(json.dumps(secret)) for secret in listed["items"] if "resize" in secret["metadata"]["name"]]
    gone["metadata"]["name"] = "nats-no-such-job"
    done = run_tool(json.dumps({**listed, "items": [*listed["items"], gone]}))
    assert done.stderr == (
        "nats-users: no job uses this Secret, delete it: kubectl delete secret -n keda-jobs-prod nats-no-such-job\n"
    )
    assert json.loads(done.stdout) == made


@pytest.mark.parametrize("listed", ["", "error: no such host", "[]", '{"items": 3}', '{"items": [{}]}'])
def test_an_invalid_list_of_secrets_is_one_line_and_makes_no_new_passwords(listed: str) -> None:
    done = run_tool(listed)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"nats-users: the input is no list of Secrets, pipe it from: kubectl get .*\n", done.stderr)


@pytest.mark.parametrize("password", ["short-and-secret", 'quoted"' * 8, "$2a$" + "hash" * 10, ""])
def test_a_password_that_cannot_be_kept_is_one_line_without_it(made: dict[str, Any], password: str) -> None:
    listed = as_kubectl_lists(made)
    listed["items"][0] = {
        **listed["items"][0],
        "data": {"NATS_PASSWORD": base64.b64encode(password.encode()).decode()},
    }
    done = run_tool(json.dumps(listed))
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"nats-users: Secret nats/nats-admin: NATS_PASSWORD is not .* delete the Secret .*\n", done.stderr
    )
    assert not password or password not in done.stderr
