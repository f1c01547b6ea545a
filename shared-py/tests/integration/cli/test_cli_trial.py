"""`keda-jobs replay --into`: events go to a process of their own, and nothing goes back to NATS."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path

import pytest

from .conftest import Cli, Server
from .test_cli_replay_events import JOB, deliver, publish

TRIES = """
import json, os, sys
for line in sys.stdin:
    event = json.loads(line)
    print(json.dumps({"sequence": event["sequence"], "outcome": "acked", "events": ["image-downloaded"]}))
    sys.stdout.flush()
"""


@pytest.fixture
def stored(server: Server) -> Server:
    """Store 40 events that the job has had."""
    publish(server, *map(str, range(40)))
    deliver(server)
    return server


def python(folder: Path, source: str) -> str:
    """Return a `--python` that runs `source` in place of the job."""
    script = folder / "job.py"
    script.write_text(source)
    return shlex.join([sys.executable, str(script)])


def test_each_event_goes_to_the_process_and_none_to_nats(cli: Cli, stored: Server, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    source = f"import os, sys; open({str(seen)!r}, 'w').write(repr((sys.argv[1:], sorted(os.environ))))" + TRIES
    before = stored.api("STREAM.INFO.keda-jobs-events")["state"]["last_seq"]
    cli.environment |= {"NATS_USER": "", "NATS_PASSWORD": "", "R2_BUCKET": "pictures"}
    done = cli("replay", JOB, "--since", "1h", "--into", "one", "--python", python(tmp_path, source), "--json")
    assert done.code == 0, done.stderr
    assert (done.json["found"], done.json["done"], done.json["failed"], done.json["next_seq"]) == (40, 40, 0, None)
    assert done.json["events"] == {"image-downloaded": 40}
    text = seen.read_text()
    assert "['-m', 'keda_jobs.event.trial', 'image_download', 'one']" in text
    assert "'R2_BUCKET'" in text
    assert "NATS_" not in text
    assert stored.api("STREAM.INFO.keda-jobs-events")["state"]["last_seq"] == before
    assert stored.api("STREAM.INFO.keda-jobs-retries")["state"]["last_seq"] == 0


def test_a_dry_run_only_counts(cli: Cli, stored: Server) -> None:
    done = cli("replay", JOB, "--since", "1h", "--into", "one", "--python", "/no/such/python", "--dry-run")
    assert (done.code, done.stderr.splitlines()[-1]) == (0, "40 events would be tried")


def test_ctrl_c_ends_it_and_the_printed_command_tries_the_rest(cli: Cli, stored: Server, tmp_path: Path) -> None:
    names = tmp_path / "names"
    source = TRIES.replace(
        "event = json.loads(line)", f"event = json.loads(line); open({str(names)!r}, 'a').write(line)"
    )
    words = ("--into", "one", "--python", python(tmp_path, source))
    process = cli.start("replay", JOB, "--since", "1h", "--rate", "20", *words)
    stored.wait_for(lambda: names.exists() and len(names.read_text().splitlines()) >= 3)
    process.send_signal(signal.SIGINT)
    done = cli.finish(process)
    assert done.code == 130, done.stderr
    command = shlex.split(done.stderr.splitlines()[-1].removeprefix("interrupted, to continue: "))
    assert cli(*command[1:]).code == 0
    tried = [json.loads(line)["sequence"] for line in names.read_text().splitlines()]
    assert sorted(tried) == list(range(1, 41))


ENDS_EARLY = TRIES.replace("event = json", "if '\"sequence\": 9,' in line: os._exit(0)\n    event = json")
FOREIGN = '{"sequence": 77, "outcome": "acked", "events": []}'
FAILING = [
    ("raise SystemExit(7)", "the trial's process ended with exit code 7: it says why above"),
    (ENDS_EARLY, "the trial's process ended with exit code 0: it says why above"),
    ("print('hello')", "the trial's process printed what is no outcome: b'hello\\n'"),
    ("print('x' * 5_000_000)", "the trial's process printed what is no outcome: b''"),
    ("print('[1]')", "the trial's process printed what is no outcome: b'[1]\\n'"),
    (f"print({FOREIGN!r})", f"the trial's process printed what is no outcome: b'{FOREIGN}\\n'"),
]


def test_a_process_that_fails_is_one_line_and_the_command_to_continue(cli: Cli, stored: Server, tmp_path: Path) -> None:
    for source, line in FAILING:
        done = cli("replay", JOB, "--since", "1h", "--into", "one", "--python", python(tmp_path, source))
        assert done.code == 1
        *_, left, error = done.stderr.splitlines()
        assert left.startswith("interrupted, to continue: keda-jobs replay image-download --from-seq ")
        assert error == f"keda-jobs: {line}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--python", "python"), "--python is for a trial: add --into NAME"),
        (("--into", "../live"), "'../live' is no name of a trial such as bigger-thumbnails: letters, digits, - and _"),
        (("--into", ""), "'' is no name of a trial such as bigger-thumbnails: letters, digits, - and _"),
        (("--into", "one\n"), r"'one\n' is no name of a trial such as bigger-thumbnails: letters, digits, - and _"),
        (("--into", "one", "--python", ""), "--python is empty: name a command, or leave it out"),
        (("--into", "one", "--python", "'"), '--python "\'" is no command: No closing quotation'),
        (("--into", "one", "--python", "/no/python"), "/no/python cannot be started: No such file or directory"),
    ],
)
def test_a_mistake_is_one_clear_line(cli: Cli, stored: Server, words: tuple[str, ...], line: str) -> None:
    done = cli("replay", JOB, "--since", "1h", *words)
    assert done.code == 2
    assert done.stderr.splitlines()[-1] == f"keda-jobs: {line}"
