"""Check of what a new job is to be called. Names that clash with something are refused."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from importlib import metadata, util
from itertools import chain

import yaml

from cluster.nats_logins import RESERVED
from new_job.kinds import KINDS, LONGEST_NAME, Plan, kinds_with
from stack.jobs import ROOT, package_name

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Refused(Exception):
    """The job cannot be made. The message is one line for a person."""


def planned(name: str, kind: str, **options: str) -> Plan:
    """Plan the job that the options of `make new-job` describe. Raises `Refused`."""
    for fault in chain(_name_faults(name), _option_faults(kind, options)):
        raise Refused(fault)
    plan = KINDS[kind].from_option(name, options.get(KINDS[kind].option, ""))
    for fault in plan.faults():
        raise Refused(fault)
    return plan


def _option_faults(kind: str, options: dict[str, str]) -> Iterator[str]:
    if kind not in KINDS:
        yield f"KIND is {' or '.join(KINDS)}, not '{kind}'"
        return
    for option, value in options.items():
        if value and option != KINDS[kind].option:
            yield f"{option.upper()} is for KIND={kinds_with(option)}, not for KIND={kind}"


def _name_faults(name: str) -> Iterator[str]:
    if not name:
        kinds = "|".join(KINDS)
        yield f"name the job: make new-job NAME=video-probe SUBJECT=video-uploaded, with KIND={kinds} for another kind"
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        yield (
            f"'{name}' is no name for a job: use lower-case letters, digits and single dashes, a letter first,"
            f" at most {LONGEST_NAME} characters"
        )
    if (ROOT / "jobs" / name).exists():
        yield f"jobs/{name} exists already"
    if name in RESERVED:
        yield f"'{name}' is taken: it is another user of NATS"
    if name.startswith("keda-jobs") or name in _cluster_names():
        yield f"'{name}' is taken: something else in the cluster has that name"
    if _is_python(package_name(name)) or _is_installed(name):
        yield f"'{name}' is taken: there is a Python package of that name"


def _cluster_names() -> set[str]:
    """Collect the names of the platform's objects, and of the account that each namespace has."""
    files = ROOT.glob("k8s/**/*.yaml")
    objects = (each for file in files for each in yaml.safe_load_all(file.read_text()) if each)
    return {"default", *(each["metadata"]["name"] for each in objects if "metadata" in each)}


def _is_python(package: str) -> bool:
    return keyword.iskeyword(package) or util.find_spec(package) is not None


def _is_installed(project: str) -> bool:
    try:
        metadata.distribution(project)
    except metadata.PackageNotFoundError:
        return False
    return True
