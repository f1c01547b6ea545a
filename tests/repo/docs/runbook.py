"""Commands of the runbook: who types each, an administrator, a deployer, or whoever is on call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stack.jobs import ROOT

RUNBOOK = ROOT / "k8s/monitoring/RUNBOOK.md"

OPERATOR, DEPLOYER, ADMINISTRATOR = "operator", "deployer", "administrator"
# The first that matches the beginning of a command.
_WHO = (
    (r"(\./)?k8s/setup-scripts/(setup-all|certificates)\.sh|make -C k8s secrets", ADMINISTRATOR),
    (r"nats |kubectl create job ", ADMINISTRATOR),
    (r"k8s/connect\.sh nats ", ADMINISTRATOR),
    (r"k8s/connect\.sh keda-jobs (batch (check|retry)|streams apply(?! --dry-run))", ADMINISTRATOR),
    (r"make |kubectl rollout undo ", DEPLOYER),
    (r"k8s/(status|logs|pause)\.sh|export ENV=\S+; \. k8s/environment\.sh", OPERATOR),
    (r"k8s/connect\.sh keda-jobs (status|dlq (?!purge --all)|batch (status|failures))", OPERATOR),
    (r"k8s/connect\.sh keda-jobs (streams (show|apply --dry-run)|schedules)", OPERATOR),
    (r"kubectl (get|describe|logs|delete pod|rollout (restart|history)) ", OPERATOR),
)
_COMMAND = re.compile(r"export ENV=|(\./)?k8s/(?!connect\.sh$)[\w/-]+\.sh( |$)|(make|kubectl|nats|keda-jobs|psql) \S")
_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """Command of the runbook, and the text around it: its line in a block, else its paragraph or item of a list."""

    text: str
    around: str

    @property
    def who(self) -> str | None:
        """Whoever has to type it, None for a command that nobody has thought of."""
        return next((who for pattern, who in _WHO if re.match(pattern, self.text)), None)


def commands() -> list[Command]:
    """Return every command, each with each text that it is in."""
    return list(dict.fromkeys(_found(RUNBOOK.read_text())))


def of_operator() -> list[str]:
    """Return the commands that whoever is on call types, each once."""
    return list(dict.fromkeys(one.text for one in commands() if one.who == OPERATOR))


def _found(text: str) -> Iterator[Command]:
    for line in "".join(_BLOCK.findall(text)).splitlines():
        yield Command(re.sub(r"\s{2,}#.*", "", line).strip(), line)
    for part in re.split(r"\n\n|\n(?=- )", _BLOCK.sub("", text)):
        for quoted in re.findall(r"`([^`]+)`", part):
            command = " ".join(quoted.split())
            if _COMMAND.match(command):
                yield Command(command, part)
