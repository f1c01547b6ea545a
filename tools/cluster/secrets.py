"""Secrets from `k8s/.env`: the file of a test cluster, the check of a file, and the manifests rendered from it.

Values go to kubectl by a pipe: never to a screen, an argument or a file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cluster import database, env_file
from cluster.errors import ClusterError, run
from cluster.kubernetes import encoded, secret_of_stdin
from stack.jobs import ROOT

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_TEMPLATE = ROOT / "k8s/.env.template"
_TEST_NAMESPACE = "keda-jobs-test"
# Rendered only where its values are: most nodes may pull without it.
_OPTIONAL = "registry.yaml.tpl"

Values = Mapping[str, str]


def postgres_data(values: Values, kept: Values) -> dict[str, str]:
    """Build the values of the Secret `postgres`: PG_DSN's parts without its owner, and a password for each role.

    Raises `ClusterError`.
    """
    found = database.read(values["PG_DSN"])
    if found.is_loopback:
        raise ClusterError(f"PG_DSN names {found.host}, which is the pod itself; name a host that pods can reach")
    parts = {
        "PG_HOST": found.host,
        "PG_PORT": str(found.port),
        "PG_DATABASE": found.name,
        "PG_SSLMODE": found.sslmode,
    }
    return parts | database.passwords(values, kept)


def _quoted(value: str) -> str:
    """Encode `value` for a Secret's `data`, quoted for YAML because base64 may look like a number."""
    return json.dumps(encoded(value))


def registry_config(values: Values) -> str:
    """Build the login to one registry, as Docker and the kubelet read it."""
    user, password = values["REGISTRY_USER"], values["REGISTRY_PASSWORD"]
    login = {"username": user, "password": password, "auth": encoded(f"{user}:{password}")}
    return json.dumps({"auths": {values["REGISTRY_HOST"]: login}})


# Variables computed from others, with the names of those.
_COMPUTED: dict[str, tuple[set[str], Callable[[Values, Values], str]]] = {
    "POSTGRES_DATA": (
        {"PG_DSN"},
        lambda values, kept: json.dumps({key: encoded(value) for key, value in postgres_data(values, kept).items()}),
    ),
    "POSTGRES_USER": ({"PG_DSN"}, lambda values, _: _quoted(database.read(values["PG_DSN"]).user)),
    "POSTGRES_PASSWORD": ({"PG_DSN"}, lambda values, _: _quoted(database.read(values["PG_DSN"]).password)),
    "POSTGRES_DB": ({"PG_DSN"}, lambda values, _: _quoted(database.read(values["PG_DSN"]).name)),
    "REGISTRY_CONFIG": (
        {"REGISTRY_HOST", "REGISTRY_USER", "REGISTRY_PASSWORD"},
        lambda values, _: _quoted(registry_config(values)),
    ),
    "S3_AUTH_KEY": (
        {"R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY"},
        lambda values, _: _quoted(f"{values['R2_ACCESS_KEY_ID']},{values['R2_SECRET_ACCESS_KEY']}"),
    ),
}


def render(templates: list[Path], values: Values, kept: Values) -> str:
    """Render `templates` to manifests, one document each. `kept` is the present Secret `postgres`.

    Raises `ClusterError` that names every variable that is missing or still a placeholder.
    """
    text = "---\n".join(template.read_text(encoding="utf-8") for template in templates)
    names = set(_VARIABLE.findall(text))
    needed = {one for name in names for one in (_COMPUTED[name][0] if name in _COMPUTED else {name})}
    if faults := env_file.faults(dict(values), needed):
        raise ClusterError(f"{env_file.shown(env_file.path())}: {'; '.join(faults)}")
    filled = {name: _COMPUTED[name][1](values, kept) if name in _COMPUTED else _quoted(values[name]) for name in names}
    return _VARIABLE.sub(lambda variable: filled[variable[1]], text)


def make_test_file(file: Path) -> None:
    """Write the file of a test cluster: the template with its servers and random credentials. Never overwrite one."""
    known = {
        "R2_ENDPOINT_URL": f"http://s3.{_TEST_NAMESPACE}.svc:9000",
        "R2_ACCESS_KEY_ID": secrets.token_hex(10),
        "R2_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "R2_BUCKET": "keda-jobs",
        "PG_DSN": f"postgresql://keda_jobs:{secrets.token_hex(20)}@postgres.{_TEST_NAMESPACE}.svc:5432/keda_jobs"
        "?sslmode=disable",
    }
    text = re.sub(
        r"^([A-Z0-9_]+)=.*$", lambda line: f"{line[1]}={known[line[1]]}", _TEMPLATE.read_text(), flags=re.MULTILINE
    )
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)


def faults_for(overlay: str, values: Values) -> list[str]:
    """List the reasons against these values for `overlay`, one line each."""
    lines = env_file.faults(dict(values), set(env_file.parse(_TEMPLATE.read_text(), _TEMPLATE.name)))
    is_test = [f".{_TEST_NAMESPACE}.svc" in values.get(name, "") for name in ("R2_ENDPOINT_URL", "PG_DSN")]
    if overlay == "prod" and any(is_test):
        lines.append(f"it names the test servers in {_TEST_NAMESPACE}; move it away and fill in a new one")
    if overlay == "test" and not lines and not all(is_test):
        lines.append("it does not name the test servers; move it away, and a new one is made")
    try:
        if not lines:
            postgres_data(values, {})
    except ClusterError as error:
        lines.append(str(error))
    return lines


def _check(overlay: str) -> int:
    faults = faults_for(overlay, env_file.values())
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


def _render(templates: list[Path]) -> int:
    if env_file.is_open_to_others():
        name = env_file.shown(env_file.path())
        print(f"secrets: {name} may be read by others; run: chmod 600 {name}", file=sys.stderr)
    values = env_file.values()
    wanted = [template for template in templates if template.name != _OPTIONAL or values.get("REGISTRY_HOST")]
    print(render(wanted, values, secret_of_stdin()), end="")
    return 0


def main() -> int:
    """Run one command for the scripts in k8s/ and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cluster.secrets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render_ = commands.add_parser("render", help="print the manifests; stdin is the present Secret postgres")
    render_.add_argument("templates", nargs="+", type=Path)
    check = commands.add_parser("check", help="print a line for each problem of the file")
    check.add_argument("overlay", choices=("prod", "test"))
    commands.add_parser("make-test-file", help="write a file for a test cluster, with random credentials")
    given = parser.parse_args()
    match given.command:
        case "render":
            return _render(given.templates)
        case "check":
            return _check(given.overlay)
        case _:
            make_test_file(env_file.path())
            return 0


if __name__ == "__main__":
    sys.exit(run("secrets", main))
