"""Connections of aiobotocore that check that a server's certificate names its host."""

from __future__ import annotations

import ssl

from aiobotocore.httpsession import AIOHTTPSession


class HostCheckingConnections(AIOHTTPSession):
    """Connections to the host that is in the certificate, and to no other.

    aiobotocore takes the context of botocore, which leaves this check to urllib3. Its own connections are aiohttp's, so
    any certificate of a known authority would do.
    """

    def _get_ssl_context(self) -> ssl.SSLContext:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
