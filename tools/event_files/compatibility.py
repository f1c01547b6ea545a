"""Comparison of two JSON Schemas: whether the reader accepts everything that the writer describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

# Bounds of the reader. A writer without the bound may exceed it.
_AT_LEAST = ("minLength", "minimum", "exclusiveMinimum", "minItems")
_AT_MOST = ("maxLength", "maximum", "exclusiveMaximum", "maxItems")
_SAME = ("pattern", "format", "multipleOf", "uniqueItems")
_NO_CONSTRAINT = ("title", "description", "default", "examples", "$defs", "$schema")
_UNDERSTOOD = {
    *(*_AT_LEAST, *_AT_MOST, *_SAME, *_NO_CONSTRAINT),
    *("type", "enum", "const", "anyOf", "$ref", "properties", "required", "items", "additionalProperties"),
}


def refusals(written: Schema, read: Schema) -> list[str]:
    """List the reasons why `read` may refuse a value that `written` describes."""
    # Equal ones agree, whatever keywords they use.
    return [] if written == read else list(_refusals(written, read, _Roots(written, read), "event"))


class _Roots:
    """Definitions of both documents, for the references inside them, and the pairs that were compared."""

    def __init__(self, written: Schema, read: Schema) -> None:
        self.written = written.get("$defs", {})
        self.read = read.get("$defs", {})
        self._compared: set[tuple[str, str]] = set()

    def is_compared(self, written: Schema, read: Schema) -> bool:
        """Return whether both are references that were compared before, as in a tree."""
        pair = written.get("$ref", ""), read.get("$ref", "")
        if not all(pair):
            return False
        known = pair in self._compared
        self._compared.add(pair)
        return known


def _refusals(written: Schema, read: Schema, roots: _Roots, where: str) -> Iterator[str]:
    if roots.is_compared(written, read):
        return
    written, read = _resolve(written, roots.written), _resolve(read, roots.read)
    if "anyOf" in written:
        for choice in written["anyOf"]:
            yield from _refusals(choice, read, roots, where)
    elif "anyOf" in read:
        found = [list(_refusals(written, choice, roots, where)) for choice in read["anyOf"]]
        if all(found):
            reasons = "; ".join(reason for choice in found for reason in choice)
            yield f"{where}: none of the reader's {len(found)} choices accepts it: {reasons}"
    else:
        yield from _of_one_type(written, read, roots, where)


def _of_one_type(written: Schema, read: Schema, roots: _Roots, where: str) -> Iterator[str]:
    for keyword in sorted(read.keys() - _UNDERSTOOD):
        yield f"{where}: the reader's {keyword} is not understood by this check"
    if "type" in read and not _types(written) <= _types(read):
        yield f"{where}: {_format_types(written)} is written, {_format_types(read)} is read"
        return
    yield from _bounds(written, read, where)
    yield from _values(written, read, where)
    if "items" in read:
        yield from _refusals(written.get("items", {}), read["items"], roots, f"{where}[]")
    yield from _fields(written, read, roots, where)


def _bounds(written: Schema, read: Schema, where: str) -> Iterator[str]:
    for keyword in read.keys() & {*_AT_LEAST}:
        if written.get(keyword, float("-inf")) < read[keyword]:
            yield f"{where}: {keyword} is {read[keyword]} where it is read, {written.get(keyword)} where it is written"
    for keyword in read.keys() & {*_AT_MOST}:
        if written.get(keyword, float("inf")) > read[keyword]:
            yield f"{where}: {keyword} is {read[keyword]} where it is read, {written.get(keyword)} where it is written"
    for keyword in read.keys() & {*_SAME}:
        if written.get(keyword) != read[keyword]:
            yield f"{where}: {keyword} is {read[keyword]} where it is read, {written.get(keyword)} where it is written"


def _values(written: Schema, read: Schema, where: str) -> Iterator[str]:
    accepted = read.get("enum", [read["const"]] if "const" in read else None)
    possible = written.get("enum", [written["const"]] if "const" in written else None)
    if accepted is not None and (possible is None or not all(value in accepted for value in possible)):
        yield f"{where}: {accepted} is read, {possible or 'anything'} is written"


def _fields(written: Schema, read: Schema, roots: _Roots, where: str) -> Iterator[str]:
    known = written.get("properties", {})
    for name in read.get("required", ()):
        if name not in written.get("required", ()):
            yield f"{where}.{name}: required by the reader, not always written"
    for name, field in read.get("properties", {}).items():
        if name in known:
            yield from _refusals(known[name], field, roots, f"{where}.{name}")
    yield from _other_fields(written, read, roots, where)


def _other_fields(written: Schema, read: Schema, roots: _Roots, where: str) -> Iterator[str]:
    """Compare the fields that the reader does not name."""
    accepted, named = read.get("additionalProperties", True), read.get("properties", {})
    unnamed = {name: field for name, field in written.get("properties", {}).items() if name not in named}
    if accepted is False and unnamed:
        yield f"{where}: the reader refuses fields it does not know: it must be a tolerant one"
    elif isinstance(accepted, Mapping):
        others = written.get("additionalProperties")
        if isinstance(others, Mapping):
            unnamed["*"] = others
        for name, field in unnamed.items():
            yield from _refusals(field, accepted, roots, f"{where}.{name}")


def _resolve(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema


def _types(schema: Schema) -> set[str]:
    types = schema.get("type", "anything")
    found = {types} if isinstance(types, str) else set(types)
    return found | {"integer"} if "number" in found else found


def _format_types(schema: Schema) -> str:
    return " or ".join(sorted(_types(schema)))
