# -*- test-case-name: tests.test_editing_yamltext -*-
"""
A YAML text as pieces that know where they stand: what an edit replaces, and what must mean the same afterwards.

Made of the parser's events, the same parser that reads the configuration, so both agree on what a file says.  Aliases
stay aliases here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import yaml

SCALAR, LIST, MAPPING, ALIAS = "scalar", "list", "mapping", "alias"
DEEPEST = 100
"""So many levels of a file are looked at."""

_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*(?:\s+|$))+")
"""YAML 1.2.2, section 6.9: an anchor and a tag may stand before a value."""

JSON = Any
"""Text, numbers, true and false, lists and mappings of them."""


class NotYAML(ValueError):
    """The text cannot be taken apart."""


@attrs.frozen(kw_only=True)
class Piece:
    """A value, or a key."""

    kind: str
    start: int
    """The first character, counted from 0, after anchor and tag."""
    end: int
    """One after the last character, comments after it not counted; of nothing: where it would begin."""
    flow: bool = False
    """Whether it is written with brackets or braces."""
    text: str = ""
    """Of a scalar: what it says; of an alias: its name."""
    style: str = ""
    """Of a scalar: ``'``, ``"``, ``|``, ``>``, or empty."""
    meaning: tuple[Any, ...] = ()
    """What else counts: tag, anchor, whether the tag is implied."""
    anchor: str = ""
    items: "tuple[Piece, ...]" = ()
    pairs: "tuple[tuple[Piece, Piece], ...]" = ()

    @property
    def is_blank(self) -> bool:
        """Whether nothing is written here (or ``~`` or ``null``)."""
        return self.kind == SCALAR and not self.style and self.text in ("", "~", "null", "Null", "NULL")

    def children(self) -> "Iterator[Piece]":
        """Keys, values and elements."""
        yield from self.items
        for key, value in self.pairs:
            yield key
            yield value


def pieces_of(text: str) -> Piece:
    """
    The piece at the top; a blank one of a text that says nothing.

    :raises NotYAML: when it is not one YAML document.
    """
    try:
        events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as reason:
        raise NotYAML(str(reason)) from reason
    reading = _Reading(text, events)
    starts = [event for event in events if isinstance(event, yaml.DocumentStartEvent)]
    if len(starts) > 1:
        raise NotYAML("more than one document")
    if not starts:
        return Piece(kind=SCALAR, start=len(text), end=len(text))
    reading.at = events.index(starts[0]) + 1
    return reading.piece(0)


@attrs.define
class _Reading:
    """One pass over the events."""

    text: str
    events: Sequence[Any]
    at: int = 0

    def next(self) -> Any:
        self.at += 1
        return self.events[self.at - 1]

    def piece(self, depth: int) -> Piece:
        if depth > DEEPEST:
            raise NotYAML("lists within lists without end")
        event = self.next()
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.AliasEvent):
            return Piece(kind=ALIAS, start=start, end=end, text=str(event.anchor))
        start = self.after_properties(event, start, end)
        common: dict[str, Any] = {"anchor": event.anchor or "", "start": start}
        if isinstance(event, yaml.ScalarEvent):
            implied = tuple(event.implicit) if event.tag is None else ()
            return Piece(
                kind=SCALAR,
                end=max(start, end),
                text=event.value,
                style=event.style or "",
                meaning=(event.tag, event.anchor, implied),
                **common,
            )
        common |= {"flow": bool(event.flow_style), "meaning": (event.tag, event.anchor)}
        if isinstance(event, yaml.SequenceStartEvent):
            items = tuple(self.until(yaml.SequenceEndEvent, depth))
            return Piece(kind=LIST, end=self.ending(event, items), items=items, **common)
        parts = tuple(self.until(yaml.MappingEndEvent, depth))
        pairs = tuple(zip(parts[::2], parts[1::2], strict=True))
        return Piece(kind=MAPPING, end=self.ending(event, parts), pairs=pairs, **common)

    def after_properties(self, event: Any, start: int, end: int) -> int:
        """Anchor and tag are no part of the value."""
        if event.anchor is None and event.tag is None:
            return int(start)
        found = _PROPERTIES.match(self.text, start)
        return found.end() if found and not isinstance(event, yaml.ScalarEvent) else self.within(found, start, end)

    def within(self, found: "re.Match[str] | None", start: int, end: int) -> int:
        """A scalar of properties alone is empty, and begins where they end."""
        return min(found.end(), end) if found else start

    def until(self, last: type, depth: int) -> Iterator[Piece]:
        while not isinstance(self.events[self.at], last):
            yield self.piece(depth + 1)
        self.at += 1

    def ending(self, event: Any, parts: Sequence[Piece]) -> int:
        if event.flow_style or not parts:
            return int(self.events[self.at - 1].end_mark.index)
        return max(part.end for part in parts)


# What a text means, as far as an edit must not change it


@attrs.frozen
class New:
    """A value that an edit puts somewhere."""

    value: JSON


def meaning_of(piece: Piece) -> Any:
    """A piece without places: lists of lists, the same for texts that say the same in the same way."""
    match piece.kind:
        case "scalar":
            return ["scalar", piece.text, piece.meaning]
        case "alias":
            return ["alias", piece.text]
        case "list":
            return ["list", piece.meaning, [meaning_of(item) for item in piece.items]]
        case _:
            return ["mapping", piece.meaning, [[meaning_of(key), meaning_of(value)] for key, value in piece.pairs]]


def agrees(expected: Any, found: Piece) -> bool:
    """Whether a piece means what was expected; where something new is expected, that value."""
    if isinstance(expected, New):
        return is_value(found, expected.value)
    kind, *_ = expected
    if kind in ("scalar", "alias"):
        return bool(meaning_of(found) == expected)
    _, meaning, parts = expected
    if not parts and found.is_blank and meaning == found.meaning[:2]:
        return True  # the last line of a block went: the key stays, with nothing behind it
    if found.kind != kind or found.meaning != meaning:
        return False
    if kind == "list":
        return len(parts) == len(found.items) and all(map(agrees, parts, found.items))
    return len(parts) == len(found.pairs) and all(
        agrees(key, pair[0]) and agrees(value, pair[1]) for (key, value), pair in zip(parts, found.pairs, strict=True)
    )


def is_value(found: Piece, value: JSON) -> bool:
    """Whether a piece says a value."""
    if isinstance(value, Mapping):
        if found.kind == MAPPING:
            said = {key.text: entry for key, entry in found.pairs}
            return list(said) == [str(key) for key in value] and all(
                is_value(said[str(key)], entry) for key, entry in value.items()
            )
        return not value and found.is_blank
    if isinstance(value, list | tuple):
        if found.kind == LIST:
            return len(found.items) == len(value) and all(map(is_value, found.items, value))
        return not value and found.is_blank
    if found.kind != SCALAR or found.is_blank:
        return False
    if isinstance(value, bool):
        return not found.style and found.text == str(value).lower()
    return found.text == str(value) and (isinstance(value, str) or not found.style)
