# -*- test-case-name: tests.test_config -*-
"""
Readers: each takes one :class:`Value` of the file and gives what it means, or says what it should have been.

A section of the file is an attrs class whose fields are made by :func:`setting`; the class is the schema.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import attrs
import yaml

from piman.settings.yamlfile import Discarded, Report, Unreadable, Value

T = TypeVar("T")
K = TypeVar("K")

Reader = Callable[[Value, Report], T]

_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_DEEPEST = 6
_YAML = "tag:yaml.org,2002:"


# What a form needs to know of a reader


@attrs.frozen
class Shape:
    """How a value looks to somebody who fills in a form."""

    kind: str = "text"
    """``text``, ``choice``, ``list``, ``mapping``, or ``plugin``: a name, or a mapping whose keys a plugin knows."""
    words: tuple[str, ...] = ()
    """Of a choice: all there are."""
    item: "Shape | None" = None
    """What the elements of a list, or the values of a mapping, are."""


PLAIN = Shape()
_SHAPE = "shape"


def shape_of(read: Any) -> Shape:
    """The shape of what a reader reads."""
    found: Shape = getattr(read, _SHAPE, PLAIN)
    return found


def _shaped(read: Reader[T], shape: Shape) -> Reader[T]:
    vars(read)[_SHAPE] = shape
    return read


# Single values


def line(expected: str) -> Reader[str]:
    """Any text on one line, whatever it should be."""

    def read(value: Value, report: Report) -> str:
        found = value.text(expected)
        if not found or not found.isprintable():
            raise Unreadable(expected)
        return found

    return read


text = line("a text on one line")


def word(value: Value, report: Report) -> str:
    """A name of letters, digits, dots, dashes and underscores."""
    found = value.text("a name")
    if not _WORD.fullmatch(found):
        raise Unreadable("a name of up to 63 letters, digits, dots, dashes and underscores")
    return found


def flag(value: Value, report: Report) -> bool:
    """``true`` or ``false``."""
    found = value.text("true or false").lower()
    if found not in ("true", "false", "yes", "no", "on", "off"):
        raise Unreadable("true or false")
    return found in ("true", "yes", "on")


_shaped(flag, Shape("choice", ("true", "false")))


def number(least: int, most: int, what: str = "a number") -> Reader[int]:
    """A whole number within bounds."""
    expected = f"{what} from {least} to {most}"

    def read(value: Value, report: Report) -> int:
        found = value.text(expected)
        if not re.fullmatch(r"[0-9]{1,10}", found) or not least <= int(found) <= most:
            raise Unreadable(expected)
        return int(found)

    return read


port_number = number(1, 65535, "a port")


def seconds(least: float, most: float) -> Reader[float]:
    """A duration within bounds, fractions allowed."""
    expected = f"seconds from {least:g} to {most:g}"

    def read(value: Value, report: Report) -> float:
        try:
            found = float(value.text(expected))
        except ValueError as reason:
            raise Unreadable(expected) from reason
        if not least <= found <= most:
            raise Unreadable(expected)
        return found

    return read


def finite(value: Value, report: Report) -> float:
    """Any finite number."""
    try:
        found = float(value.text("a number"))
    except ValueError as reason:
        raise Unreadable("a number") from reason
    if not math.isfinite(found):
        raise Unreadable("a number")
    return found


def parse_address(found: str) -> IPv4Address:
    """
    A dotted-decimal address.

    :raises Unreadable: when it is something else.
    """
    expected = "an IPv4 address like 172.30.4.1"
    if not _ADDRESS.fullmatch(found):
        raise Unreadable(expected)
    try:
        return IPv4Address(found)
    except ValueError as reason:
        raise Unreadable(expected) from reason


def ipv4_address(value: Value, report: Report) -> IPv4Address:
    """An IPv4 address."""
    return parse_address(value.text("an IPv4 address like 172.30.4.1"))


def path(value: Value, report: Report) -> Path:
    """A path, made absolute from the folder of the file."""
    found = value.text("a path")
    if not found or "\0" in found:
        raise Unreadable("a path")
    return value.base / found


def one_of(*words: str) -> Reader[str]:
    """One word of several."""
    expected = " or ".join(words)

    def read(value: Value, report: Report) -> str:
        found = value.text(expected).lower()
        if found not in words:
            raise Unreadable(expected)
        return found

    return _shaped(read, Shape("choice", words))


def or_none(read: Reader[T], expected: str) -> "Reader[T | None]":
    """What ``read`` reads, or the word ``none``."""

    def read_or_none(value: Value, report: Report) -> T | None:
        if value.text(expected).lower() == "none":
            return None
        try:
            return read(value, report)
        except Unreadable as reason:
            raise Unreadable(expected) from reason

    return read_or_none


# Several values


def list_of(read: Reader[T], expected: str) -> "Reader[tuple[T, ...]]":
    """A list; elements with mistakes are noted and left out."""

    def read_list(value: Value, report: Report) -> tuple[T, ...]:
        return tuple(_readable(read, value.elements(expected), report))

    return _shaped(read_list, Shape("list", item=shape_of(read)))


def _readable(read: Reader[T], values: list[Value], report: Report) -> Iterator[T]:
    for value in values:
        try:
            yield report.attempt(read, value)
        except Discarded:
            pass


def mapping_of(read_key: Callable[[str], K], read: Reader[T], expected: str) -> "Reader[Mapping[K, T]]":
    """A mapping with keys of the operator's choice; entries with mistakes are noted and left out."""

    def read_mapping(value: Value, report: Report) -> Mapping[K, T]:
        found: dict[K, T] = {}
        for name, entry in report.pairs(value, expected).items():
            try:
                found[read_key(name)] = report.attempt(read, entry)
            except Unreadable as reason:
                report.add(entry.line, entry.key, f"the key {name!r}", str(reason))
            except Discarded:
                pass
        return found

    return _shaped(read_mapping, Shape("mapping", item=shape_of(read)))


def word_key(name: str) -> str:
    """A key that is a name."""
    if not _WORD.fullmatch(name):
        raise Unreadable("a name of up to 63 letters, digits, dots, dashes and underscores")
    return name


def number_key(least: int, most: int, what: str) -> Callable[[str], int]:
    """A key that is a whole number within bounds."""

    def read_key(name: str) -> int:
        if not re.fullmatch(r"[0-9]{1,5}", name) or not least <= int(name) <= most:
            raise Unreadable(f"{what} from {least} to {most}")
        return int(name)

    return read_key


# Values that belong to a plugin


def _plain_scalar(node: yaml.ScalarNode) -> Any:
    """Numbers, true and false as such; everything else, ``on`` and dates too, as the text that is written."""
    written = str(node.value)
    if node.tag == _YAML + "null":
        return None
    if node.tag == _YAML + "int" and re.fullmatch(r"-?(0|[1-9][0-9]*)", written):
        return int(written)
    if node.tag == _YAML + "float" and re.fullmatch(r"-?[0-9]+\.[0-9]+", written):
        return float(written)
    if node.tag == _YAML + "bool" and written.lower() in ("true", "false"):
        return written.lower() == "true"
    return written


def plain(value: Value, report: Report, depth: int = 0) -> Any:
    """Dictionaries, lists, numbers and text, whatever they mean."""
    if depth > _DEEPEST:
        raise Unreadable(f"at most {_DEEPEST} levels")
    if isinstance(value.node, yaml.MappingNode):
        pairs = report.pairs(value, "a mapping")
        report.lines.update({entry.key: entry.line for entry in pairs.values()})
        return {name: plain(entry, report, depth + 1) for name, entry in pairs.items()}
    if isinstance(value.node, yaml.SequenceNode):
        return [plain(entry, report, depth + 1) for entry in value.elements("a list")]
    assert isinstance(value.node, yaml.ScalarNode)
    return _plain_scalar(value.node)


def kind_mapping(value: Value, report: Report) -> Mapping[str, Any]:
    """``NAME``, or ``{kind: NAME, ...}`` whose other keys belong to the plugin of that name."""
    expected = "the name of a plugin, or a mapping with kind: NAME"
    if not isinstance(value.node, yaml.MappingNode):
        return {"kind": word_key(value.text(expected))}
    found: dict[str, Any] = plain(value, report)
    if not isinstance(found.get("kind"), str):
        raise Unreadable(expected)
    return found


_shaped(kind_mapping, Shape("plugin"))


# Sections


def setting(read: Reader[T], default: T, *, shown: str | None = None, secret: bool = False) -> T:
    """
    A key of a section: a field of its attrs class.

    :param shown: the default as the documents show it, where that is not the value itself.
    :param secret: whether the value is never shown: in no log, no message, no page.
    """
    metadata = {"read": read, "shown": shown, "secret": secret}
    made: T = attrs.field(default=default, metadata=metadata, repr=not secret)
    return made


def required(read: Reader[T], *, secret: bool = False) -> T:
    """A key without which the section means nothing; ``secret`` as for :func:`setting`."""
    made: T = attrs.field(metadata={"read": read, "required": True, "secret": secret}, repr=not secret)
    return made


def subsection(kind: type[T]) -> T:
    """A key that holds a section with defaults of its own."""
    made: T = attrs.field(factory=kind, metadata={"read": section_of(kind), "keys": ("", kind)})
    return made


def subsections(
    kind: type[T], read: "Reader[tuple[T, ...]]", spelling: Callable[[str], str] = str
) -> tuple[T, ...]:
    """
    A key that holds a list of sections.

    :param spelling: turns a key as written in them into the key that is meant.
    """
    metadata = {"read": read, "keys": ("[]", kind), "spelling": spelling}
    made: tuple[T, ...] = attrs.field(default=(), metadata=metadata)
    return made


def _default(field: "attrs.Attribute[Any]", base: Path) -> Any:
    """Relative paths in defaults are relative to the file, too."""
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default.factory()
    return base / default if isinstance(default, Path) else default


def _read_field(field: "attrs.Attribute[Any]", section: Value, entry: Value | None, report: Report) -> Any:
    if entry is None:
        if field.metadata.get("required"):
            report.add(section.line, f"{section.key}.{field.name}".lstrip("."), "no such key", "it (it has no default)")
            raise Discarded(field.name)
        return _default(field, section.base)
    try:
        return report.attempt(field.metadata["read"], entry, is_secret=bool(field.metadata.get("secret")))
    except Discarded:
        if field.metadata.get("required"):
            raise
        return _default(field, section.base)


def read_section(kind: type[T], value: Value, report: Report, spelling: Callable[[str], str] = str) -> T:
    """
    Fill a section; a key with a mistake keeps its default, so that the other keys are checked too.

    :raises Discarded: when a required key is missing or wrong.
    """
    entries = report.pairs(value, "a mapping of keys", spelling)
    fields = {field.name: field for field in attrs.fields(kind)}  # type: ignore[arg-type]
    for name, entry in entries.items():
        if name not in fields:
            report.unknown(entry, name, fields)
    found: dict[str, Any] = {}
    missing: Discarded | None = None
    for name, field in fields.items():
        try:
            found[name] = _read_field(field, value, entries.get(name), report)
        except Discarded as reason:
            missing = reason
    if missing:
        raise missing
    return kind(**found)


def section_of(kind: type[T]) -> Reader[T]:
    """A nested section."""

    def read(value: Value, report: Report) -> T:
        return read_section(kind, value, report)

    return read


def keys_of(kind: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a section and the sections in it, dotted, with its default as the documents show it."""
    for field in attrs.fields(kind):
        name = f"{prefix}{field.name}"
        if "keys" in field.metadata:
            suffix, inner = field.metadata["keys"]
            yield from keys_of(inner, f"{name}{suffix}.")
        else:
            yield name, shown_default(field)


def shown_default(field: "attrs.Attribute[Any]") -> str:
    """The default of a key as the documents show it."""
    if field.metadata.get("required"):
        return "required"
    shown = field.metadata["shown"]
    if shown is not None:
        return str(shown)
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
