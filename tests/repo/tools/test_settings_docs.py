"""Settings tables of the READMEs come from the settings classes, and an outdated one is found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import settings_docs

START, END = "<!-- settings:start -->", "<!-- settings:end -->"
README = f"# my-job\n\nBefore.\n\n{START}\n{END}\n\nAfter.\n"
SETTINGS = """
import socket
from pydantic import ByteSize, Field, SecretStr
from pydantic_settings import BaseSettings
from keda_jobs import service

class General(BaseSettings):
    level: str = Field("INFO", description="of the log")

class Shared(General):
    url: str = Field("http://localhost", description="where it is")
    password: SecretStr = Field(SecretStr("hush"), description="secret")
    bucket: str = Field(description="required")
    wait_s: float = Field(2460.0, description="how long")
    port: int = Field(8080, description="which port")

class Settings(Shared):
    most_bytes: ByteSize = Field(ByteSize(52428800), description="a | b")
    most_pixels: int = Field(100000000, description="how many")
    pause_s: float = Field(0.5, description="shortly")
    names: str = Field("", description="empty")
    file: str | None = Field(None, description="none")
    worker: str = Field(default_factory=socket.gethostname, description="who")

    @property
    def both(self) -> str:
        return self.names + self.bucket

async def serve(process): ...

JOB = service(serve, Settings)
"""
TABLE = r"""| variable | default | meaning |
|---|---|---|
| `MOST_BYTES` | 50 MiB | a \| b |
| `MOST_PIXELS` | 100_000_000 | how many |
| `PAUSE_S` | 0.5 s | shortly |
| `NAMES` | – | empty |
| `FILE` | – | none |
| `WORKER` | host name | who |
| `URL` | `http://localhost` | where it is |
| `PASSWORD` | – | secret |
| `BUCKET` | – | required |
| `WAIT_S` | 2460 s | how long |
| `PORT` | 8080 | which port |
| `LEVEL` | `INFO` | of the log |"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a repository with one job."""
    for module in ("my_job", "my_job.job"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    package = tmp_path / "jobs" / "my-job" / "src" / "my_job"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "job.py").write_text(SETTINGS)
    (tmp_path / "jobs" / "my-job" / "README.md").write_text(README)
    return tmp_path


def readme(root: Path) -> Path:
    return root / "jobs" / "my-job" / "README.md"


def test_the_table_has_every_setting_and_no_secret(root: Path) -> None:
    assert settings_docs.main([], root) == 0
    assert readme(root).read_text() == README.replace(START, f"{START}\n{TABLE}")
    assert "hush" not in readme(root).read_text()


def test_an_outdated_table_is_named_and_left_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert settings_docs.main(["--check"], root) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jobs/my-job/README.md: ")
    assert readme(root).read_text() == README


def test_what_was_written_passes_the_check(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings_docs.main([], root)
    capsys.readouterr()
    assert settings_docs.main(["--check"], root) == 0
    assert settings_docs.main([], root) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["# my-job\n", f"# my-job\n{START}\n", None])
def test_a_readme_without_a_place_for_the_table_is_named(
    root: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        readme(root).unlink()
    else:
        readme(root).write_text(text)
    assert settings_docs.main([], root) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "jobs/my-job/README.md" in line


def test_a_setting_without_a_description_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = root / "jobs" / "my-job" / "src" / "my_job" / "job.py"
    settings.write_text(SETTINGS.replace(', description="shortly"', ""))
    assert settings_docs.main([], root) == 1
    assert "pause_s has no description" in capsys.readouterr().err


def test_a_computed_default_without_words_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = root / "jobs" / "my-job" / "src" / "my_job" / "job.py"
    settings.write_text(SETTINGS.replace("socket.gethostname", "list"))
    assert settings_docs.main([], root) == 1
    assert "the default of worker" in capsys.readouterr().err
