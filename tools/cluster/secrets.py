"""Secrets of an environment: the file of its credentials, made for test servers or checked, and the manifests of it.

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

import yaml

import environments
from cluster import database, env_file, roles
from cluster.errors import ClusterError, run
from cluster.kubernetes import Object, decoded, encoded, kubectl
from cluster.owned import apply_secrets
from environments import ROOT, Environment
from keda_jobs.claims.roles import OPERATOR

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_TEMPLATE = ROOT / "k8s/.env.template"
_TEMPLATES = ROOT / "k8s/manual"
# Of the environment itself.
_FACTS = {"JOBS_NAMESPACE", "TEST_NAMESPACE"}
_STORE_KEYS = {"R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY"}

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
    return parts | roles.passwords(values, kept)


def operators_database(postgres: Object) -> Object:
    """Build the Secret with the database for people on call, who may not read the Secret `postgres` itself."""
    data = decoded(postgres)
    address = f"{data['PG_HOST']}:{data['PG_PORT']}/{data['PG_DATABASE']}?sslmode={data['PG_SSLMODE']}"
    dsn = f"postgresql://{OPERATOR}:{data[OPERATOR]}@{address}"
    metadata = {**postgres["metadata"], "name": database.OPERATORS_DATABASE}
    return {**postgres, "metadata": metadata, "data": {"PG_DSN": encoded(dsn)}}


def store_needs(values: Values) -> set[str]:
    """Return the variables that the store needs. A region and no key means the pod's identity."""
    without_keys = bool(values.get("R2_REGION")) and not any(values.get(name) for name in _STORE_KEYS)
    return {"R2_ENDPOINT_URL", "R2_BUCKET"} | ({"R2_REGION"} if without_keys else _STORE_KEYS)


def store_data(values: Values) -> dict[str, str]:
    """Build the values of the Secret `r2`, without keys where the pod's identity gives them."""
    return {name: values[name] for name in sorted(store_needs(values) | {"R2_REGION"}) if values.get(name)}


def _encoded(data: Values) -> str:
    """Encode a Secret's `data`."""
    return json.dumps({name: encoded(value) for name, value in data.items()})


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
        lambda values, kept: _encoded(postgres_data(values, kept)),
    ),
    "POSTGRES_USER": ({"PG_DSN"}, lambda values, _: _quoted(database.read(values["PG_DSN"]).user)),
    "POSTGRES_PASSWORD": ({"PG_DSN"}, lambda values, _: _quoted(database.read(values["PG_DSN"]).password)),
    "POSTGRES_DB": ({"PG_DSN"}, lambda values, _: _quoted(database.read(values["PG_DSN"]).name)),
    "REGISTRY_CONFIG": (
        {"REGISTRY_HOST", "REGISTRY_USER", "REGISTRY_PASSWORD"},
        lambda values, _: _quoted(registry_config(values)),
    ),
    "STORE_DATA": (set(), lambda values, _: _encoded(store_data(values))),
    "S3_AUTH_KEY": (
        _STORE_KEYS,
        lambda values, _: _quoted(f"{values['R2_ACCESS_KEY_ID']},{values['R2_SECRET_ACCESS_KEY']}"),
    ),
}


def render(templates: list[Path], environment: Environment, values: Values, kept: Values) -> str:
    """Render `templates` to manifests for `environment`. `kept` is the present Secret `postgres`.

    Raises `ClusterError` that names every variable that is missing or still a placeholder.
    """
    text = "---\n".join(template.read_text(encoding="utf-8") for template in templates)
    if faults := env_file.faults(dict(values), _needed(text, values)):
        raise ClusterError(f"{env_file.shown(env_file.path())}: {'; '.join(faults)}")
    names = set(_VARIABLE.findall(text)) - _FACTS
    filled = {name: getattr(environment, name.lower()) for name in _FACTS}
    filled |= {name: _COMPUTED[name][1](values, kept) if name in _COMPUTED else _quoted(values[name]) for name in names}
    return _VARIABLE.sub(lambda variable: filled[variable[1]], text)


def _needed(text: str, values: Values) -> set[str]:
    """Return the variables from which those in templates are filled."""
    names = set(_VARIABLE.findall(text)) - _FACTS
    needed = {one for name in names for one in (_COMPUTED[name][0] if name in _COMPUTED else {name})}
    return needed | store_needs(values) if "STORE_DATA" in names else needed


def make_test_file(file: Path, environment: Environment, *, has_tls: bool = False) -> None:
    """Write the file of an environment with test servers, with random credentials. Never overwrite one."""
    namespace = environment.test_namespace
    scheme, sslmode = ("https", "verify-full") if has_tls else ("http", "disable")
    database = f"postgres.{namespace}.svc:5432/keda_jobs?sslmode={sslmode}"
    known = {
        "R2_ENDPOINT_URL": f"{scheme}://s3.{namespace}.svc:9000",
        "R2_ACCESS_KEY_ID": secrets.token_hex(10),
        "R2_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "R2_BUCKET": "keda-jobs",
        "PG_DSN": f"postgresql://keda_jobs:{secrets.token_hex(20)}@{database}",
    }
    text = re.sub(
        r"^([A-Z0-9_]+)=.*$", lambda line: f"{line[1]}={known[line[1]]}", _TEMPLATE.read_text(), flags=re.MULTILINE
    )
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)


def faults_for(environment: Environment, values: Values) -> list[str]:
    """List the reasons against these values for `environment`, one line each."""
    needed = env_file.parse(_TEMPLATE.read_text(), _TEMPLATE.name).keys() - _STORE_KEYS
    lines = env_file.faults(dict(values), needed | store_needs(values))
    hosts = [values.get(name, "") for name in ("R2_ENDPOINT_URL", "PG_DSN")]
    own = environment.test_namespace
    if own and not lines and not all(f".{own}.svc" in host for host in hosts):
        lines.append("it does not name the test servers; move it away, and a new one is made")
    every = {environments.load(name).test_namespace for name in environments.names()}
    lines += [
        f"it names the test servers in {other}; move it away and fill in a new one"
        for other in sorted(every - {own, ""})
        if any(f".{other}.svc" in host for host in hosts)
    ]
    try:
        if not lines:
            postgres_data(values, {})
    except ClusterError as error:
        lines.append(str(error))
    return lines


def _check() -> int:
    faults = faults_for(environments.current(), env_file.values())
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


def wanted(only: str = "*") -> list[Object]:
    """Build the Secrets of `only`, a template's name or pattern, as far as their values are known.

    Raises `ClusterError` for one whose values are known in part.
    """
    environment, values = environments.current(), env_file.values()
    templates = [file for file in sorted(_TEMPLATES.glob(f"{only}.yaml.tpl")) if _is_wanted(file, environment, values)]
    place = ("secret", "postgres", f"--namespace={environment.jobs_namespace}")
    # Read first: otherwise the roles would get new passwords.
    kept = decoded(json.loads(kubectl("get", *place, "--ignore-not-found", "--output=json") or "{}"))
    made = [one for one in yaml.safe_load_all(render(templates, environment, values, kept)) if one]
    return [*made, *(operators_database(one) for one in made if one["metadata"]["name"] == "postgres")]


def _is_wanted(template: Path, environment: Environment, values: Values) -> bool:
    if template.name == "test-servers.yaml.tpl" and not environment.test_namespace:
        return False
    return any(values.get(name) for name in _needed(template.read_text(encoding="utf-8"), values))


def apply(only: str) -> None:
    """Make the Secrets of `only`, a template's name or pattern. Raises `ClusterError`."""
    if env_file.is_open_to_others():
        name = env_file.shown(env_file.path())
        print(f"secrets: {name} may be read by others; run: chmod 600 {name}", file=sys.stderr)
    secrets_ = wanted(only)
    if not secrets_:
        name = env_file.shown(env_file.path())
        raise ClusterError(
            f"{name} has no values for {only.replace('*', 'any secret')}. Make it with: cp k8s/.env.template {name} && "
            f"chmod 600 {name}, and fill it in"
        )
    for line in apply_secrets(secrets_):
        print(f"secrets: {line}")


def main() -> int:
    """Run one command for the scripts in k8s/ and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cluster.secrets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("apply", help="make the secrets whose values are known")
    making.add_argument("--only", default="*", metavar="NAME", help="template of k8s/manual, such as r2")
    commands.add_parser("check", help="print a line for each problem of the file")
    making = commands.add_parser("make-test-file", help="write a file for a test cluster, with random credentials")
    making.add_argument("--tls", action="store_true", help="for servers with certificates")
    given = parser.parse_args()
    match given.command:
        case "apply":
            apply(given.only)
            return 0
        case "check":
            return _check()
        case _:
            make_test_file(env_file.path(), environments.current(), has_tls=given.tls)
            return 0


if __name__ == "__main__":
    sys.exit(run("secrets", main))
