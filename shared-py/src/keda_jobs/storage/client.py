"""S3 client: what it reads, sends and waits for."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keda_jobs.settings import StoreSettings
from keda_jobs.storage.identity import use_pod_identity

if TYPE_CHECKING:
    import aioboto3
    from aiobotocore.config import AioConfig
    from types_aiobotocore_s3 import S3Client

# aioboto3 takes half a second of CPU to import. The CLI and the worker processes of `cpu` import this folder without
# ever opening a bucket, so the functions that need aioboto3 import it.


@dataclass(frozen=True, slots=True)
class S3Timeouts:
    """Limits of one operation in seconds: to connect, between two answers, in all. And the number of attempts."""

    connect_s: float = 5.0
    read_s: float = 20.0
    total_s: float = 60.0
    attempts: int = 4


USUAL_TIMEOUTS = S3Timeouts()


def open_session(settings: StoreSettings) -> aioboto3.Session:
    """Create a session that reads nothing but `settings`.

    By default it reads `AWS_*`, `~/.aws` and a cloud's metadata service. A stray profile would stop the job, and a
    stray key would write to another account.
    """
    import aioboto3
    from aiobotocore.session import AioSession

    variables = {
        name: (None, None, default, convert) for name, (_, _, default, convert) in AioSession.SESSION_VARIABLES.items()
    }
    ca = None if settings.aws_ca_bundle is None else str(settings.aws_ca_bundle)
    given = {"region": settings.r2_region, "ca_bundle": ca, "config_file": os.devnull, "credentials_file": os.devnull}
    session = AioSession(variables | {name: (None, None, value, None) for name, value in given.items()})
    # Nobody reads the dates of an answer. dateutil takes a fifth of a get's CPU time to guess their format.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    if keys := _keys(settings):
        session.set_credentials(*keys)
    else:
        use_pod_identity(session)
    return aioboto3.Session(botocore_session=session)


async def renew_keys(session: aioboto3.Session, settings: StoreSettings) -> None:
    """Let clients of `session` sign with today's keys. Those of the pod's identity are renewed without this."""
    keys = _keys(settings.reread())
    if keys and _keys(settings):
        untyped: Any = session  # its stubs are those of boto3, where this is no coroutine
        credentials = await untyped.get_credentials()
        credentials.access_key, credentials.secret_key = keys


def _keys(settings: StoreSettings) -> tuple[str, str] | None:
    if settings.r2_access_key_id is None or settings.r2_secret_access_key is None:
        return None
    return settings.r2_access_key_id, settings.r2_secret_access_key.get_secret_value()


def client_config(endpoint: str, connections: int, timeouts: S3Timeouts) -> AioConfig:
    """Build the configuration of a client that R2 understands too."""
    from aiobotocore.config import AioConfig

    from keda_jobs.storage.connections import HostCheckingConnections

    return AioConfig(
        http_session_cls=HostCheckingConnections,
        # R2 refuses the checksums that the client sends since botocore 1.36 (HTTP 501).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        # Under TLS a second hash of the body adds no protection and takes a third of a put's CPU time.
        s3={"addressing_style": "path", "payload_signing_enabled": endpoint.startswith("http:")},
        connect_timeout=timeouts.connect_s,
        read_timeout=timeouts.read_s,
        # The bucket repeats an attempt itself, after it has asked whose failure it was.
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=connections,
        # The client builds its own twice for each request.
        user_agent="keda-jobs",
    )


def send_bodies_unchanged(client: S3Client) -> None:
    """Let `client` send each body as it is, at once."""
    # By default each body is copied into a BytesIO, and each put waits a round trip for "100 Continue".
    from botocore.handlers import add_expect_header, convert_body_to_file_like_object

    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.unregister("before-parameter-build.s3.PutObject", convert_body_to_file_like_object)


def resolve_endpoint_once(client: S3Client) -> None:
    """Let `client` find out once where requests for objects go."""
    # The key is a parameter of the rules, but decides nothing. With it the cache of their result never hits.
    for operation in ("GetObject", "PutObject"):
        parameters = client.meta.service_model.operation_model(operation).context_parameters
        parameters[:] = [parameter for parameter in parameters if parameter.name != "Key"]


class Chunks(io.RawIOBase):
    """Reader of `data` that makes no copy. aiohttp warns about a body over 1 MiB in one piece."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._view = memoryview(data)
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, and return how many bytes were left for it."""
        piece = self._view[self._position : self._position + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset`, so that an attempt can be repeated."""
        self._position = offset + (0, self._position, len(self._view))[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position
