"""Pins of an environment: the image of each job by digest, in the overlay that Flux, Argo CD or kubectl apply.

A job without a pin is not in the overlay. The pin of `keda-jobs-ops` is for the Job that sets the environment up from
inside, for the CronJob of its backups, and for the pod of people on call.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

import environments
from changed_jobs import OPS, all_images
from environments import BadEnvironment

ROOT = Path(__file__).resolve().parent.parent
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# <host>[:port]/<path>, as Docker allows it.
_REGISTRY = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+")
_HEAD = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
"""
_JOBS = "# Written by `make pin`: the jobs of this environment, by digest. A job that is not here is not deployed.\n"
_BY_OPS = {
    "bootstrap": "# Written by `make pin JOB=keda-jobs-ops`: what sets this environment up from inside the cluster.\n",
    "backup": "# Written by `make pin JOB=keda-jobs-ops`: hourly backups of the streams. Apply it to have them.\n",
    "ops": "# Written by `make pin JOB=keda-jobs-ops`: a pod for people on call. Apply it to have one.\n",
}


class Refused(Exception):
    """A pin cannot be written. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Image of one job in one environment."""

    image: str
    digest: str


Pins = Mapping[str, Pin]


def files_of(environment: str, job: str, root: Path = ROOT) -> list[Path]:
    """List the kustomizations that hold the pin of a job: one with a NATS of its owner's has no bootstrap."""
    overlay = root / "k8s/kustomize/overlays" / environment
    folders = [overlay / name for name in (_BY_OPS if job == OPS else ("jobs",))]
    return [folder / "kustomization.yaml" for folder in folders if folder.is_dir()]


def pins_of(environment: str, job: str, root: Path = ROOT) -> dict[str, Pin]:
    """Read the pins beside that of a job, and its own."""
    return {name: one for file in files_of(environment, job, root) for name, one in read(file).items()}


def read(file: Path) -> dict[str, Pin]:
    """Read the pins of a kustomization, none where there is no file."""
    content = (yaml.safe_load(file.read_text()) if file.exists() else None) or {}
    return {one["name"]: Pin(one["newName"], one["digest"]) for one in content.get("images") or []}


def text_of(folder: str, pins: Pins) -> str:
    """Format the kustomization of an overlay's folder with these pins."""
    if folder in _BY_OPS:
        return _BY_OPS[folder] + _HEAD + f"resources:\n  - ../../../{folder}\n" + _environment() + _images(pins)
    resources = "".join(f"  - ../../../../../jobs/{name}\n" for name in sorted(pins))
    return _JOBS + _HEAD + (f"resources:\n{resources}" if pins else "resources: []\n") + _environment() + _images(pins)


def _environment() -> str:
    return "components:\n  - ../environment\n"


def _images(pins: Pins) -> str:
    lines = "".join(
        f"  - name: {name}\n    newName: {pin.image}\n    digest: {pin.digest}\n" for name, pin in sorted(pins.items())
    )
    return f"images:\n{lines}" if pins else "images: []\n"


def pin(environment: str, job: str, digest: str, registry: str, root: Path = ROOT) -> Pin:
    """Write the digest of a job, from `registry` or the one of its last pin. Raises `Refused`."""
    if job not in (known := all_images(root)):
        raise Refused(f"there is no job '{job}', there are: {' '.join(known)}")
    if not _DIGEST.fullmatch(digest):
        raise Refused(f"DIGEST is sha256: and 64 of 0-9 a-f, not '{digest}'")
    if registry and not _REGISTRY.fullmatch(registry):
        raise Refused(f"REGISTRY is <host>/<path> in small letters, not '{registry}'")
    # One of a job that is gone would name a folder that is gone.
    pins = {name: one for name, one in pins_of(environment, job, root).items() if name in known}
    if not registry and job not in pins:
        raise Refused(f"{job} has no image in {environment} yet: name its registry with REGISTRY=<host>/<path>")
    image = f"{registry}/{job}" if registry else pins[job].image
    pins[job] = Pin(image, digest)
    for file in files_of(environment, job, root):
        file.write_text(text_of(file.parent.name, pins))
    return pins[job]


def table(environment: str, root: Path = ROOT) -> str:
    """Format each job of the repository with its pin in `environment`."""
    lines = []
    for job in all_images(root):
        found = pins_of(environment, job, root).get(job)
        lines.append(f"{job:<24} {f'{found.image}@{found.digest}' if found else 'no pin, so not deployed'}\n")
    return "".join(lines)


def main() -> int:
    """Write one pin, or list all of the environment ENV without a job, and return the exit code."""
    parser = argparse.ArgumentParser(prog="pin", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--job", default="", help="job, or keda-jobs-ops; without one, all pins are listed")
    parser.add_argument("--digest", default="", help="sha256:…")
    parser.add_argument(
        "--registry", default=os.environ.get("REGISTRY", ""), help="<host>/<path>; default: the last one"
    )
    given = parser.parse_args()
    try:
        environment = environments.current().environment
        if not given.job:
            print(table(environment), end="")
            return 0
        if not files_of(environment, given.job):
            print(f"pin: {environment} has no folder for {given.job}, so there is nothing to pin")
            return 0
        written = pin(environment, given.job, given.digest, given.registry)
    except (BadEnvironment, Refused) as error:
        print(f"pin: {error}", file=sys.stderr)
        return 1
    print(f"pin: {environment}: {written.image}@{written.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
