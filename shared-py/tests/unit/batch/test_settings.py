"""Settings of a worker: what is taken, and what is refused by its name."""

from __future__ import annotations

import socket

import pytest

from keda_jobs.batch import BatchSettings
from keda_jobs.errors import Misconfigured
from keda_jobs.settings import load_settings

WRONG = {
    "PG_DSN": ["", "mysql://localhost/users", "localhost"],
    "CLAIM_SIZE": ["0", "many", "1000001"],
    "WORKERS": ["0", "1.5"],
    "CLAIM_TIMEOUT_S": ["0", "30m"],
    "SHUTDOWN_GRACE_S": ["-1"],
    "MAX_ATTEMPTS": ["0"],
    "LEASE_S": ["0.5", "soon"],
    "RETRY_STEP_S": ["0"],
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove every variable but the one that has no default."""
    for name in BatchSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("PG_DSN", "postgresql://localhost/users")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=name):
        load_settings(BatchSettings)


def test_only_the_database_has_no_default() -> None:
    settings = load_settings(BatchSettings)
    assert (settings.claim_size, settings.workers, settings.max_attempts) == (20_000, 8, 3)
    assert (settings.claim_timeout_s, settings.shutdown_grace_s) == (30, 30)
    assert (settings.lease_s, settings.retry_step_s) == (60, 60)
    assert settings.pod_name == socket.gethostname()


@pytest.mark.parametrize("written", ["45", "45s", "45.0 s"])
@pytest.mark.parametrize("name", ["CLAIM_TIMEOUT_S", "SHUTDOWN_GRACE_S", "LEASE_S", "RETRY_STEP_S"])
def test_durations_are_seconds_with_or_without_their_unit(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    monkeypatch.setenv(name, written)
    assert getattr(load_settings(BatchSettings), name.lower()) == 45
