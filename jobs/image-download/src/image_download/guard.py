"""Guard that decides which addresses a download may connect to.

It creates the sockets of the HTTP client, so it sees every final address: literals in any notation, DNS answers and
redirects. A guard in the resolver would miss literals. A guard of the URL would miss DNS rebinding.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import AddrInfoType

from keda_jobs import Permanent

Endpoint = tuple[IPv4Address | IPv6Address, int]

_PORTS = frozenset({80, 443})

# The IANA special-purpose registries, in full: `ipaddress` knows only some, and which ones changes with patch releases.
_DENIED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and metadata services inside it
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform address
        "169.254.0.0/16",  # link-local, and most clouds' metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Everything outside 2000::/3 is loopback, local, multicast, translated IPv4 or unassigned.
_GLOBAL_V6 = IPv6Network("2000::/3")
_DENIED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, which carries IPv4, and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4, which carries IPv4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


@dataclass(slots=True)
class Dials:
    """What a guard decided about the connections of one request."""

    refusals: list[str] = field(default_factory=list)
    """Reasons for which connections were refused."""
    allowed: int = 0


_dials: ContextVar[Dials] = ContextVar("dials")


class ForbiddenAddress(Permanent):
    """The URL leads to an address or a port that downloads may not connect to."""


class Guard:
    """Factory of sockets for public addresses on ports 80 and 443, and for the allowed endpoints."""

    def __init__(self, allowed: Collection[Endpoint] = frozenset()) -> None:
        self._allowed = allowed

    def socket(self, info: AddrInfoType) -> socket.socket:
        """Create the socket for one connection. Call it inside `observed_dials()`. Raises `OSError` when refused."""
        family, kind, proto, _, address = info
        dials = _dials.get()
        reason = self.refusal(str(address[0]), address[1])
        if reason is not None:
            dials.refusals.append(reason)
            raise OSError(errno.EACCES, reason)
        dials.allowed += 1
        return socket.socket(family, kind, proto)

    def refusal(self, host: str, port: int) -> str | None:
        """Return why `host` (an IP address as text) is refused on `port`, or None when it is allowed."""
        try:
            address = ip_address(host)
        except ValueError:
            return f"{host!a} is not an IP address"
        if (address, port) in self._allowed:
            return None
        if not is_public(address):
            return f"{address} is not a public address"
        return None if port in _PORTS else f"port {port} is neither 80 nor 443"


@contextmanager
def observed_dials() -> Iterator[Dials]:
    """Collect what a guard decides in this task and in those it starts.

    The HTTP client tries a host's addresses in parallel and merges their errors into one `OSError`, which hides
    whether the guard or the network failed.
    """
    dials = Dials()
    token = _dials.set(dials)
    try:
        yield dials
    finally:
        _dials.reset(token)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether `address`, and the IPv4 address it may carry, belongs to the public internet."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.scope_id is None and is_public(address.ipv4_mapped)
        denied = address.scope_id is not None or address not in _GLOBAL_V6 or any(address in net for net in _DENIED_V6)
    else:
        denied = any(address in network for network in _DENIED_V4)
    return address.is_global and not address.is_multicast and not denied


def parse_endpoints(text: str) -> frozenset[Endpoint]:
    """Parse comma-separated `IP:port` pairs, with IPv6 as `[::1]:80`. Raises `ValueError`."""
    return frozenset(_endpoint(pair.strip()) for pair in text.split(",") if pair.strip())


def _endpoint(pair: str) -> Endpoint:
    host, _, port = pair.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError(f"{pair!r} is not an IP:port pair") from None
    if bracketed != (address.version == 6) or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{pair!r} is not an IP:port pair (write IPv6 as [::1]:80)")
    return address, int(port)
