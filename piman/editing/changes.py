# -*- test-case-name: tests.test_editing_changes -*-
"""
What somebody wants changed in ``piman.yaml``, by paths in the text that was looked at; carried over to what the file
says by now, if somebody else was faster.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from piman.editing.pieces import JSON, LIST, MAPPING, SCALAR, NotYAML, Piece
from piman.editing.places import CannotEdit
from piman.editing.schema import is_path, is_value
from piman.editing.yamltext import NoSuchPlace, Path, YAMLText, path_text

SET, UNSET, ADD = "set", "unset", "add"


class BadChange(ValueError):
    """What was sent is no change."""


@attrs.frozen
class Change:
    """
    One value, wanted.

    :ivar what: ``set`` puts a value at the path, ``unset`` takes away what is there, ``add`` puts one more element
        into the list there.
    """

    what: str
    path: Path
    value: JSON = None


@attrs.frozen
class Trouble:
    """A change that could not be made, and why."""

    path: Path
    reason: str


def read_changes(found: Any) -> tuple[Change, ...]:
    """
    Changes as they are sent: ``[{"what": "set", "path": ["dhcp", "pool"], "value": "..."}, ...]``.

    :raises BadChange: when they are something else.
    """
    if not isinstance(found, list):
        raise BadChange('found no list, expected changes like [{"what": "unset", "path": ["dhcp", "pool"]}]')
    return tuple(map(_read, found))


def _read(found: Any) -> Change:
    if not isinstance(found, dict) or found.get("what") not in (SET, UNSET, ADD) or not is_path(found.get("path")):
        raise BadChange('found no change, expected {"what": set, unset or add, "path": [...], "value": ...}')
    extra = sorted(set(found) - {"what", "path", "value"})
    if extra:
        raise BadChange(f"found {extra[0]!r} in a change, expected what, path and value")
    if found["what"] != UNSET and not is_value(found.get("value")):
        raise BadChange(
            f"{path_text(found['path'])}: found no value that can be written, expected text, list or mapping"
        )
    return Change(found["what"], tuple(found["path"]), found.get("value"))


def make(text: YAMLText, changes: Iterable[Change]) -> tuple[YAMLText, tuple[Trouble, ...]]:
    """
    A text with changes made, and those that could not be.

    Paths are those of the text as it is given: values first, then what is taken away, the last first, then additions.

    :raises NotYAML: when the text is none.
    """
    troubles = []
    for change in _ordered(changes):
        try:
            text = _made(text, change)
        except CannotEdit as reason:
            troubles.append(Trouble(change.path, str(reason)))
    return text, tuple(troubles)


def _ordered(changes: Iterable[Change]) -> list[Change]:
    known = list(changes)
    unset = [change for change in known if change.what == UNSET]
    unset.sort(key=lambda change: [(isinstance(step, int), step) for step in change.path], reverse=True)
    return [
        *(change for change in known if change.what == SET),
        *unset,
        *(change for change in known if change.what == ADD),
    ]


def _made(text: YAMLText, change: Change) -> YAMLText:
    if change.what == SET:
        return text.set(change.path, change.value)
    if change.what == ADD:
        return text.add(change.path, change.value)
    return text.unset(change.path)


# Somebody else was faster


def carry_over(changes: Iterable[Change], base: YAMLText, now: YAMLText) -> tuple[tuple[Change, ...], list[Trouble]]:
    """
    The same changes for a text that has changed since, and those that clash with what changed.

    Elements of lists are recognised by what they say, switches by their address.

    :param base: the text that the changes speak of.
    :param now: the text as it is.
    """
    carried, troubles = [], []
    for change in changes:
        try:
            carried.append(attrs.evolve(change, path=_moved(change, base, now)))
        except CannotEdit as reason:
            troubles.append(Trouble(change.path, str(reason)))
    return tuple(carried), troubles


def _moved(change: Change, base: YAMLText, now: YAMLText) -> Path:
    path: list[str | int] = []
    for index, step in enumerate(change.path):
        if isinstance(step, int) and base.has(change.path[: index + 1]):
            step = _same_element(base.find(change.path[: index + 1]), now, tuple(path), change.path[: index + 1])
        path.append(step)
    moved = tuple(path)
    if change.what != ADD:
        before, after = _value(base, change.path), _value(now, moved)
        if before != after and after != change.value and not (change.what == UNSET and after is None):
            raise CannotEdit(f"{path_text(change.path)} was changed by somebody else meanwhile")
    return moved


def _same_element(element: Piece, now: YAMLText, path: Path, known: Sequence[str | int]) -> int:
    parts = now.find(path).items if now.has(path) else ()
    wanted = _identity(element)
    found = [index for index, part in enumerate(parts) if _identity(part) == wanted]
    if len(found) == 1:
        return found[0]
    last = known[-1]
    if last in found and isinstance(last, int):
        return last
    raise NoSuchPlace(f"{path_text(known)} is not there any more: somebody else changed it meanwhile")


def _identity(piece: Piece) -> Any:
    """What makes an element the same one: its name or address, else what it says."""
    if piece.kind == MAPPING:
        for key, value in piece.pairs:
            if (key.text == "name" or key.text.endswith("_address")) and not value.is_blank:
                return value.text
    return plain(piece)


def _value(text: YAMLText, path: Path) -> JSON:
    try:
        return plain(text.find(path))
    except CannotEdit:
        return None


def plain(piece: Piece) -> JSON:
    """What a piece says, as text, lists and mappings; None: nothing."""
    if piece.kind == SCALAR:
        return None if piece.is_blank else piece.text
    if piece.kind == LIST:
        return [plain(item) for item in piece.items]
    if piece.kind == MAPPING:
        return {key.text: plain(value) for key, value in piece.pairs}
    return f"*{piece.text}"


__all__ = [
    "ADD",
    "SET",
    "UNSET",
    "BadChange",
    "CannotEdit",
    "Change",
    "NotYAML",
    "Trouble",
    "carry_over",
    "make",
    "plain",
    "read_changes",
]
