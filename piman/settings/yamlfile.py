# -*- test-case-name: tests.test_config -*-
"""
A YAML file as values that know their line and key, and the list of everything that is wrong with it.

Values stay text until a reader asks for more, so YAML's guesses (``on`` is true, ``12:30`` is 750) never apply.
Nothing in a file is ever turned into an object of its choosing.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import yaml

from piman.host.regular import read_regular

T = TypeVar("T")

_NULL = "tag:yaml.org,2002:null"


class Unreadable(ValueError):
    """A value is not what its key needs; the text says what was expected."""


class Discarded(Exception):
    """A value cannot be used, and the report says why already."""


@attrs.frozen
class Problem:
    """One mistake in a file."""

    file: str
    line: int
    """Counted from 1; 0: the file as a whole."""
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key + ': ' if self.key else ''}found {self.found}, expected {self.expected}"


@attrs.frozen
class Value:
    """A piece of the file, with the key that leads to it."""

    node: yaml.Node
    key: str
    base: Path
    """What relative paths are relative to."""

    @property
    def line(self) -> int:
        """Where it begins, counted from 1."""
        return int(self.node.start_mark.line) + 1

    @property
    def is_blank(self) -> bool:
        """Whether nothing is written there (or ``~`` or ``null``)."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == _NULL

    @property
    def found(self) -> str:
        """What stands there, in words."""
        if isinstance(self.node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        return "nothing" if self.is_blank else repr(self.node.value)

    def text(self, expected: str) -> str:
        """
        The text as written, without surrounding blanks.

        :raises Unreadable: when nothing, a list or a mapping stands here.
        """
        if self.is_blank or not isinstance(self.node, yaml.ScalarNode):
            raise Unreadable(expected)
        return str(self.node.value).strip()

    def elements(self, expected: str) -> "list[Value]":
        """
        The elements of a list; of a blank value none.

        :raises Unreadable: when something else stands here.
        """
        if self.is_blank:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise Unreadable(expected)
        return [Value(node, f"{self.key}[{index}]", self.base) for index, node in enumerate(self.node.value)]

    def _pairs(self, expected: str) -> "list[tuple[yaml.Node, Value]]":
        if self.is_blank:
            return []
        if not isinstance(self.node, yaml.MappingNode):
            raise Unreadable(expected)
        prefix = f"{self.key}." if self.key else ""
        return [(key, Value(node, f"{prefix}{key.value}", self.base)) for key, node in self.node.value]


@attrs.define
class Report:
    """Collects the mistakes of one file while it is read."""

    file: str
    problems: list[Problem] = attrs.field(factory=list)
    lines: dict[str, int] = attrs.field(factory=dict)
    """Where each key stands that was read."""
    values: dict[str, Any] = attrs.field(factory=dict)
    """What each key meant that could be read."""

    def add(self, line: int, key: str, found: str, expected: str) -> None:
        """Note a mistake."""
        self.problems.append(Problem(self.file, line, key, found, expected))

    def at(self, key: str, found: str, expected: str) -> None:
        """Note a mistake in a value that was read before."""
        self.add(self.lines.get(key, 0), key, found, expected)

    def attempt(self, read: "Callable[[Value, Report], T]", value: Value, *, is_secret: bool = False) -> T:
        """
        Read a value.

        :param is_secret: whether a mistake is told without what stands there.
        :raises Discarded: when it cannot be read; the mistake is noted.
        """
        self.lines[value.key] = value.line
        try:
            found = read(value, self)
        except Unreadable as expected:
            found_there = "something else" if is_secret and not value.is_blank else value.found
            self.add(value.line, value.key, found_there, str(expected))
            raise Discarded(value.key) from expected
        self.values[value.key] = found
        return found

    def matching(self, pattern: str) -> "list[tuple[str, Any]]":
        """Keys, as written, that were read and match a regular expression, with their values."""
        expression = re.compile(pattern)
        return [(key, value) for key, value in self.values.items() if expression.fullmatch(key)]

    def pairs(self, value: Value, expected: str, spelling: Callable[[str], str] = str) -> dict[str, Value]:
        """
        The entries of a mapping by key; a key that occurs twice is a mistake and the first one counts.

        :param spelling: turns a key as written into the key that is meant.
        :raises Unreadable: when no mapping stands here.
        """
        found: dict[str, Value] = {}
        for key, entry in value._pairs(expected):
            line = int(key.start_mark.line) + 1
            if not isinstance(key, yaml.ScalarNode):
                self.add(line, value.key, "a list or mapping as a key", "a word")
                continue
            name = spelling(str(key.value))
            if name in found:
                self.add(line, entry.key, "the key again", f"it once (it stands in line {found[name].line} already)")
                continue
            found[name] = entry
        return found

    def unknown(self, value: Value, name: str, known: Iterable[str]) -> None:
        """Note a key that nobody reads, with the known key that is nearest."""
        names = list(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        expected = f"{near[0]}" if near else "one of " + ", ".join(names)
        self.add(value.line, value.key, "an unknown key", expected)


def _readable(path: Path, report: Report, given: bytes | None) -> str | None:
    content = b"" if given is None else given
    try:
        if given is None:
            content = read_regular(path)
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        report.add(0, "", "no such file", "a configuration; begin with a copy of piman.yaml.example, or use --config")
    except OSError as reason:
        report.add(0, "", f"a file that cannot be read ({reason.strerror})", "one that piman's user may read")
    except UnicodeDecodeError as reason:
        line = content[: reason.start].count(b"\n") + 1
        report.add(line, "", "bytes that are not UTF-8", "UTF-8 text; save the file again as UTF-8")
    return None


def _compose(text: str, report: Report) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as mistake:
        mark = mistake.problem_mark or mistake.context_mark
        found = ", ".join(part for part in (mistake.context, mistake.problem) if part)
        line = mark.line + 1 if mark else 0
        report.add(line, "", f"a mistake in the YAML ({found})", "key: value lines, indented alike")
    except yaml.reader.ReaderError as mistake:
        line = text[: mistake.position].count("\n") + 1
        report.add(line, "", "a control character", "text only")
    except RecursionError:
        report.add(0, "", "lists within lists without end", "a few levels")
    return None


def parse(path: Path, report: Report, content: bytes | None = None) -> Value | None:
    """
    The mapping at the top of a file; None when there is none, and the report says why.

    :param content: taken in the place of what the file holds.
    """
    text = _readable(path, report, content)
    if text is None:
        return None
    before = len(report.problems)
    node = _compose(text, report)
    if len(report.problems) > before:
        return None
    top = None if node is None else Value(node, "", path.absolute().parent)
    if top is None or top.is_blank:
        report.add(0, "", "an empty file", "server_address:, subnet_mask: and interface: at least")
        return None
    if not isinstance(top.node, yaml.MappingNode):
        report.add(top.line, "", f"{top.found} at the top", "key: value lines like server_address: 172.30.4.1")
        return None
    return top
