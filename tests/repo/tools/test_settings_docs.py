"""Settings tables of the READMEs come from the settings classes, and an outdated one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings_docs

START, END = "<!-- settings:start -->", "<!-- settings:end -->"
README = f"# new-here\n\nBefore.\n\n{START}\n{END}\n\nAfter.\n"
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
def readme(new_package: Path, tmp_path: Path) -> Path:
    """Declare a job with these settings, and return its README."""
    (new_package / "job.py").write_text(SETTINGS)
    readme = tmp_path / "jobs" / "new-here" / "README.md"
    readme.write_text(README)
    return readme


def test_the_table_has_every_setting_and_no_secret(readme: Path, tmp_path: Path) -> None:
    assert settings_docs.main([], tmp_path) == 0
    assert readme.read_text() == README.replace(START, f"{START}\n{TABLE}")
    assert "hush" not in readme.read_text()
    assert settings_docs.main(["--check"], tmp_path) == 0


def test_an_outdated_table_is_named_and_left_alone(
    readme: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings_docs.main(["--check"], tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jobs/new-here/README.md is stale; ")
    assert readme.read_text() == README


@pytest.mark.parametrize("text", ["# new-here\n", f"# new-here\n{START}\n", None])
def test_a_readme_without_a_place_for_the_table_is_named(
    readme: Path, tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        readme.unlink()
    else:
        readme.write_text(text)
    assert settings_docs.main([], tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "jobs/new-here/README.md" in line


@pytest.mark.parametrize(
    ("words", "others", "error"),
    [
        (', description="shortly"', "", "pause_s has no description"),
        ("socket.gethostname", "list", "the default of worker has no words"),
    ],
)
@pytest.mark.usefixtures("readme")
def test_a_setting_that_cannot_be_described_is_named(
    new_package: Path, tmp_path: Path, words: str, others: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (new_package / "job.py").write_text(SETTINGS.replace(words, others))
    assert settings_docs.main([], tmp_path) == 2
    assert error in capsys.readouterr().err
