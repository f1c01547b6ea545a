"""E-mail addresses in normal form, with their domain and its country.

An address is one that a mail provider gives to people: no quoted local part, no comment, no IP address as the domain.
"""

from __future__ import annotations

import re
from functools import lru_cache

from users_batch.country import country_of
from users_batch.errors import InvalidUser

# RFC 5321: 64 characters before the @, and 256 for an address in its brackets.
_LONGEST, _LONGEST_LOCAL, _LONGEST_DOMAIN, _LONGEST_LABEL = 254, 64, 255, 63
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_WHITESPACE = re.compile(r"\s")
# IDNA 2003, which Python has, replaces or drops these letters. IDNA 2008 keeps them, which gives another domain.
_AMBIGUOUS = re.compile("[ßẞς\u200c\u200d]")

# Most addresses are at one of a few thousand domains.
_CACHED_DOMAINS = 16_384

Place = tuple[str, str | None]


def normal_address(entered: str | None) -> tuple[str, str, str | None]:
    """Return the address in lower case, its domain, and the domain's country or None. Raises `InvalidUser`.

    The local part is lower-cased too: no notable provider distinguishes its case. A domain with letters outside
    ASCII is returned in its DNS form (`xn--…`).
    """
    address = entered.strip() if entered else ""
    address = address.lower() if address.isascii() else _encode_domain(address)
    local, _, domain = address.partition("@")
    place = _place(domain)
    if place is None or len(address) > _LONGEST or len(local) > _LONGEST_LOCAL or not _LOCAL.fullmatch(local):
        raise InvalidUser(f"email: {_fault(address)}")
    return address, *place


@lru_cache(_CACHED_DOMAINS)
def _place(domain: str) -> Place | None:
    return (domain, country_of(domain)) if _DOMAIN.fullmatch(domain) else None


def _encode_domain(address: str) -> str:
    """Encode the domain for the DNS. Return `address` unchanged when that is impossible."""
    local, _, domain = address.partition("@")
    if not local.isascii() or len(domain) > _LONGEST_DOMAIN or _AMBIGUOUS.search(domain):
        return address
    try:
        return f"{local}@{domain.encode('idna').decode()}".lower()
    except UnicodeError:
        return address


def _fault(address: str) -> str:
    """Return what is wrong with an invalid address."""
    local, at, domain = address.partition("@")
    atoms, labels = local.split("."), domain.split(".")
    faults = (
        ("missing", not address),
        ("whitespace inside", _WHITESPACE.search(address)),
        ("no @", not at),
        ("more than one @", "@" in domain),
        ("nothing before the @", not local),
        (f"over {_LONGEST_LOCAL} characters before the @", len(local) > _LONGEST_LOCAL),
        ("leading, trailing or double dot before the @", not all(atoms)),
        ("illegal character before the @", not _LOCAL.fullmatch(local)),
        ("nothing after the @", not domain),
        (f"over {_LONGEST_DOMAIN} characters after the @", len(domain) > _LONGEST_DOMAIN),
        ("leading, trailing or double dot after the @", not all(labels)),
        ("no dot after the @", len(labels) == 1),
        (f"over {_LONGEST_LABEL} characters between two dots", any(len(label) > _LONGEST_LABEL for label in labels)),
        ("leading or trailing hyphen between two dots", any(label != label.strip("-") for label in labels)),
        ("a number as the top-level domain", labels[-1].isdecimal()),
        (f"over {_LONGEST} characters", _DOMAIN.fullmatch(domain)),
    )
    return next((text for text, applies in faults if applies), "illegal character after the @")
