"""Login to a store: its private authority, and the pod's identity in place of keys."""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from keda_jobs.errors import Misconfigured, StoreUnavailable
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.settings import StoreSettings, load_settings
from keda_jobs.storage import S3Bucket, S3Timeouts
from stack import Authority, Certificate, S3Server, free_port
from stack.ports import HOST
from stack.servers import ACCESS_KEY, SECRET_KEY

UNCOUNTED = StoreMetrics(JobRegistry("pictures"))
ONCE = S3Timeouts(attempts=1)
TOKEN = "token-of-the-session"
PROOF = "proof-of-the-pod"
REGION = {"r2_region": "eu-central-1"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what the machine says about stores, and put in a stray key."""
    for name in os.environ:
        if name.startswith(("AWS_", "R2_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stray")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stray")


@asynccontextmanager
async def bucket_of(server: S3Server, **changes: object) -> AsyncIterator[S3Bucket]:
    values = {name.lower(): value for name, value in server.environment().items()}
    settings = load_settings(StoreSettings, **values | changes)
    async with S3Bucket(settings, connections=2, metrics=UNCOUNTED, timeouts=ONCE) as bucket:
        yield bucket


class EncryptedS3Server(S3Server):
    """S3 server with a certificate."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        super().__init__(folder)
        self._certificate = certificate

    @property
    def url(self) -> str:
        return super().url.replace("http:", "https:")

    def command(self) -> list[str]:
        files = self._certificate.certificate, self._certificate.key
        return [*super().command(), f"--cert={files[0]}", f"--key={files[1]}"]

    def answers(self) -> bool:
        try:
            ssl.get_server_certificate(("127.0.0.1", self.port))
        except OSError:
            return False
        return True


@pytest.fixture
def encrypted(certificate: Certificate, tmp_path: Path) -> Iterator[S3Server]:
    server = EncryptedS3Server(tmp_path / "encrypted", certificate)
    server.start()
    yield server
    server.kill()


async def test_a_store_of_a_private_authority(encrypted: S3Server, authority: Authority, stranger: Authority) -> None:
    async with bucket_of(encrypted, aws_ca_bundle=f"{authority.ca}\n") as bucket:
        await bucket.put("images/a.jpg", b"picture", content_type="image/jpeg")
        assert await bucket.get("images/a.jpg") == b"picture"
    for unknown in ({}, {"aws_ca_bundle": stranger.ca}):
        async with bucket_of(encrypted, **unknown) as bucket:
            with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await bucket.check()


@pytest.mark.parametrize(
    ("host", "days", "reason"),
    [("DNS:s3.example", 2, "IP address mismatch"), (f"IP:{HOST}", -1, "certificate has expired")],
)
async def test_a_store_with_a_certificate_for_another_host_or_of_the_past(
    authority: Authority, tmp_path: Path, host: str, days: int, reason: str
) -> None:
    server = EncryptedS3Server(tmp_path / "other", authority.issue("other", host, days=days, folder=tmp_path))
    server.start()
    try:
        async with bucket_of(server, aws_ca_bundle=str(authority.ca)) as bucket:
            with pytest.raises(StoreUnavailable, match=reason):
                await bucket.check()
    finally:
        server.kill()


@pytest.mark.parametrize("file", ["/no/such/file", __file__])
async def test_a_file_without_an_authority_is_one_line(s3_server: S3Server, file: str) -> None:
    with pytest.raises(Misconfigured, match=r"^AWS_CA_BUNDLE: [^\n]+$"):
        async with bucket_of(s3_server, aws_ca_bundle=file):
            pass


class Identity:
    """Stand-in for the agent of EKS Pod Identity and for AWS's token service. It gives the keys of the S3 server."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.life = datetime.timedelta(hours=1)
        self.calls = 0
        self.status = 200

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.add_routes([web.get("/v1/credentials", self._agent), web.post("/", self._token_service)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(self.url.rpartition(":")[2])).start()
        try:
            yield
        finally:
            await runner.cleanup()

    def _expires(self) -> str:
        self.calls += 1
        return (datetime.datetime.now(datetime.UTC) + self.life).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def _agent(self, request: web.Request) -> web.Response:
        if self.status != 200 or request.headers["Authorization"] != PROOF:
            return web.Response(status=self.status if self.status != 200 else 403, text="no")
        keys = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": TOKEN}
        return web.json_response(keys | {"Expiration": self._expires()})

    async def _token_service(self, request: web.Request) -> web.Response:
        asked = await request.post()
        if self.status != 200 or asked["WebIdentityToken"] != PROOF:
            refusal = _xml("Error", _xml("Code", "AccessDenied") + _xml("Message", "Not authorized"))
            return web.Response(status=403, text=_xml("ErrorResponse", refusal), content_type="text/xml")
        keys = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "SessionToken": TOKEN}
        found = "".join(_xml(name, text) for name, text in (keys | {"Expiration": self._expires()}).items())
        result = _xml("AssumeRoleWithWebIdentityResult", _xml("Credentials", found))
        return web.Response(text=_xml("AssumeRoleWithWebIdentityResponse", result), content_type="text/xml")


def _xml(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"


@pytest.fixture(params=["role of the ServiceAccount", "EKS Pod Identity"])
async def identity(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Identity:
    identity = Identity()
    (tmp_path / "token").write_text(f"{PROOF}\n" if request.param == "EKS Pod Identity" else PROOF)
    if request.param == "EKS Pod Identity":
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{identity.url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    else:
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pictures")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", identity.url)
    return identity


WITHOUT_KEYS = {"r2_access_key_id": "", "r2_secret_access_key": ""}


async def test_a_pod_with_an_identity_needs_no_keys(s3_server: S3Server, identity: Identity) -> None:
    async with identity.running(), bucket_of(s3_server, **WITHOUT_KEYS, **REGION) as bucket:
        await bucket.check()
        await bucket.put("images/a.jpg", b"picture", content_type="image/jpeg")
        assert await bucket.get("images/a.jpg") == b"picture"
        assert identity.calls == 1


async def test_credentials_that_expire_soon_are_renewed(s3_server: S3Server, identity: Identity) -> None:
    identity.life = datetime.timedelta(minutes=5)  # botocore renews what has less than ten
    async with identity.running(), bucket_of(s3_server, **WITHOUT_KEYS, **REGION) as bucket:
        for _ in range(2):
            await bucket.check()
        assert identity.calls >= 2


async def test_an_identity_that_is_away_or_refused_is_trouble_of_the_store_until_it_is_there(
    s3_server: S3Server, identity: Identity
) -> None:
    async with bucket_of(s3_server, **WITHOUT_KEYS, **REGION) as bucket:
        with pytest.raises(StoreUnavailable, match="because the pod's identity gives no credentials"):
            await bucket.check()
        async with identity.running():
            identity.status = 403
            with pytest.raises(StoreUnavailable, match="check the role of the ServiceAccount"):
                await bucket.check()
            identity.status = 200
            await bucket.check()


async def test_without_keys_and_identity_nothing_starts(s3_server: S3Server) -> None:
    with pytest.raises(
        Misconfigured,
        match=r"R2_ACCESS_KEY_ID: not set, and this pod has no identity .*; set it and R2_SECRET_ACCESS_KEY",
    ):
        async with bucket_of(s3_server, **WITHOUT_KEYS, **REGION):
            pass


async def test_an_identity_needs_a_region(s3_server: S3Server, identity: Identity) -> None:
    with pytest.raises(Misconfigured, match="R2_REGION is not set, which the pod's identity needs"):
        async with bucket_of(s3_server, **WITHOUT_KEYS):
            pass


async def test_requests_are_signed_for_the_region(s3_server: S3Server) -> None:
    async with bucket_of(s3_server, **REGION) as bucket:
        await bucket.check()
