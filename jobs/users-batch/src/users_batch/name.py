"""A person's name in normal form."""

from __future__ import annotations

import re
import unicodedata

from users_batch.errors import InvalidUser

_LONGEST = 200
# Persian, Urdu and the scripts of India are written with them.
_JOINERS = "\u200c\u200d"
# Control and format characters, halves of a surrogate pair, private use.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co"}

# Not `str.title`, which takes an accent that is a character of its own for the end of a word.
_WORD = re.compile("[^ .'’\u02bc\u2010-]+")


def normal_name(entered: str | None) -> str:
    """`entered` with single blanks, in Unicode form NFC. Raises `InvalidUser`.

    Mixed case is kept, because people know how they write themselves (McDonald, van der Berg). Words all in capitals
    or all in small letters come from a form or a habit: each then begins with a capital.
    """
    name = _bounded(" ".join(entered.split()) if entered else "")
    if not (name.isascii() and name.isprintable()):
        name = _composed(name)
    if name.islower() or name.isupper():
        name = _capitalized(name)
    return name


def _capitalized(name: str) -> str:
    name = _WORD.sub(lambda word: word[0].capitalize(), name)
    # The capital of some letters is two of them.
    return _bounded(unicodedata.normalize("NFC", name))


def _bounded(name: str) -> str:
    if not name:
        raise InvalidUser("name: missing")
    if len(name) > _LONGEST:
        raise InvalidUser(f"name: over {_LONGEST} characters")
    return name


def _composed(name: str) -> str:
    if not name.strip(f"{_JOINERS} "):
        raise InvalidUser("name: missing")
    if any(unicodedata.category(char) in _UNPRINTABLE for char in name if char not in _JOINERS):
        raise InvalidUser("name: control character")
    return unicodedata.normalize("NFC", name)
