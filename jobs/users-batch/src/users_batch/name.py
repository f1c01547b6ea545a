"""Names of people in normal form."""

from __future__ import annotations

import re
import unicodedata

from users_batch.errors import InvalidUser

_LONGEST = 200
# Persian, Urdu and the scripts of India need them.
_JOINERS = "\u200c\u200d"
# Control and format characters, surrogates, private use.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co"}

# `str.title` would treat a combining accent as the end of a word.
_WORD = re.compile("[^ .'’\u02bc\u2010-]+")


def normal_name(entered: str | None) -> str:
    """Return `entered` with single spaces, in Unicode form NFC. Raises `InvalidUser`.

    Mixed case is kept, because people know how to write their names (McDonald, van der Berg). A name all in upper
    case or all in lower case gets a capital at the start of each word.
    """
    name = _check_length(" ".join(entered.split()) if entered else "")
    if not (name.isascii() and name.isprintable()):
        name = _compose(name)
    if name.islower() or name.isupper():
        name = _capitalize(name)
    return name


def _capitalize(name: str) -> str:
    name = _WORD.sub(lambda word: word[0].capitalize(), name)
    # The capital of some letters is two letters.
    return _check_length(unicodedata.normalize("NFC", name))


def _check_length(name: str) -> str:
    if not name:
        raise InvalidUser("name: missing")
    if len(name) > _LONGEST:
        raise InvalidUser(f"name: over {_LONGEST} characters")
    return name


def _compose(name: str) -> str:
    if not name.strip(f"{_JOINERS} "):
        raise InvalidUser("name: missing")
    if any(unicodedata.category(char) in _UNPRINTABLE for char in name if char not in _JOINERS):
        raise InvalidUser("name: control character")
    return unicodedata.normalize("NFC", name)
