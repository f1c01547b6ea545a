"""Commands of `users-batch-seed`: options and messages."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer
from asyncpg import PostgresError
from pydantic import Field, SecretStr
from rich.filesize import decimal
from typer.core import TyperGroup
from typing_extensions import override

from keda_jobs.claims import roles
from keda_jobs.claims import schema as claims_schema
from keda_jobs.cli.options import JsonOption
from keda_jobs.cli.terminal import print_err, print_json, progress_meter
from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.postgres import open_connection
from keda_jobs.settings import PgSettings, Settings, load_settings
from users_batch.job import JOB
from users_seed import INTERRUPTED, manifest, tables
from users_seed import generate as generating
from users_seed import load as loading
from users_seed.data_set import DataSet


class Passwords(Settings):
    """Passwords to set for the roles of worker and scaler."""

    users_worker_password: SecretStr | None = Field(None, description="set for the role `users_worker`")
    users_scaler_password: SecretStr | None = Field(None, description="set for the role `users_scaler`")


class _Commands(TyperGroup):
    """Commands whose errors become a line on stderr and an exit code."""

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort):
            raise _failure("interrupted; the same command continues where it stopped", INTERRUPTED) from None
        except JobError as error:
            raise _failure(str(error), 2 if isinstance(error, Misconfigured) else 1) from error
        except PostgresError as error:
            raise _failure(f"PostgreSQL: {error}", 1) from error
        except OSError as error:
            raise _failure(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1) from error


def _failure(line: str, code: int) -> typer.Exit:
    print_err(f"users-batch-seed: {line}")
    return typer.Exit(code)


app = typer.Typer(
    name="users-batch-seed",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Create the table users and fill it with believable records, some of them invalid.",
    epilog="PG_DSN names the database. Interrupt any command and run it again: it continues where it stopped. "
    "Exit codes: 0 done, 1 failed, 2 wrong arguments or settings, 130 interrupted.",
)

RowsOption = Annotated[int, typer.Option(help="Number of users.", min=1)]
OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the CSV files.", file_okay=False)]
SeedOption = Annotated[int, typer.Option(help="The same seed gives the same users.")]
InvalidShareOption = Annotated[
    float, typer.Option(metavar="F", help="Share of users with a bad e-mail or without a name.", min=0, max=1)
]
_ROWS, _OUT, _SEED, _INVALID_SHARE = 50_000_000, Path("seed-data"), 1, 0.01


@app.command()
def schema(json_: JsonOption = False) -> None:
    """Create the tables, or update them.

    USERS_WORKER_PASSWORD and USERS_SCALER_PASSWORD, where set, become the passwords of the roles users_worker and
    users_scaler.

    JSON: `{"applied": ["scope/file"]}`
    """
    applied = _apply_schema()
    if json_:
        print_json({"applied": applied})


def _apply_schema() -> list[str]:
    settings = load_settings(Passwords)
    given = {
        roles.worker_role(JOB.table): settings.users_worker_password,
        roles.scaler_role(JOB.table): settings.users_scaler_password,
    }
    passwords = {role: password.get_secret_value() for role, password in given.items() if password}

    async def apply() -> list[str]:
        async with open_connection(load_settings(PgSettings), name="users-batch-seed") as connection:
            migrations = resources.files("users_batch") / "migrations"
            return await claims_schema.apply(connection, JOB.table, migrations, passwords)

    applied = asyncio.run(apply())
    print_err(f"schema: applied {', '.join(applied)}" if applied else "schema: nothing to do")
    if passwords:
        print_err(f"schema: set the password of {' and '.join(passwords)}")
    return applied


@app.command()
def generate(
    rows: RowsOption = _ROWS,
    out: OutOption = _OUT,
    seed: SeedOption = _SEED,
    invalid_share: InvalidShareOption = _INVALID_SHARE,
    json_: JsonOption = False,
) -> None:
    """Write users to CSV files with all cores.

    Example: `users-batch-seed generate --rows 1000000 --out /data/users --invalid-share 0.02`

    JSON: `{"rows", "invalid", "bytes", "files", "kept", "seconds", "rows_per_s"}`. Kept rows are from earlier runs.
    """
    generated = _generate(DataSet(rows, seed, invalid_share), out)
    if json_:
        print_json(dataclasses.asdict(generated))


def _generate(data_set: DataSet, out: Path) -> generating.Generated:
    with progress_meter("generate", data_set.rows) as watch:
        result = generating.generate(data_set, out, watch=watch, say=partial(_print_step, "generate"))
    _print_step(
        "generate",
        f"{result.rows:,} rows, {result.invalid:,} of them invalid, {result.files:,} files, "
        f"{decimal(result.bytes)} ({_format_run(result, result.kept)})",
    )
    return result


@app.command("import")
def import_(out: OutOption = _OUT, json_: JsonOption = False) -> None:
    """Load the CSV files into the table users and fill its queue.

    Example: `users-batch-seed import --out /data/users`

    JSON: `{"rows", "invalid", "before", "claimable", "seconds", "rows_per_s"}`. Rows before are from earlier runs.
    """
    loaded = _import(out)
    if json_:
        print_json(dataclasses.asdict(loaded))


def _import(out: Path) -> loading.Loaded:
    with progress_meter("import", manifest.complete(out).data_set.rows) as watch:
        say = partial(_print_step, "import")
        result = asyncio.run(loading.load(load_settings(PgSettings), out, watch=watch, say=say))
    say(
        f"{result.rows:,} rows, {result.invalid:,} of them invalid, {result.claimable:,} claimable"
        f" ({_format_run(result, result.before)})"
    )
    return result


@app.command("all")
def all_(
    rows: RowsOption = _ROWS,
    out: OutOption = _OUT,
    seed: SeedOption = _SEED,
    invalid_share: InvalidShareOption = _INVALID_SHARE,
    json_: JsonOption = False,
) -> None:
    """Create the tables, write the CSV files and load them: `schema`, `generate`, `import`.

    Example: `users-batch-seed all --rows 200000`

    JSON: `{"schema", "generate", "import"}`, each as printed by the command of that name.
    """
    data_set = DataSet(rows, seed, invalid_share)
    applied = _apply_schema()
    asyncio.run(loading.check(load_settings(PgSettings), data_set, generating.required_space(data_set, out)))
    generated, loaded = dataclasses.asdict(_generate(data_set, out)), dataclasses.asdict(_import(out))
    if json_:
        print_json({"schema": {"applied": applied}, "generate": generated, "import": loaded})


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False, json_: JsonOption = False
) -> None:
    """Empty the table users, its queue and its batches permanently, after asking. The next import starts from zero.

    Refuses while workers are processing batches. The CSV files stay.

    JSON: `{"reset", "batches"}`, the number of deleted batches.
    """
    settings = load_settings(PgSettings)
    if not yes and not typer.get_text_stream("stdin").isatty():
        raise Misconfigured("refusing to empty users without confirmation: stdin is not a terminal, pass --yes")
    if not yes and not typer.confirm(f"{asyncio.run(tables.describe(settings))} Empty it permanently?", err=True):
        print_err("reset: nothing was changed")
        raise typer.Exit(1)
    batches = asyncio.run(tables.reset(settings))
    print_err(f"reset: users and its queue are empty, {batches:,} batches are deleted")
    if json_:
        print_json({"reset": True, "batches": batches})


def _format_run(result: generating.Generated | loading.Loaded, before: int) -> str:
    if before == result.rows:
        return "all from earlier runs"
    part = f"{result.rows - before:,} rows now, " if before else ""
    return f"{part}{result.seconds:,.1f} s, {result.rows_per_s:,} rows/s"


def _print_step(step: str, line: str) -> None:
    print_err(f"{step}: {line}")
