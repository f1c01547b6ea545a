"""Private certificate authority, made with `openssl`."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stack.ports import HOST
from stack.process import StackError

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_AUTHORITY_DAYS = 3650
_DAYS = 2
_DAY_S = 24 * 3600
# Python 3.13 refuses authorities without the first two, and certificates without the third.
_AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
# Servers of a NATS cluster are each other's clients.
_LEAF = "authorityKeyIdentifier=keyid\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={}\n"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Certificate and key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Authority with its certificate in `ca`, under `folder`, made where there is none."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._key = folder / f"{name}.key"
        self.ca = folder / f"{name}.crt"
        if self.ca.exists() and self._key.exists():
            return
        extensions = [argument for one in _AUTHORITY for argument in ("-addext", one)]
        subject = ("-subj", f"/CN=keda-jobs {folder.name}", "-days", str(_AUTHORITY_DAYS))
        _openssl("req", "-x509", *_NEW_KEY, *subject, *extensions, "-keyout", str(self._key), "-out", str(self.ca))
        self._key.chmod(0o600)

    def issue(self, name: str, *hosts: str, days: int = _DAYS, folder: Path | None = None) -> Certificate:
        """Issue a certificate for `hosts` such as `IP:127.0.0.1` or `DNS:db.example`, into `folder` or beside `ca`.

        With `days` below zero it has expired.
        """
        place = folder or self._folder
        made = Certificate(place / f"{name}.crt", place / f"{name}.key")
        request, extensions = place / f"{name}.csr", place / f"{name}.ext"
        _openssl("req", "-new", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(made.key), "-out", str(request))
        extensions.write_text(_LEAF.format(",".join(hosts or (f"IP:{HOST}",))))
        signed = ("-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial")
        files = ("-in", str(request), "-extfile", str(extensions), "-out", str(made.certificate))
        _openssl("x509", "-req", *signed, "-days", str(days), *files)
        made.key.chmod(0o600)
        return made

    def has_issued(self, certificate: str) -> bool:
        """Return whether a certificate, as text, is of this authority."""
        checked = _run("verify", "-no_check_time", "-CAfile", str(self.ca), given=certificate)
        return checked.returncode == 0


def expires_within(certificate: str, days: int) -> bool:
    """Return whether a certificate, as text, ends within that time."""
    return _run("x509", "-noout", "-checkend", str(days * _DAY_S), given=certificate).returncode != 0


def is_for(certificate: str, hosts: tuple[str, ...]) -> bool:
    """Return whether a certificate, as text, is for exactly these hosts."""
    shown = _run("x509", "-noout", "-ext", "subjectAltName", given=certificate).stdout
    found = re.findall(r"(DNS|IP Address):([^,\s]+)", shown)
    return sorted(f"{kind.removesuffix(' Address')}:{name}" for kind, name in found) == sorted(hosts)


def _openssl(*arguments: str) -> None:
    ended = _run(*arguments)
    if ended.returncode:
        raise StackError(f"openssl {arguments[0]}: {ended.stderr.strip().splitlines()[-1]}")


def _run(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("openssl")
    if program is None:
        raise StackError("openssl is not installed; install it with your system's packages")
    return subprocess.run([program, *arguments], input=given, capture_output=True, text=True, check=False)
