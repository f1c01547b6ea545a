"""Rows of a chunk: believable, and the same for the same parameters on every machine.

Names and addresses are combined from lists. A row costs a few random bytes and one f-string. The lists are small on
purpose: while they fit the processor's cache, a row takes a third of the time.
"""

from __future__ import annotations

import functools
import random
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from users_seed.data_set import COLUMNS, Chunk, DataSet
from users_seed.people import COMPANY_KINDS, COMPANY_WORDS, COUNTRIES, Country

HEADER = (",".join(COLUMNS) + "\n").encode()

_BLOCK_ROWS = 10_000
_STARTS = 128  # a country
_LAST_NAMES = 64  # a country, as they are typed
_DOMAINS = 96  # a country
_SLOTS = 256  # one random byte picks one

_LETTERS = str.maketrans(
    {"ß": "ss", "ł": "l", "Ł": "l", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}
    | {"太": "ta", "郎": "ro", "花": "hana", "子": "ko"}
)


class Damage(NamedTuple):
    """Damage that makes a row invalid: the field and the change of its text."""

    field: str
    spoil: Callable[[str], str]


DAMAGES = (
    Damage("name", lambda _: ""),
    Damage("name", lambda _: '""'),
    Damage("name", lambda _: "   "),
    Damage("email", lambda _: ""),
    Damage("email", lambda _: '""'),
    Damage("email", lambda _: "n/a"),
    Damage("email", lambda email: email.replace("@", " at ")),
    Damage("email", lambda email: email.replace("@", "")),
    Damage("email", lambda email: email.replace("@", "@@")),
    Damage("email", lambda email: f"{email}@home"),
    Damage("email", lambda email: email.partition("@")[0] + "@"),
    Damage("email", lambda email: "@" + email.partition("@")[2]),
    Damage("email", lambda email: email.partition("@")[0] + "@gmail"),
    Damage("email", lambda email: f"{email[0]} {email[1:]}"),
    Damage("email", lambda email: email.replace("@", "@ ")),
    Damage("email", lambda email: "..".join(email.rsplit(".", 1))),
)


class _Last(NamedTuple):
    typed: str
    slug: str


class _Start(NamedTuple):
    """First name, the beginning of its address, and what may follow."""

    typed: str
    stem: str
    lasts: Sequence[_Last]
    numbers: Sequence[str]
    domains: Sequence[str]


def blocks(data_set: DataSet, chunk: Chunk) -> Iterator[bytes]:
    """Yield the text of the chunk's file in parts of about a megabyte."""
    rng = _random(data_set, chunk, "rows")
    damages = damaged(data_set, chunk)
    ids = sorted(damages)
    yield HEADER
    for first in range(chunk.first_id, chunk.first_id + chunk.rows, _BLOCK_ROWS):
        end = min(first + _BLOCK_ROWS, chunk.first_id + chunk.rows)
        rows = _valid_rows(rng, first, end)
        for id_ in ids[bisect_left(ids, first) : bisect_left(ids, end)]:
            rows[id_ - first] = _spoilt(rows[id_ - first], damages[id_])
        yield "".join(rows).encode()


def damaged(data_set: DataSet, chunk: Chunk) -> dict[int, Damage]:
    """Return the ids of the chunk's invalid rows with their damage."""
    rng = _random(data_set, chunk, "damages")
    places = rng.sample(range(chunk.rows), chunk.invalid)
    return {chunk.first_id + place: rng.choice(DAMAGES) for place in places}


def _random(data_set: DataSet, chunk: Chunk, what: str) -> random.Random:
    return random.Random(f"{data_set.seed}/{data_set.invalid_share}/{chunk.number}/{what}")


def _valid_rows(rng: random.Random, first: int, end: int) -> list[str]:
    size = end - first
    drawn = (rng.choices(_starts(), k=size), *(rng.randbytes(size) for _ in range(3)))
    return [
        f"{id_},{typed} {(last := lasts[a])[0]},{stem}{last[1]}{numbers[b]}{domains[c]}\n"
        for id_, (typed, stem, lasts, numbers, domains), a, b, c in zip(range(first, end), *drawn, strict=True)
    ]


def _spoilt(row: str, damage: Damage) -> str:
    id_, name, email = row.removesuffix("\n").split(",")
    if damage.field == "name":
        return f"{id_},{damage.spoil(name)},{email}\n"
    return f"{id_},{name},{damage.spoil(email.strip())}\n"


@functools.cache
def _starts() -> list[_Start]:
    # Not of the data set's seed: the lists are the same for all, made once a process.
    rng = random.Random("people")
    numbers = _numbers(rng)
    return [start for country in COUNTRIES for start in _starts_of(country, numbers, rng)]


def _starts_of(country: Country, numbers: list[str], rng: random.Random) -> list[_Start]:
    firsts, last_names = _split(country.first_names), _split(country.last_names)
    lasts = rng.choices([_last(last_names, rng) for _ in range(_LAST_NAMES)], k=_SLOTS)
    domains = rng.choices([_domain(country, rng) for _ in range(_DOMAINS)], k=_SLOTS)
    people = [_first(firsts, rng) for _ in range(_STARTS)]
    return [_Start(_typed(name, rng), _stem(_slug(name), rng), lasts, numbers, domains) for name in people]


def _first(names: list[str], rng: random.Random) -> str:
    return " ".join(rng.sample(names, 2)) if rng.random() < 0.1 else rng.choice(names)


def _last(names: list[str], rng: random.Random) -> _Last:
    name = "-".join(rng.sample(names, 2)) if rng.random() < 0.05 else rng.choice(names)
    return _Last(_typed(name, rng) + (" " if rng.random() < 0.01 else ""), _slug(name))


def _typed(name: str, rng: random.Random) -> str:
    """Return the name as people type it."""
    chance = rng.random()
    if chance < 0.03:
        return name.lower()
    if chance < 0.05:
        return name.upper()
    return f" {name}" if chance < 0.06 else name


def _stem(slug: str, rng: random.Random) -> str:
    form = rng.choice((f"{slug}.", f"{slug}.", f"{slug}.", slug, slug, f"{slug}_", f"{slug[0]}.", slug[0]))
    chance = rng.random()
    if chance < 0.04:
        return form.title()
    return f" {form}" if chance < 0.05 else form


def _numbers(rng: random.Random) -> list[str]:
    """Return what people append to a taken address: nothing, some digits, the year of their birth."""
    years = [rng.choice((f"{year}", f"{year % 100:02d}")) for year in rng.choices(range(1950, 2008), k=48)]
    digits = [str(number) for number in rng.sample(range(1, 1000), 80)]
    return [*years, *digits, *[""] * (_SLOTS - len(years) - len(digits))]


def _domain(country: Country, rng: random.Random) -> str:
    if rng.random() < 0.6:
        domain = rng.choice(_split(country.mail_domains))
    else:
        company = rng.choice(_split(COMPANY_WORDS)) + rng.choice(_split(COMPANY_KINDS))
        domain = f"{company}.{rng.choice(_split(country.company_suffixes))}"
    chance = rng.random()
    if chance < 0.04:
        return "@" + domain.title()
    return f"@{domain} " if chance < 0.05 else f"@{domain}"


def _slug(name: str) -> str:
    """Return the name as part of an address."""
    plain = unicodedata.normalize("NFKD", name.translate(_LETTERS)).lower()
    return "".join(letter for letter in plain if letter.isascii() and (letter.isalpha() or letter == "-"))


def _split(names: str) -> list[str]:
    return names.split(", ")
