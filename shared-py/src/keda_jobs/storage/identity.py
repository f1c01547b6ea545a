"""Credentials of the pod's identity, for a store without keys: a role of its ServiceAccount, or EKS Pod Identity."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from keda_jobs.settings import POD_IDENTITY

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

_WEB_IDENTITY, _AGENT = POD_IDENTITY


class NoPodIdentity(Exception):
    """The pod's identity gives no credentials now."""


class PodIdentity:
    """Provider of credentials that asks for them at the first request. Then a refusal is trouble of the store."""

    METHOD = "pod-identity"

    def __init__(self, session: AioSession) -> None:
        self._session = session

    async def load(self) -> Any:
        """Return credentials that are renewed before they expire."""
        from aiobotocore.credentials import AioDeferredRefreshableCredentials

        return AioDeferredRefreshableCredentials(refresh_using=self._fetch, method=self.METHOD)

    async def _fetch(self) -> dict[str, str]:
        """Fetch new credentials, named as botocore names them. Raises `NoPodIdentity`."""
        try:
            return await (self._assume_role() if os.environ.get(_WEB_IDENTITY) else self._ask_agent())
        except Exception as error:
            raise NoPodIdentity(str(error)) from error

    async def _assume_role(self) -> dict[str, str]:
        from aiobotocore.credentials import AioAssumeRoleWithWebIdentityCredentialFetcher
        from botocore.utils import FileWebIdentityTokenLoader

        fetcher = AioAssumeRoleWithWebIdentityCredentialFetcher(
            client_creator=self._token_service,
            web_identity_token_loader=FileWebIdentityTokenLoader(os.environ[_WEB_IDENTITY]),
            role_arn=os.environ["AWS_ROLE_ARN"],
            cache={},
        )
        found: dict[str, str] = await fetcher.fetch_credentials()
        return found

    def _token_service(self, name: Literal["sts"], *, config: Any) -> Any:
        from keda_jobs.storage.connections import HostCheckingConnections

        config.http_session_cls = HostCheckingConnections  # the stubs do not know it
        return self._session.create_client(name, config=config)

    async def _ask_agent(self) -> dict[str, str]:
        from aiobotocore.utils import AioContainerMetadataFetcher
        from botocore.utils import FileWebIdentityTokenLoader

        token = FileWebIdentityTokenLoader(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])().strip()
        # The stubs take the answer for text.
        fetcher: Any = AioContainerMetadataFetcher()
        answer = await fetcher.retrieve_full_uri(os.environ[_AGENT], headers={"Authorization": token})
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["Token"],
            "expiry_time": answer["Expiration"],
        }


def use_pod_identity(session: AioSession) -> None:
    """Let `session` log in as the pod: not with a key in the environment, and not as the node it runs on."""
    session.get_component("credential_provider").providers = [PodIdentity(session)]
