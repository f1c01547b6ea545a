"""Secrets from k8s/.env: refusals, rendered secrets, and values that arrive unchanged."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import env_file
from cluster.database import passwords, read, roles
from cluster.errors import ClusterError
from cluster.secrets import faults_for, make_test_file, postgres_data, render
from stack.jobs import ROOT

DSN = "postgresql://me:hidden@db.example.com:5433/app?sslmode=require"
GIVEN = {
    "R2_ENDPOINT_URL": "https://abc.r2.cloudflarestorage.com",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "secret",
    "R2_BUCKET": "pictures",
    "PG_DSN": DSN,
}
R2 = ROOT / "k8s/manual/prod/r2.yaml.tpl"
POSTGRES = ROOT / "k8s/manual/prod/postgres.yaml.tpl"
REGISTRY = ROOT / "k8s/manual/prod/registry.yaml.tpl"
TEST_SERVERS = ROOT / "k8s/manual/test/test-servers.yaml.tpl"

EnvFile = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvFile:
    """Return a function that writes a .env file."""

    def write(text: str) -> Path:
        file = tmp_path / ".env"
        file.write_text(text)
        file.chmod(0o600)
        return file

    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))
    for name in (*GIVEN, "USERS_WORKER_PASSWORD", "USERS_SCALER_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return write


def lines(values: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def data(manifest: str) -> dict[str, str]:
    """Read the values of a rendered Secret with a real kubectl."""
    read_back = subprocess.run(
        ["kubectl", "patch", "--local", "-f", "-", "-p", "{}", "-o", "json"],
        input=manifest,
        capture_output=True,
        text=True,
        check=True,
    )
    return {key: base64.b64decode(value).decode() for key, value in json.loads(read_back.stdout)["data"].items()}


@pytest.mark.parametrize(
    "value",
    [
        "$HOME",
        "`id`",
        'a"b',
        "a'b",
        "a\\b\\n",
        "a: b # c",
        "{x: y}",
        "ключ🔑",
        "123",
        "true",
        "${R2_BUCKET}",
        "a=b",
        "%41",
    ],
)
def test_a_value_reaches_the_secret_unchanged(written: EnvFile, value: str) -> None:
    written(lines(GIVEN | {"R2_SECRET_ACCESS_KEY": value}))
    assert data(render([R2], env_file.values(), {}))["R2_SECRET_ACCESS_KEY"] == value


def test_an_env_file_is_lines_of_key_and_value() -> None:
    text = "# a comment\n\n  A=1 \nB='two words'\nC=\"$x\"\nD=a=b#c\nE=\n"
    assert env_file.parse(text, ".env") == {"A": "1", "B": "two words", "C": "$x", "D": "a=b#c", "E": ""}


def test_an_invalid_line_is_named_only_by_its_number() -> None:
    with pytest.raises(ClusterError, match=r"^\.env, line 2: not of the form KEY=VALUE$"):
        env_file.parse("A=1\nexport hidden", ".env")


def test_the_file_overrides_the_environment(written: EnvFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2_BUCKET", "of the shell")
    monkeypatch.setenv("USERS_WORKER_PASSWORD", "of-the-shell")
    written("R2_BUCKET=of the file\n")
    assert env_file.values()["R2_BUCKET"] == "of the file"
    assert env_file.values()["USERS_WORKER_PASSWORD"] == "of-the-shell"


def test_every_placeholder_and_gap_is_named_and_no_value_shown(written: EnvFile) -> None:
    written((ROOT / "k8s/.env.template").read_text() + "R2_BUCKET=\n")
    with pytest.raises(ClusterError) as refused:
        render([R2, POSTGRES], env_file.values(), {})
    assert str(refused.value).split(": ", 1)[1] == (
        "PG_DSN is still the placeholder; R2_ACCESS_KEY_ID is still the placeholder; R2_BUCKET is not set;"
        " R2_ENDPOINT_URL is still the placeholder; R2_SECRET_ACCESS_KEY is still the placeholder"
    )


def test_the_database_owner_never_gets_into_the_cluster() -> None:
    manifest = render([POSTGRES], GIVEN, {})
    found = data(manifest)
    assert set(found) == {"PG_HOST", "PG_PORT", "PG_DATABASE", "PG_SSLMODE", *roles()}
    assert [found[f"PG_{part}"] for part in ("HOST", "PORT", "DATABASE", "SSLMODE")] == [
        "db.example.com",
        "5433",
        "app",
        "require",
    ]
    assert not {"me", "hidden"} & set(found.values())


def test_a_role_keeps_its_password_unless_another_is_given() -> None:
    kept = {role: f"kept-{number}" for number, role in enumerate(roles())}
    assert passwords({}, kept) == kept
    assert passwords({"USERS_WORKER_PASSWORD": "given"}, kept) == kept | {"users_worker": "given"}
    made = passwords({}, {})
    assert len(set(made.values())) == len(roles())
    assert all(len(one) >= 32 for one in made.values())


def test_a_password_that_breaks_a_url_is_refused_by_name() -> None:
    with pytest.raises(
        ClusterError, match=r"^USERS_WORKER_PASSWORD may contain only letters, digits and _ \. ~ -: "
    ) as refused:
        passwords({"USERS_WORKER_PASSWORD": "hid@den"}, {})
    assert "hid@den" not in str(refused.value)


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        ("postgresql://me:hidden@host/app", r"end it with \?sslmode=require"),
        ("postgresql://host/app?sslmode=require", "user and password of the database's owner"),
        ("postgresql://me:hid/den@host:5432/app?sslmode=require", "cannot be read|must be"),
        ("postgresql://me:hidden@a:1,b:2/app?sslmode=require", "cannot be read|must be"),
        ("postgresql://me:hidden@host/?sslmode=require", "the database must be"),
        ("mysql://me:hidden@host/app?sslmode=require", "must be of the form"),
    ],
)
def test_a_dsn_that_pods_could_not_use_is_one_line_without_the_password(dsn: str, told: str) -> None:
    with pytest.raises(ClusterError, match=f"^PG_DSN.*({told})") as refused:
        read(dsn)
    assert "hid" not in str(refused.value)


def test_a_database_on_this_machine_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"^PG_DSN names 127\.0\.0\.1, which is the pod itself"):
        postgres_data(GIVEN | {"PG_DSN": "postgresql://me:hidden@127.0.0.1/app?sslmode=disable"}, {})


def test_a_service_of_the_cluster_is_reached_through_a_port() -> None:
    named = read("postgresql://me:p%40ss@postgres.keda-jobs-test.svc:5432/app?sslmode=disable")
    assert named.service == ("postgres", "keda-jobs-test")
    assert named.on_local_port(4321) == "postgresql://me:p%40ss@127.0.0.1:4321/app?sslmode=disable"
    assert read(DSN).service is None


def test_the_file_of_a_test_cluster_names_its_servers(written: EnvFile, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    make_test_file(file)
    values = env_file.values()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert faults_for("test", values) == []
    servers = data(render([TEST_SERVERS], values, {}))
    assert servers["S3_AUTH_KEY"] == f"{values['R2_ACCESS_KEY_ID']},{values['R2_SECRET_ACCESS_KEY']}"
    assert servers["POSTGRES_PASSWORD"] == read(values["PG_DSN"]).password
    with pytest.raises(FileExistsError):
        make_test_file(file)


def test_a_file_for_another_kind_of_cluster_is_refused(written: EnvFile, tmp_path: Path) -> None:
    assert faults_for("prod", GIVEN) == []
    assert faults_for("test", GIVEN) == ["it does not name the test servers; move it away, and a new one is made"]
    make_test_file(tmp_path / ".env")
    assert faults_for("prod", env_file.values()) == [
        "it names the test servers in keda-jobs-test; move it away and fill in a new one"
    ]


def test_the_renderer_warns_of_a_file_that_others_may_read(written: EnvFile) -> None:
    written(lines(GIVEN)).chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-m", "cluster.secrets", "render", R2],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tools")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    file = os.environ["ENV_FILE"]
    assert done.stderr == f"secrets: {file} may be read by others; run: chmod 600 {file}\n"


def test_a_registry_is_a_pull_secret_only_where_it_is_named(written: EnvFile) -> None:
    command = [sys.executable, "-m", "cluster.secrets", "render", str(R2), str(REGISTRY)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tools")}

    def rendered(values: dict[str, str]) -> str:
        written(lines(values))
        return subprocess.run(command, env=environment, input="", capture_output=True, text=True, check=True).stdout

    assert "dockerconfigjson" not in rendered(GIVEN)
    login = {"REGISTRY_HOST": "registry.example:5000", "REGISTRY_USER": "me", "REGISTRY_PASSWORD": 'hid"den$'}
    _, secret = rendered(GIVEN | login).split("---\n")
    assert "type: kubernetes.io/dockerconfigjson" in secret
    auths = json.loads(data(secret)[".dockerconfigjson"])["auths"]
    auth = base64.b64encode(b'me:hid"den$').decode()
    assert auths == {"registry.example:5000": {"username": "me", "password": 'hid"den$', "auth": auth}}


def test_half_a_registry_is_named() -> None:
    with pytest.raises(ClusterError, match="REGISTRY_PASSWORD is not set"):
        render([REGISTRY], {"REGISTRY_HOST": "registry.example", "REGISTRY_USER": "me"}, {})
