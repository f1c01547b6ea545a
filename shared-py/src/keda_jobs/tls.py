"""Files for TLS and of credentials: checked before anything connects, so that a wrong one is one clear line."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _check_file(path: Path) -> Path:
    # The value is not shown: it may be the credentials themselves. Its name may be too long for a file.
    if not os.path.isfile(path):  # noqa: PTH113
        raise ValueError("there is no file of that name; set the path of a file that is mounted")
    return path


def check_ca(path: Path) -> Path:
    """Return the file that holds certificates of authorities. Raises `ValueError`."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read as certificates in PEM format") from error
    return path


ExistingFile = Annotated[Path, AfterValidator(_check_file)]
"""Path of a file that is there."""

CaFile = Annotated[ExistingFile, AfterValidator(check_ca)]
"""File with certificates of authorities, in PEM format."""


def check_pair(certificate: Path, key: Path) -> None:
    """Check that the files hold a certificate and its key. Raises `ValueError`."""
    client_context(None, certificate, key)


def client_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Build the context of a client that checks the server, by the system's authorities where `ca` is None.

    Raises `ValueError`.
    """
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        try:
            # Without a password OpenSSL would ask a person for it.
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            raise ValueError(
                f"{certificate} and {key} cannot be read as a certificate and its key, in PEM format without a password"
            ) from error
    return context
