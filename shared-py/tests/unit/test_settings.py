"""Settings come from the environment, a wrong one is one line, and a secret is never shown."""

import pytest

from keda_jobs.errors import Misconfigured
from keda_jobs.settings import JobSettings, StoreSettings, format_settings, load_settings


class Settings(JobSettings, StoreSettings):
    pass


STORE = {
    "R2_ENDPOINT_URL": "http://localhost:9000",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "hush-hush",
    "R2_BUCKET": "pictures",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in STORE.items():
        monkeypatch.setenv(name, value)


def test_defaults_are_those_of_the_contract() -> None:
    settings = load_settings(Settings)
    assert (settings.concurrency, settings.handler_timeout_s, settings.shutdown_grace_s) == (8, 120, 30)
    assert (settings.retry_max_deliveries, settings.retry_step_s, settings.http_port) == (15, 2460, 8080)
    assert settings.nats_url == "nats://localhost:4222"


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("30s", 30), (" 1.5 s ", 1.5)])
def test_durations_are_read_with_and_without_unit(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    monkeypatch.setenv("RETRY_STEP_S", text)
    assert load_settings(Settings).retry_step_s == seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONCURRENCY", "many"),
        ("CONCURRENCY", "0"),
        ("RETRY_STEP_S", "5m"),
        ("RETRY_STEP_S", "inf"),
        ("RETRY_STEP_S", "nan"),
        ("RETRY_STEP_S", "1e300"),
        ("RETRY_MAX_DELIVERIES", "10001"),
        ("HANDLER_TIMEOUT_S", "inf"),
        ("HTTP_PORT", "99999"),
        ("LOG_LEVEL", "loud"),
        ("R2_ENDPOINT_URL", "localhost"),
        ("NATS_CREDS", "/no/such/file"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as caught:
        load_settings(Settings)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("R2_BUCKET")
    with pytest.raises(Misconfigured, match="R2_BUCKET"):
        load_settings(Settings)


def test_the_account_stands_for_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("R2_ENDPOINT_URL")
    with pytest.raises(Misconfigured, match="R2_ENDPOINT_URL"):
        load_settings(Settings)
    monkeypatch.setenv("R2_ACCOUNT_ID", "abc123")
    assert load_settings(Settings).endpoint_url == "https://abc123.r2.cloudflarestorage.com"


def test_secrets_are_masked_where_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://me:secret@nats:4222,nats://me:secret@nats2:4222")
    monkeypatch.setenv("NATS_PASSWORD", "secret")
    line = format_settings(load_settings(Settings))
    assert "secret@" not in line
    assert "hush" not in line
    assert "NATS_URL=nats://***@nats:4222,nats://***@nats2:4222" in line
