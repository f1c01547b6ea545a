"""Addresses that the guard allows and refuses, as a table."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_download.guard import Dials, Guard, is_public, observed_dials, parse_endpoints

FORBIDDEN = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.1.2.3", "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1",
    "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1",
    "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "2620:4f:8000::1", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "8000::1",
    "::ffff:8.8.8.8%1", "2606:4700::1%eth0",
]  # fmt: skip

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "93.184.216.34", "100.63.255.255", "100.128.0.1",
    "126.255.255.255", "128.0.0.1", "168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.1", "192.0.1.1",
    "192.167.255.255", "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111",
    "2a00:1450:4001::200e", "2001:4860:4860::8888", "::ffff:8.8.8.8",
]  # fmt: skip

NO_ADDRESS = [
    "localhost", "0x7f000001", "2130706433", "0177.0.0.1", "127.1", "①②⑦.⓪.⓪.①", "8.8.8.8 ", "", "example.com",
]  # fmt: skip


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_special_address_is_refused_on_the_web_ports(host: str) -> None:
    assert Guard().refusal(host, 80) == f"{formatted_host(host)} is not a public address"
    assert Guard().refusal(host, 443) is not None


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_is_allowed_on_the_web_ports_only(host: str) -> None:
    assert Guard().refusal(host, 80) is None
    assert Guard().refusal(host, 443) is None
    assert Guard().refusal(host, 22) == "port 22 is neither 80 nor 443"


@pytest.mark.parametrize("host", NO_ADDRESS)
def test_a_host_that_is_not_a_plain_address_is_refused(host: str) -> None:
    assert "is not an IP address" in (Guard().refusal(host, 80) or "")


@given(st.ip_addresses(v=4))
def test_a_private_address_stays_forbidden_inside_every_ipv6_form(address: IPv4Address) -> None:
    assert is_public(IPv6Address(0xFFFF << 32 | int(address))) is is_public(address)
    assert not is_public(IPv6Address(int(address)))
    assert not is_public(IPv6Address(0x64FF9B << 96 | int(address)))
    assert not is_public(IPv6Address(0x2002 << 112 | int(address) << 80))
    assert not is_public(IPv6Address(0x20010000 << 96 | int(address)))


@given(st.ip_addresses())
def test_the_guard_is_at_least_as_strict_as_the_standard_library(address: IPv4Address | IPv6Address) -> None:
    assert not is_public(address) or (address.is_global and not address.is_private and not address.is_multicast)


@pytest.mark.parametrize(
    "network", ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10", "2002::/16"]
)
@given(data=st.data())
def test_every_address_of_a_local_network_is_forbidden(network: str, data: st.DataObject) -> None:
    assert not is_public(data.draw(st.ip_addresses(network=network)))


def test_an_allowed_endpoint_is_one_address_on_one_port_in_no_other_form() -> None:
    guard = Guard(parse_endpoints("127.0.0.1:8080, [::1]:80"))
    assert guard.refusal("127.0.0.1", 8080) is None
    assert guard.refusal("::1", 80) is None
    for host, port in [("127.0.0.1", 80), ("127.0.0.2", 8080), ("::1", 8080), ("::ffff:127.0.0.1", 8080)]:
        assert guard.refusal(host, port) is not None


def test_a_refused_connection_gets_no_socket_and_is_recorded() -> None:
    with observed_dials() as dials, pytest.raises(OSError, match="not a public address"):
        Guard().socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    assert dials == Dials(refusals=["127.0.0.1 is not a public address"], allowed=0)


def test_an_allowed_connection_gets_a_socket_and_is_counted() -> None:
    with observed_dials() as dials, Guard().socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))):
        pass  # a socket that connects to nothing
    assert dials == Dials(allowed=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "8.8.8.8"])
def test_outside_a_fetch_the_guard_fails_closed(host: str) -> None:
    with pytest.raises(LookupError):
        Guard().socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)))


@pytest.mark.parametrize("text", ["", " ", ","])
def test_no_endpoint_is_allowed_by_default(text: str) -> None:
    assert parse_endpoints(text) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:\uff180",
        "localhost:80", "::1:80", "[::1]", "[127.0.0.1]:80", "10.0.0.0/8:80", "*:80", "127.0.0.1:80;127.0.0.1:81",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_not_exact_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IP:port pair"):
        parse_endpoints(text)


def formatted_host(host: str) -> str:
    return str(IPv6Address(host)) if ":" in host else host
