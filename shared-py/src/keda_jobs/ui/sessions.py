"""Sessions of viewers, in signed cookies: the server keeps none."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import asdict, dataclass

LASTS_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Session:
    """Session of one viewer. `who` is the name for the log, which the viewer has typed."""

    id: str
    who: str
    ends_at: float


class Sessions:
    """Sessions of one process. They end after twelve hours, and with the process, which has the key."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # Cookies do not know ports. The pages of two environments on localhost would take each other's.
        self.cookie = f"keda-jobs-ui-{secrets.token_hex(4)}"

    def open(self, who: str) -> Session:
        """Open a session."""
        return Session(secrets.token_hex(16), who, time.time() + LASTS_S)

    def seal(self, session: Session) -> str:
        """Return the value of the session's cookie."""
        body = base64.urlsafe_b64encode(json.dumps(asdict(session)).encode()).decode()
        return f"{body}.{self._sign(body)}"

    def find(self, cookie: str) -> Session | None:
        """Return the session of a cookie, None where it is not ours or over."""
        body, _, signature = cookie.partition(".")
        if not _is_same(signature, self._sign(body)):
            return None
        session = Session(**json.loads(base64.urlsafe_b64decode(body)))
        return session if session.ends_at > time.time() else None

    def form_key(self, session: Session) -> str:
        """Return the secret that each form of the session carries. Another site cannot read it."""
        return self._sign(f"form:{session.id}")

    def is_form_key(self, session: Session, key: str) -> bool:
        """Return whether a form with this key is the session's own."""
        return _is_same(key, self.form_key(session))

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(errors="replace"), hashlib.sha256).hexdigest()


def is_token(token: str, typed: str) -> bool:
    """Return whether the viewer has typed the token."""
    return _is_same(typed, token)


def _is_same(one: str, other: str) -> bool:
    """Compare secrets in a time that says nothing about them."""
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
