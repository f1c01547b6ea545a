"""Commands as people and scripts run them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stack import wait_until
from users_seed import manifest
from users_seed.commands import app

from .conftest import Database, Tool, interrupt, limit_disk


def test_all_creates_schema_files_and_rows_and_prints_json(tool: Tool, seed_database: Database) -> None:
    done = tool("all", "--rows", "3000", "--invalid-share", "0.02", "--json")
    assert done.code == 0, done.stderr
    assert done.json["schema"]["applied"][0] == "keda-jobs/0004_own_schema.sql"
    generated, loaded = done.json["generate"], done.json["import"]
    assert (generated["rows"], generated["invalid"], generated["files"], generated["kept"]) == (3_000, 60, 1, 0)
    assert (loaded["rows"], loaded["invalid"], loaded["before"], loaded["claimable"]) == (3_000, 60, 0, 3_000)
    assert manifest.complete(tool.folder / "seed-data").data_set.rows == 3_000
    assert seed_database.claimable == 3_000
    lines = [line.partition(":")[0] for line in done.stderr.splitlines()]
    assert sorted(set(lines), key=lines.index) == ["schema", "generate", "import"]


def test_generate_and_import_print_needed_space_and_results(tool: Tool, users: Database) -> None:
    generated = tool("generate", "--rows", "2000", "--seed", "5", "--out", "there")
    assert generated.stdout == ""
    assert generated.stderr.startswith("generate: 2,000 rows in files: about 98.0 kB of disk, ")
    assert "generate: 2,000 rows, 20 of them invalid, 1 files, " in generated.last_line
    loaded = tool("import", "--out", "there")
    assert "import: 2,000 rows in the database: about 680.0 kB of disk, " in loaded.stderr
    assert "import: 2,000 rows, 20 of them invalid, 2,000 claimable (" in loaded.last_line
    assert "all from earlier runs" in tool("import", "--out", "there").last_line
    assert users.claimable == 2_000


def test_the_schema_is_applied_once_and_sets_passwords_from_the_environment(
    tool: Tool, seed_database: Database
) -> None:
    first = tool("schema", "--json", USERS_WORKER_PASSWORD="geheim-1", USERS_SCALER_PASSWORD="geheim-2")
    assert {name.partition("/")[0] for name in first.json["applied"]} == {"keda-jobs", "users-batch", "users_queue"}
    assert "set the password of users_worker and users_scaler" in first.last_line
    assert "geheim" not in first.stderr + first.stdout
    assert seed_database.fetch("SELECT rolname FROM pg_authid WHERE rolpassword LIKE 'SCRAM%' ORDER BY 1") == [
        ("users_scaler",),
        ("users_worker",),
    ]
    again = tool("schema")
    assert (again.code, again.stderr) == (0, "schema: nothing to do\n")


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "line"),
    [
        (["import", "--out", "nowhere"], {}, 2, "nowhere holds no data set; write one with"),
        (["schema"], {"PG_DSN": ""}, 2, "PG_DSN is not set"),
        (["schema"], {"PG_DSN": "keda_jobs"}, 2, "PG_DSN: must be a URL"),
        (["schema"], {"PG_DSN": "postgresql://a:geheim@127.0.0.1:1/b"}, 1, "PostgreSQL: "),
        (["reset", "--yes"], {}, 2, "the database has no queue of users; run `users-batch-seed schema` first"),
        (["generate", "--rows", "5", "--out", "a-file/out"], {}, 1, "a-file/out/manifest.json: Not a directory"),
    ],
)
def test_every_error_is_one_line(
    tool: Tool, arguments: list[str], environment: dict[str, str], code: int, line: str
) -> None:
    (tool.folder / "a-file").touch()
    refused = tool(*arguments, **environment)
    assert refused.code == code
    assert refused.last_line.startswith(f"users-batch-seed: {line}")
    assert "Traceback" not in refused.stderr
    assert "geheim" not in refused.stderr


@pytest.mark.parametrize("arguments", [["--rows", "0"], ["--invalid-share", "1.5"], ["--invalid-share", "-0.1"]])
def test_values_out_of_range_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["generate", *arguments]).exit_code == 2


def test_interrupted_generate_ends_cleanly_and_keeps_its_files(tool: Tool) -> None:
    generating = tool.start("generate", "--rows", "50000000", "--out", "big")
    folder = tool.folder / "big"
    wait_until((folder / "manifest.json").exists)
    interrupt(generating, signal.SIGINT)
    ended = tool.finish(generating)
    assert ended.code == 130
    assert ended.last_line == "users-batch-seed: interrupted; the same command continues where it stopped"
    assert "Traceback" not in ended.stderr
    unfinished = manifest.read(folder)
    assert unfinished is not None
    assert {path.name for path in folder.iterdir()} >= {file.file for file in unfinished.files} | {"manifest.json"}
    assert not list(folder.glob("*.part"))


def test_all_refuses_a_disk_that_holds_the_files_or_the_table_but_not_both(
    seed_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # 1 million rows: 52 MB of files, 340 MB in the database.
    limit_disk(monkeypatch, 350_000_000)
    monkeypatch.setenv("PG_DSN", seed_database.dsn)
    done = CliRunner().invoke(app, ["all", "--rows", "1000000", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "too small for 1,000,000 rows in files and 1,000,000 rows in the database: about 392.0 MB" in done.stderr
    assert not (tmp_path / "out").exists()


def test_all_refuses_foreign_rows_before_it_writes_files(users: Database, tool: Tool) -> None:
    users.run("INSERT INTO users (name) VALUES ('Ada')")
    refused = tool("all", "--rows", "1000")
    assert (refused.code, (tool.folder / "seed-data").exists()) == (2, False)
    assert "users holds rows that no import loaded" in refused.last_line
