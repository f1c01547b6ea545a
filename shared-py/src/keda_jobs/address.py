"""Address of NATS and the user there, checked: from the environment (`keda_jobs.settings`) or an application's code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self, TypedDict

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from keda_jobs import tls, urls
from keda_jobs.errors import Misconfigured

# Control characters, line separators, and how Python represents bytes that are not UTF-8.
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BYTE_ORDER_MARK = "\ufeff"


class CleanModel(BaseModel):
    """Model whose strings are stripped. Errors do not show values, which may be secrets."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Strip every string. What is empty then is not set, as if the variable were absent."""
        texts = {
            name: value.strip().strip(_BYTE_ORDER_MARK).strip()
            for name, value in values.items()
            if isinstance(value, str)
        }
        if wrong := [name.upper() for name, text in texts.items() if _NOT_TEXT.search(text)]:
            raise ValueError(f"{', '.join(wrong)}: contains a control character or bytes that are not UTF-8")
        return {name: value for name, value in (values | texts).items() if value != ""}


class NatsAddress(CleanModel):
    """Address of NATS and the user there."""

    nats_url: str = Field("nats://localhost:4222", description="NATS servers of one cluster, separated by commas")
    nats_user: str | None = Field(None, description="user name")
    nats_password: SecretStr | None = Field(None, description="password of `NATS_USER`")
    nats_creds: tls.ExistingFile | None = Field(None, description="file with NATS credentials (JWT and seed)")
    nats_tls_ca: tls.CaFile | None = Field(
        None,
        description="file with the CA that signed the server's certificate. "
        "With it, or with `tls://` in `NATS_URL`, no login is sent without TLS",
    )
    nats_tls_cert: tls.ExistingFile | None = Field(
        None, description="file with a certificate of ours, for a server that asks for one"
    )
    nats_tls_key: tls.ExistingFile | None = Field(None, description="file with the key of `NATS_TLS_CERT`")

    @field_validator("nats_url")
    @classmethod
    def _check_servers(cls, text: str) -> str:
        """Check the URLs, and complete those without a scheme."""
        return urls.check_nats_servers(text)

    @model_validator(mode="after")
    def _login_is_complete(self) -> Self:
        check_both_or_neither(self, "nats_user", "nats_password")
        check_both_or_neither(self, "nats_tls_cert", "nats_tls_key")
        if self.nats_tls_cert is not None and self.nats_tls_key is not None:
            tls.check_pair(self.nats_tls_cert, self.nats_tls_key)
        return self

    def reread(self) -> Self:
        """Return the address for the next login. The files that it names are read at each."""
        return self


class Login(TypedDict, total=False):
    """Login of an application at `keda_jobs.client.connect`, as the variables `NATS_USER` and so on."""

    user: str
    password: str | Path
    """Password, or a file that holds it. Files are read at each login, so they may be replaced."""
    creds: str | Path
    tls_ca: str | Path
    tls_cert: str | Path
    tls_key: str | Path
    name: str
    """Name of the application, as NATS lists its connections."""


class _GivenAddress(NatsAddress, extra="forbid"):
    _password_file: Path | None = PrivateAttr(None)

    def reread(self) -> Self:
        if self._password_file is None:
            return self
        return self.model_copy(update={"nats_password": SecretStr(_read_password(self._password_file))})


def nats_address(url: str, login: Login) -> NatsAddress:
    """Check the arguments of an application. Raises `Misconfigured`."""
    fields: dict[str, Any] = {"nats_url": url} | {f"nats_{key}": value for key, value in login.items() if key != "name"}
    password = fields.get("nats_password")
    try:
        if isinstance(password, Path):
            fields["nats_password"] = _read_password(password)
        address = _GivenAddress.model_validate(fields)
    except OSError as error:
        raise Misconfigured(f"password: {password} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise Misconfigured(format_reasons(error)) from error
    address._password_file = password if isinstance(password, Path) else None  # noqa: SLF001
    return address


def _read_password(file: Path) -> str:
    return file.read_text(errors="backslashreplace").strip()


def check_both_or_neither(model: BaseModel, one: str, other: str) -> None:
    """Raise `ValueError` where only one of two fields is set."""
    is_set = {name.upper(): getattr(model, name) is not None for name in (one, other)}
    if len(set(is_set.values())) > 1:
        absent, given = sorted(is_set, key=is_set.__getitem__)
        raise ValueError(f"{absent} is not set, but {given} is")


def format_reasons(error: ValidationError) -> str:
    """Format as one line what is wrong with each variable."""
    return "; ".join(_reason(detail) for detail in error.errors(include_url=False, include_input=False))


def _reason(detail: ErrorDetails) -> str:
    name = ".".join(map(str, detail["loc"])).upper()
    if detail["type"] == "missing":
        return f"{name} is not set"
    text = detail["msg"].removeprefix("Value error, ")
    return f"{name}: {text}" if name else text
