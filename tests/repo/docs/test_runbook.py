"""Whoever is on call knows which commands of the runbook are theirs. tests/e2e/test_6_operator.py types those."""

from __future__ import annotations

import re

import pytest

from .runbook import ADMINISTRATOR, DEPLOYER, OPERATOR, Command, commands, of_operator

COMMANDS = commands()


def test_every_command_has_somebody_who_types_it() -> None:
    assert [one.text for one in COMMANDS if one.who is None] == []
    assert len(of_operator()) > 30


@pytest.mark.parametrize("who", [ADMINISTRATOR, DEPLOYER])
def test_what_needs_more_rights_than_those_of_people_on_call_says_whose(who: str) -> None:
    of_others = [one for one in COMMANDS if one.who == who]
    assert of_others
    assert [one.text for one in of_others if not re.search(rf"\b[Aa]n?\s+{who}\b", one.around)] == []


def test_a_new_command_has_nobody_until_somebody_says_who() -> None:
    assert Command("kubectl exec nats-0 -- sh", "").who is None
    assert Command("k8s/connect.sh keda-jobs streams restore --from x", "").who is None
    assert Command("kubectl get pods -n $JOBS_NAMESPACE", "").who == OPERATOR
