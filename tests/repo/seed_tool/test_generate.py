"""Writing a data set: by any number of processes, interrupted at any time, in any state of the folder and the disk."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keda_jobs.errors import JobError, Misconfigured
from stack import wait_until
from users_seed import manifest
from users_seed.data_set import DataSet
from users_seed.disk import file_bytes
from users_seed.generate import generate

from .conftest import SMALL, limit_disk

# Kills itself halfway, after printing the ids of its worker processes.
KILLED_HALFWAY = """
import multiprocessing, os, signal, sys
from pathlib import Path
from users_seed.data_set import DataSet
from users_seed.generate import generate

def watch(rows):
    if rows > 20_000:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

generate(DataSet(100_000, chunk_rows=5_000), Path(sys.argv[1]), processes=2, watch=watch)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def is_running(pid: int) -> bool:
    """Return whether the process still runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_writes_the_same_bytes(tmp_path: Path, processes: int) -> None:
    one = generate(SMALL, tmp_path / "one", processes=1)
    several = generate(SMALL, tmp_path / "several", processes=processes)
    assert contents(tmp_path / "one") == contents(tmp_path / "several")
    assert (one.rows, one.invalid, one.files, one.kept) == (6_000, 120, 6, 0)
    assert (several.rows, several.invalid, several.bytes) == (one.rows, one.invalid, one.bytes)


def test_the_manifest_describes_the_files(small: Path) -> None:
    content = json.loads((small / "manifest.json").read_text())
    assert (content["rows"], content["seed"], content["invalid_share"], content["is_complete"]) == (
        6_000,
        1,
        0.02,
        True,
    )
    assert [file["first_id"] for file in content["files"]] == [1, 1_001, 2_001, 3_001, 4_001, 5_001]
    for file in content["files"]:
        path = small / file["file"]
        assert path.stat().st_size == file["bytes"]
        assert len(path.read_text().splitlines()) == 1 + file["rows"]
        assert file["invalid_names"] + file["invalid_emails"] == 20
    assert content["invalid"] == 120
    assert content["bytes"] == sum(file["bytes"] for file in content["files"])


def test_a_second_run_keeps_every_file(small: Path) -> None:
    before = {path: path.stat().st_ino for path in small.glob("*.csv")}
    seen: list[int] = []
    again = generate(SMALL, small, watch=seen.append)
    assert again.kept == again.rows == 6_000
    assert {path: path.stat().st_ino for path in small.glob("*.csv")} == before
    assert (seen[0], seen[-1], sorted(seen)) == (0, 6_000, seen)


def test_damaged_or_missing_files_are_written_again(small: Path) -> None:
    whole = contents(small)
    (small / "users-00001.csv").unlink()
    (small / "users-00003.csv").write_bytes(whole["users-00003.csv"].replace(b"a", b"b"))
    (small / "users-00004.csv").write_bytes(whole["users-00004.csv"][:-1])
    assert generate(SMALL, small).kept == 3_000
    assert contents(small) == whole


def test_a_killed_run_continues_and_its_workers_end_with_it(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    run = subprocess.run(
        [sys.executable, "-c", KILLED_HALFWAY, str(killed)], check=False, capture_output=True, text=True
    )
    assert run.returncode == -9, run.stderr
    wait_until(lambda: not any(is_running(int(pid)) for pid in run.stdout.split()))
    begun = manifest.read(killed)
    assert begun is not None
    assert not begun.is_complete
    inodes = {file.file: (killed / file.file).stat().st_ino for file in begun.files}
    assert inodes

    data_set = DataSet(100_000, chunk_rows=5_000)
    resumed = generate(data_set, killed)
    assert resumed.kept == 5_000 * len(begun.files)
    assert {name: (killed / name).stat().st_ino for name in inodes} == inodes
    generate(data_set, whole)
    assert contents(killed) == contents(whole)


@pytest.mark.parametrize("other", [{"rows": 7_000}, {"seed": 2}, {"invalid_share": 0.03}, {"chunk_rows": 500}])
def test_a_folder_with_another_data_set_is_refused_and_left_alone(small: Path, other: dict[str, int]) -> None:
    before = contents(small)
    with pytest.raises(Misconfigured, match="holds another data set"):
        generate(dataclasses.replace(SMALL, **other), small)
    assert contents(small) == before


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 0}'])
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(Misconfigured, match="delete"):
        generate(SMALL, tmp_path)


def test_a_small_disk_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_disk(monkeypatch, 10**9)
    lines: list[str] = []
    with pytest.raises(JobError, match=r"too small for 50,000,000 rows in files: about 2\.6 GB of disk"):
        generate(DataSet(50_000_000), tmp_path / "out", say=lines.append)
    assert lines == [f"50,000,000 rows in files: about 2.6 GB of disk, 1.0 GB are free in {tmp_path}/out"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("share", "most"), [(0.0, 1.1), (0.01, 1.1), (1.0, 1.3)])
def test_estimated_space_is_close_to_the_size_of_the_files(tmp_path: Path, share: float, most: float) -> None:
    generated = generate(DataSet(100_000, invalid_share=share), tmp_path)
    assert generated.bytes <= file_bytes(100_000) <= most * generated.bytes


def test_only_missing_files_need_space(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_disk(monkeypatch, 60_000)
    (small / "users-00001.csv").unlink()
    assert generate(SMALL, small).kept == 5_000


def test_a_write_that_fails_is_one_line_and_leaves_no_half_file(tmp_path: Path) -> None:
    # The processes inherit the limit; without SIGXFSZ the write fails as it does on a full disk.
    program = (
        "import resource, sys; from pathlib import Path;"
        "from users_seed.data_set import DataSet; from users_seed.generate import generate;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); generate(DataSet(5_000), Path(sys.argv[1]))"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, capture_output=True, text=True)
    assert (
        f"JobError: {tmp_path}/users-00000.csv: File too large; the same command continues where it stopped"
        in run.stderr
    )
    assert set(contents(tmp_path)) == {"manifest.json"}


def test_two_runs_cannot_write_to_one_folder(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(JobError, match="another run is writing"):
            generate(SMALL, tmp_path)
    finally:
        os.close(handle)
    assert generate(SMALL, tmp_path).rows == 6_000
