"""Secrets from k8s/.env: refusals, rendered secrets, and values that arrive unchanged."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import environments
from cluster import env_file
from cluster.database import read
from cluster.errors import ClusterError
from cluster.kubernetes import decoded
from cluster.roles import passwords, roles
from cluster.secrets import apply, faults_for, make_test_file, postgres_data, render, wanted
from stack.jobs import ROOT

from .fake_cluster import FakeCluster

DSN = "postgresql://me:hidden@db.example.com:5433/app?sslmode=require"
GIVEN = {
    "R2_ENDPOINT_URL": "https://abc.r2.cloudflarestorage.com",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "secret",
    "R2_BUCKET": "pictures",
    "PG_DSN": DSN,
}
R2 = ROOT / "k8s/manual/r2.yaml.tpl"
POSTGRES = ROOT / "k8s/manual/postgres.yaml.tpl"
REGISTRY = ROOT / "k8s/manual/registry.yaml.tpl"
TEST_SERVERS = ROOT / "k8s/manual/test-servers.yaml.tpl"
PROD, TEST = map(environments.load, ("prod", "test"))

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


def names(secrets: list[dict[str, Any]]) -> list[str]:
    return [one["metadata"]["name"] for one in secrets]


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
    assert data(render([R2], PROD, env_file.values(), {}))["R2_SECRET_ACCESS_KEY"] == value


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
        render([R2, POSTGRES], PROD, env_file.values(), {})
    assert str(refused.value).split(": ", 1)[1] == (
        "PG_DSN is still the placeholder; R2_ACCESS_KEY_ID is still the placeholder; R2_BUCKET is not set;"
        " R2_ENDPOINT_URL is still the placeholder; R2_SECRET_ACCESS_KEY is still the placeholder"
    )


def test_a_store_without_keys_is_a_secret_without_keys() -> None:
    identity = {name: value for name, value in GIVEN.items() if "KEY" not in name} | {"R2_REGION": "eu-central-1"}
    assert faults_for(PROD, identity) == []
    assert data(render([R2], PROD, identity, {})) == {
        name: value for name, value in identity.items() if name.startswith("R2_")
    }
    assert faults_for(PROD, identity | {"R2_REGION": ""}) == [
        "R2_ACCESS_KEY_ID is not set",
        "R2_SECRET_ACCESS_KEY is not set",
    ]
    assert faults_for(PROD, identity | {"R2_ACCESS_KEY_ID": "key"}) == ["R2_SECRET_ACCESS_KEY is not set"]


def test_the_region_of_a_store_with_keys_reaches_the_jobs() -> None:
    assert data(render([R2], PROD, GIVEN | {"R2_REGION": "eu-central-1"}, {}))["R2_REGION"] == "eu-central-1"


def test_the_database_owner_never_gets_into_the_cluster() -> None:
    manifest = render([POSTGRES], PROD, GIVEN, {})
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


def test_a_certificate_need_not_name_the_end_of_a_port_forward() -> None:
    named = read("postgresql://me:p@postgres.keda-jobs-test.svc:5432/app?sslmode=verify-full")
    assert named.on_local_port(4321) == "postgresql://me:p@127.0.0.1:4321/app?sslmode=verify-ca"


def test_the_file_of_test_servers_with_tls_asks_for_it(written: EnvFile, tmp_path: Path) -> None:
    make_test_file(tmp_path / ".env", TEST, has_tls=True)
    values = env_file.values()
    assert values["R2_ENDPOINT_URL"].startswith("https://s3.")
    assert read(values["PG_DSN"]).sslmode == "verify-full"
    assert faults_for(TEST, values) == []


def test_the_file_of_a_test_cluster_names_its_servers(written: EnvFile, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    make_test_file(file, TEST)
    values = env_file.values()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert faults_for(TEST, values) == []
    servers = data(render([TEST_SERVERS], TEST, values, {}))
    assert servers["S3_AUTH_KEY"] == f"{values['R2_ACCESS_KEY_ID']},{values['R2_SECRET_ACCESS_KEY']}"
    assert servers["POSTGRES_PASSWORD"] == read(values["PG_DSN"]).password
    with pytest.raises(FileExistsError):
        make_test_file(file, TEST)


def test_a_file_for_another_kind_of_cluster_is_refused(written: EnvFile, tmp_path: Path) -> None:
    assert faults_for(PROD, GIVEN) == []
    assert faults_for(TEST, GIVEN) == ["it does not name the test servers; move it away, and a new one is made"]
    make_test_file(tmp_path / ".env", TEST)
    assert faults_for(PROD, env_file.values()) == [
        "it names the test servers in keda-jobs-test; move it away and fill in a new one"
    ]


def test_a_file_that_others_may_read_is_said(
    cluster: FakeCluster, written: EnvFile, capsys: pytest.CaptureFixture[str]
) -> None:
    written(lines(GIVEN)).chmod(0o644)
    apply("r2")
    file = os.environ["ENV_FILE"]
    output = capsys.readouterr()
    assert output.err == f"secrets: {file} may be read by others; run: chmod 600 {file}\n"
    assert output.out == "secrets: r2\n"


def test_a_secret_is_made_only_where_its_values_are(cluster: FakeCluster, written: EnvFile) -> None:
    written(lines(GIVEN))
    assert names(wanted()) == ["postgres", "r2", "postgres-operator"]
    written(lines({"PG_DSN": DSN}))
    assert names(wanted()) == ["postgres", "postgres-operator"]
    written(lines({"PG_DSN": DSN, "R2_BUCKET": "pictures"}))
    with pytest.raises(ClusterError, match="R2_ENDPOINT_URL is not set"):
        wanted()
    written("")
    with pytest.raises(ClusterError, match="has no values for any secret"):
        apply("*")


def test_roles_keep_their_passwords(cluster: FakeCluster, written: EnvFile) -> None:
    written(lines(GIVEN))
    apply("*")
    before = cluster.secrets[PROD.jobs_namespace, "postgres"]
    apply("*")
    assert cluster.secrets[PROD.jobs_namespace, "postgres"] == before


def test_people_on_call_get_the_database_with_their_role_alone(cluster: FakeCluster, written: EnvFile) -> None:
    written(lines(GIVEN))
    apply("postgres")
    made = {name: decoded(cluster.secrets[PROD.jobs_namespace, name]) for name in ("postgres", "postgres-operator")}
    password = made["postgres"]["keda_jobs_operator"]
    dsn = f"postgresql://keda_jobs_operator:{password}@db.example.com:5433/app?sslmode=require"
    assert made["postgres-operator"] == {"PG_DSN": dsn}
    assert read(dsn).user == "keda_jobs_operator"


def test_a_registry_is_a_pull_secret_only_where_it_is_named(cluster: FakeCluster, written: EnvFile) -> None:
    written(lines(GIVEN | {"REGISTRY_HOST": "a.example:5000", "REGISTRY_USER": "me", "REGISTRY_PASSWORD": 'hid"den$'}))
    [secret] = wanted("registry")
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    auths = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]
    auth = base64.b64encode(b'me:hid"den$').decode()
    assert auths == {"a.example:5000": {"username": "me", "password": 'hid"den$', "auth": auth}}


def test_half_a_registry_is_named() -> None:
    with pytest.raises(ClusterError, match="REGISTRY_PASSWORD is not set"):
        render([REGISTRY], PROD, {"REGISTRY_HOST": "registry.example", "REGISTRY_USER": "me"}, {})
