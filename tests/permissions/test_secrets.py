"""Secrets of the NATS users: one for each user, and a second run changes nothing."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from cluster.nats_logins import BadPassword

from .secrets_tool import JOBS, SENDERS, by_name, content, made_of


def test_every_user_has_a_secret_in_its_namespace(made: dict[str, Any]) -> None:
    places = {secret["metadata"]["name"]: secret["metadata"]["namespace"] for secret in made["items"]}
    others = {
        f"nats-{name}": "nats" for name in ("auth", "admin", "operator", "publisher", "routes", "scheduler", "sys")
    }
    others["nats-backup"] = "keda-jobs-prod"
    assert places == others | {f"nats-{job}": "keda-jobs-prod" for job in [*JOBS, *SENDERS, "exporter"]}
    for name, secret in by_name(made).items():
        assert secret["metadata"]["labels"]["app.kubernetes.io/part-of"] == "keda-jobs"
        if name != "nats-auth":
            login = content(secret)
            assert secret["metadata"]["labels"]["keda-jobs/nats-user"] == login["NATS_USER"] == name[len("nats-") :]
            assert re.fullmatch(r"[\w-]{32,}", login["NATS_PASSWORD"])


def test_a_second_run_changes_nothing(made: dict[str, Any]) -> None:
    assert made_of(made) == made


def test_a_deleted_secret_gets_a_new_password_and_the_others_keep_theirs(made: dict[str, Any]) -> None:
    kept = [secret for secret in made["items"] if secret["metadata"]["name"] != "nats-image-resize"]
    again = made_of({**made, "items": kept})
    before, after = by_name(made), by_name(again)
    assert {name for name in before if before[name] != after[name]} == {"nats-auth", "nats-image-resize"}
    assert content(after["nats-image-resize"])["NATS_PASSWORD"] in content(after["nats-auth"])["auth.conf"]


@pytest.mark.parametrize("password", ["short-and-secret", 'quoted"' * 8, "$2a$" + "hash" * 10, ""])
def test_a_password_that_cannot_be_kept_is_one_line_without_it(made: dict[str, Any], password: str) -> None:
    broken = {**by_name(made)["nats-admin"], "data": {"NATS_PASSWORD": base64.b64encode(password.encode()).decode()}}
    with pytest.raises(
        BadPassword, match=r"^Secret nats/nats-admin: NATS_PASSWORD is not .* delete the Secret"
    ) as raised:
        made_of({**made, "items": [broken]})
    assert not password or password not in str(raised.value)
