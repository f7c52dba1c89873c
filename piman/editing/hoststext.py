# -*- test-case-name: tests.test_editing_hoststext -*-
"""
``hosts.csv`` as lines: rows are changed, added and removed, and whatever nobody touched keeps its bytes.

A row that is changed keeps the spelling of the columns that stay, and the blanks around them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from piman.editing.lines import Line, end_of, overlay, usual_end

COLUMNS = ("mac", "address", "hostname", "last_used")
BOM = b"\xef\xbb\xbf"

ROW, COMMENT, EMPTY = "row", "comment", "empty"


class BadHostChange(ValueError):
    """What was sent is no change of a row, or of one that is not there."""


@attrs.frozen(kw_only=True)
class HostLine:
    """A line as it is shown."""

    number: int
    """Counted from 1."""
    kind: str
    text: str
    columns: Mapping[str, str]


@attrs.frozen(kw_only=True)
class HostChange:
    """
    A row, wanted.

    :ivar what: ``set``, ``remove`` or ``add``.
    :ivar line: the row's, in the text as it was given.
    :ivar was: what the line said then.
    :ivar columns: those that are to say something else.
    """

    what: str
    line: int = 0
    was: str = ""
    columns: Mapping[str, str] = attrs.field(factory=dict)


def read_host_changes(found: Any) -> tuple[HostChange, ...]:
    """
    Changes as they are sent: ``[{"what": "set", "line": 3, "was": "B8:...", "columns": {"hostname": "pi3"}}, ...]``.

    :raises BadHostChange: when they are something else.
    """
    if not isinstance(found, list):
        raise BadHostChange("found no list, expected changes of rows")
    return tuple(map(_read, found))


def _read(found: Any) -> HostChange:
    expected = 'expected {"what": set, remove or add, "line": ..., "was": ..., "columns": {...}}'
    if not isinstance(found, dict) or found.get("what") not in ("set", "remove", "add"):
        raise BadHostChange(f"found no change of a row, {expected}")
    if set(found) - {"what", "line", "was", "columns"}:
        raise BadHostChange(f"found an unknown key in a change, {expected}")
    columns = found.get("columns", {})
    line, was = found.get("line", 0), found.get("was", "")
    if not isinstance(columns, dict) or not all(
        name in COLUMNS and isinstance(value, str) for name, value in columns.items()
    ):
        raise BadHostChange(f"found columns that there are not, expected {', '.join(COLUMNS)} as text")
    if not isinstance(line, int) or isinstance(line, bool) or not isinstance(was, str):
        raise BadHostChange(f"found no line number or no text, {expected}")
    for value in columns.values():
        if re.search(r"[;\r\n\0]", value):
            raise BadHostChange(f"found {value!r}, expected a value without semicolon and line end")
    return HostChange(what=found["what"], line=line, was=was, columns=columns)


@attrs.frozen
class HostsText:
    """The content of a file, and changes of it."""

    data: bytes

    @property
    def shown(self) -> str:
        """The text, without the mark at its beginning; what is no text is shown as such."""
        return "".join(line.shown + end_of(line.whole) for line in self._lines())

    def rows(self) -> list[HostLine]:
        """All lines."""
        return [
            HostLine(number=number, kind=_kind(line.shown), text=line.shown, columns=_columns(line.shown))
            for number, line in enumerate(self._lines(), start=1)
        ]

    def with_shown(self, shown: str) -> "HostsText":
        """The content that a changed view stands for."""
        return self._joined(overlay(self._lines(), shown))

    def changed(self, changes: Iterable[HostChange]) -> "HostsText":
        """
        The content with rows changed, then removed, then added.

        :raises BadHostChange: when a row is not the one that was meant.
        """
        known = list(changes)
        lines = self._lines()
        removed = set()
        for change in known:
            if change.what == "add":
                continue
            index = self._index(lines, change)
            if change.what == "remove":
                removed.add(index)
            else:
                lines[index] = _with_columns(lines[index], change.columns)
        kept = [line.whole for index, line in enumerate(lines) if index not in removed]
        return self._joined(self._appended(kept, [change.columns for change in known if change.what == "add"]))

    def _index(self, lines: list[Line], change: HostChange) -> int:
        """Where the row of a change stands by now: the line that says what it said."""
        index = change.line - 1
        if 0 <= index < len(lines) and lines[index].shown == change.was:
            return index
        found = [index for index, line in enumerate(lines) if line.shown == change.was]
        if len(found) != 1:
            raise BadHostChange(f"line {change.line} is not {change.was!r} any more: somebody else changed it")
        return found[0]

    def _appended(self, lines: list[str], rows: list[Mapping[str, str]]) -> str:
        usual = usual_end(self._lines())
        for columns in rows:
            if lines and not end_of(lines[-1]):
                lines[-1] += usual
            lines.append(row_text(columns) + usual)
        return "".join(lines)

    def _lines(self) -> list[Line]:
        body = self.data.removeprefix(BOM)
        pieces = body.splitlines(keepends=True)  # of bytes: at CR, LF and CRLF only, as the loader does
        return [_line(piece) for piece in pieces]

    def _joined(self, text: str) -> "HostsText":
        mark = BOM if self.data.startswith(BOM) else b""
        return HostsText(mark + text.encode("utf-8", "surrogateescape"))


def row_text(columns: Mapping[str, str]) -> str:
    """A new row, as the original wrote it: the MAC in capitals, all columns."""
    mac, address, hostname, last_used = (columns.get(name, "").strip() for name in COLUMNS)
    return f"{mac.upper()};{address or '0.0.0.0'};{hostname};{last_used or '0'}"


def _line(piece: bytes) -> Line:
    whole = piece.decode("utf-8", "surrogateescape")
    shown = piece.decode("utf-8", "replace")
    return Line(shown.removesuffix(end_of(shown)), whole)


def _kind(text: str) -> str:
    if text.strip().startswith("#"):
        return COMMENT
    return ROW if text.strip(" \t;") else EMPTY


def _columns(text: str) -> Mapping[str, str]:
    if _kind(text) != ROW:
        return {}
    return dict(zip(COLUMNS, [field.strip() for field in text.split(";")] + [""] * len(COLUMNS), strict=False))


def _with_columns(line: Line, columns: Mapping[str, str]) -> Line:
    end = end_of(line.whole)
    fields = line.whole.removesuffix(end).split(";")
    for name, value in columns.items():
        index = COLUMNS.index(name)
        if index >= len(fields) and not value:
            continue
        fields += [""] * (index + 1 - len(fields))
        before = fields[index].strip()
        if value != before:
            fields[index] = fields[index].replace(before, value, 1) if before else value + fields[index]
    whole = ";".join(fields) + end
    return Line(whole.encode("utf-8", "surrogateescape").decode("utf-8", "replace").removesuffix(end), whole)
