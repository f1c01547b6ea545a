"""compose.yaml starts the same database as the local stack."""

from __future__ import annotations

import yaml

from stack import Ports
from stack.jobs import ROOT
from stack.postgres import DATABASE, INITDB, SETTINGS, USER

TEXT = (ROOT / "compose.yaml").read_text()
POSTGRES = yaml.safe_load(TEXT)["services"]["postgres"]
ENVIRONMENT = POSTGRES["environment"]


def test_it_is_the_database_of_the_stack_on_the_same_port() -> None:
    assert (ENVIRONMENT["POSTGRES_USER"], ENVIRONMENT["POSTGRES_DB"]) == (USER, DATABASE)
    assert POSTGRES["healthcheck"]["test"][-2:] == [f"--username={USER}", f"--dbname={DATABASE}"]
    assert POSTGRES["ports"] == [f"127.0.0.1:{Ports().postgres}:5432"]
    assert POSTGRES["command"] == ["postgres", *(f"-c{name}={value}" for name, value in SETTINGS.items())]
    assert ENVIRONMENT["POSTGRES_INITDB_ARGS"].split() == list(INITDB)


def test_its_comment_shows_the_right_dsn() -> None:
    password = ENVIRONMENT["POSTGRES_PASSWORD"]
    assert f"PG_DSN=postgresql://{USER}:{password}@localhost:{Ports().postgres}/{DATABASE} " in TEXT
