"""Settings come from the environment, a wrong one is one line, and a secret is never shown."""

import traceback
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keda_jobs.errors import Misconfigured
from keda_jobs.settings import JobSettings, PgSettings, StoreSettings, format_settings, load_settings


class Settings(JobSettings, StoreSettings):
    pass


class DatabaseToo(Settings, PgSettings):
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
        ("NATS_CREDS", "/"),
        ("NATS_CREDS", "eyJhush" * 100),
        ("NATS_CREDS", "hush"),
        ("R2_BUCKET", "my bucket"),
        ("NATS_TLS_CA", "/"),
        ("NATS_TLS_CA", "/no/such/file"),
        ("NATS_TLS_CA", __file__),
        ("NATS_USER", "alone"),
        ("NATS_PASSWORD", "alone"),
        ("R2_ENDPOINT_URL", "https://"),
        ("R2_ENDPOINT_URL", "http://[::1"),
        ("R2_ENDPOINT_URL", "https://me:hush@store"),
        ("R2_ENDPOINT_URL", "https://store?x"),
        ("R2_ENDPOINT_URL", "https://store/bucket#x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:99999"),
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
    monkeypatch.setenv("NATS_USER", "me")
    monkeypatch.setenv("NATS_PASSWORD", "secret")
    line = format_settings(load_settings(Settings))
    assert "secret@" not in line
    assert "hush" not in line
    assert "NATS_URL=nats://***@nats:4222,nats://***@nats2:4222" in line


@pytest.mark.parametrize(
    "url",
    [
        "nats://[::1",
        "nats://",
        "nats://:4222",
        "nats:/host",
        "http://host:4222",
        "nats://host:99999",
        "nats://host:0",
        "nats://host:port",
        "nats://my host",
        "nats://a..b",
        f"nats://{'a' * 64}",
        ",",
        "nats://a,http://b",
        "nats://a,ws://b",
        "nats://a:b@one,nats://c:d@two",
        '"nats://host"',
    ],
)
def test_a_wrong_address_of_nats_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("NATS_URL", url)
    with pytest.raises(Misconfigured, match=r"^NATS_URL: must [^\n]*$"):
        load_settings(Settings)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("host", "nats://host"),
        ("host:4222, other:4222,", "nats://host:4222,nats://other:4222"),
        ("tls://[::1]:4222", "tls://[::1]:4222"),
        ("wss://host/nats", "wss://host/nats"),
    ],
)
def test_addresses_of_nats_are_completed(monkeypatch: pytest.MonkeyPatch, written: str, read: str) -> None:
    monkeypatch.setenv("NATS_URL", written)
    assert load_settings(Settings).nats_url == read


TEXTS = {
    "NATS_URL": "nats://nats:4222",
    "NATS_USER": "me",
    "NATS_PASSWORD": "se cret",
    "R2_ENDPOINT_URL": "http://store:9000",
    "R2_ACCOUNT_ID": "abc",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "hush",
    "R2_BUCKET": "pictures",
    "PG_DSN": "postgresql://me:secret@db:5432/users",
    "RETRY_STEP_S": "60",
    "CONCURRENCY": "3",
    "LOG_LEVEL": "INFO",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
}


def with_texts(monkeypatch: pytest.MonkeyPatch, texts: dict[str, str]) -> DatabaseToo:
    for name, value in texts.items():
        monkeypatch.setenv(name, value)
    return load_settings(DatabaseToo)


@pytest.mark.parametrize("edge", ["\n", "\r\n", " ", "\t\n", "\ufeff", "\ufeff \n", "\xa0"])
def test_blanks_line_ends_and_byte_order_marks_around_a_value_are_dropped(
    monkeypatch: pytest.MonkeyPatch, edge: str
) -> None:
    plain = with_texts(monkeypatch, TEXTS)
    assert with_texts(monkeypatch, {name: f"{value}{edge}" for name, value in TEXTS.items()}) == plain
    assert with_texts(monkeypatch, {name: f"{edge}{value}" for name, value in TEXTS.items()}) == plain


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("bad", ["\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\udcff"])
def test_control_characters_and_bytes_that_are_no_text_are_refused_by_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, bad: str
) -> None:
    value = TEXTS[name]
    with pytest.raises(Misconfigured) as caught:
        with_texts(monkeypatch, TEXTS | {name: f"{value[:1]}{bad}{value[1:] or 'x'}"})
    assert str(caught.value) == f"{name}: contains a control character or bytes that are not UTF-8"


@pytest.mark.parametrize("empty", ["", " ", "\n", "\ufeff\n"])
@pytest.mark.parametrize("name", ["R2_SECRET_ACCESS_KEY", "R2_BUCKET", "NATS_PASSWORD", "NATS_USER", "PG_DSN"])
def test_an_empty_secret_is_not_set_and_that_is_said(monkeypatch: pytest.MonkeyPatch, name: str, empty: str) -> None:
    with pytest.raises(Misconfigured, match=f"{name} is not set"):
        with_texts(monkeypatch, TEXTS | {name: empty})


FRONT, BACK = "sesame", "opens"
PLACES = {
    "NATS_URL": [
        "nats://me:{}@nats:4222",
        "nats://{}@nats:4222",
        "me:{}@nats",
        "nats://nats,nats://me:{}@other",
        "tls://me:{0}@a,tls://me:{0}@b",
        "ws://me:{}@nats/path",
    ],
    "NATS_PASSWORD": ["{}"],
    "R2_SECRET_ACCESS_KEY": ["{}"],
    "R2_ENDPOINT_URL": ["https://me:{}@store"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": ["https://me:{}@collector:4318"],
    "PG_DSN": [
        "postgresql://me:{}@db:5432/users",
        "postgres://{}@db/users",
        "postgresql://db/users?user=me&password={}",
        "host=db password={} user=me",
        "{}",
    ],
}


@given(
    middle=st.text("@/:?#%&=,;[]\\ +1é'\"", min_size=1, max_size=4),
    place=st.sampled_from([(name, form) for name, forms in PLACES.items() for form in forms]),
)
@example(middle="@", place=("NATS_URL", "nats://me:{}@nats:4222"))
@example(middle="1,", place=("NATS_URL", "nats://me:{}@nats:4222"))
@example(middle="%40", place=("NATS_URL", "nats://nats,nats://me:{}@other"))
def test_no_part_of_a_password_is_shown_whether_it_is_accepted_or_refused(middle: str, place: tuple[str, str]) -> None:
    name, form = place
    secret = f"{FRONT}{middle}{BACK}"
    with pytest.MonkeyPatch.context() as monkeypatch:
        texts = {other: value for other, value in TEXTS.items() if name != "NATS_URL" or "NATS_" not in other}
        try:
            shown = format_settings(with_texts(monkeypatch, texts | {name: form.format(secret)}))
        except Misconfigured as error:
            shown = "".join(traceback.format_exception(error))
    assert FRONT not in shown
    assert BACK not in shown


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of files that settings are read from."""
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_what_the_environment_lacks_is_read_from_files_and_read_again(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_USER", "of-the-environment")
    for name in ("NATS_USER", "NATS_PASSWORD", "OF_NO_SETTING"):
        (secrets / name).write_text("first\n")
    settings = load_settings(JobSettings, concurrency=3)
    (secrets / "NATS_PASSWORD").write_text("second\n")
    again = settings.reread()
    assert [one.nats_password and one.nats_password.get_secret_value() for one in (settings, again)] == [
        "first",
        "second",
    ]
    assert (again.nats_user, again.concurrency) == ("of-the-environment", 3)


@pytest.mark.parametrize("wrong", [b"", b"\xff\xfe", b"with\x00control"])
def test_a_file_that_is_wrong_later_leaves_the_settings_as_they_are(secrets: Path, wrong: bytes) -> None:
    for name in ("NATS_USER", "NATS_PASSWORD"):
        (secrets / name).write_text("me")
    settings = load_settings(JobSettings)
    (secrets / "NATS_PASSWORD").write_bytes(wrong)
    assert settings.reread() is settings


def test_a_folder_that_is_not_mounted_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETS_DIR", "/nowhere")
    with pytest.raises(Misconfigured, match=r"^SECRETS_DIR: there is no folder /nowhere; mount the Secrets there$"):
        load_settings(JobSettings)
