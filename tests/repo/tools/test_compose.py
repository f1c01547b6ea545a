"""compose.yaml starts the same database as the local stack."""

from __future__ import annotations

import re

from stack import Ports
from stack.jobs import ROOT
from stack.postgres import DATABASE, INITDB, SETTINGS, USER

COMPOSE = (ROOT / "compose.yaml").read_text()


def value(key: str) -> str:
    """Return the only value of a key."""
    (found,) = re.findall(rf"^ *{key}: (.+)$", COMPOSE, re.MULTILINE)
    return str(found)


def items() -> list[str]:
    """Return the items of all lists."""
    return re.findall(r"^ *- (.+)$", COMPOSE, re.MULTILINE)


def test_user_and_database_are_those_of_the_stack() -> None:
    assert (value("POSTGRES_USER"), value("POSTGRES_DB")) == (USER, DATABASE)
    assert f"--username={USER}, --dbname={DATABASE}]" in value("test")


def test_it_listens_only_where_the_stack_does() -> None:
    assert [item for item in items() if item.endswith(":5432")] == [f"127.0.0.1:{Ports().postgres}:5432"]


def test_settings_and_encoding_are_those_of_the_stack() -> None:
    assert [item for item in items() if item.startswith("-c")] == [f"-c{name}={v}" for name, v in SETTINGS.items()]
    assert value("POSTGRES_INITDB_ARGS").split() == list(INITDB)


def test_its_comment_shows_the_right_dsn() -> None:
    password = value("POSTGRES_PASSWORD")
    assert f"PG_DSN=postgresql://{USER}:{password}@localhost:{Ports().postgres}/{DATABASE} " in COMPOSE
