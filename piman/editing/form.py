# -*- test-case-name: tests.test_editing_form -*-
"""
``piman.yaml`` as a form: what may stand in it, from the declarations that it is read with, and what stands there now.

The words of help are those of ``docs/reference/piman-yaml.md``.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import attrs

from piman.editing.changes import plain
from piman.editing.pieces import ALIAS, JSON, LIST, Piece
from piman.editing.places import CannotEdit
from piman.editing.schema import shape_at
from piman.editing.yamltext import Path, YAMLText, path_text
from piman.settings.readers import Shape
from piman.settings.readers import shown_default as default_of
from piman.settings.sections import Document

UNSET, BLANK, WRITTEN, ELSEWHERE = "unset", "blank", "written", "elsewhere"
"""How a value stands in the file: not at all, a key with nothing behind it, a value, an alias."""

_CAPITALS = {"dhcp", "dns", "http", "id", "mac", "ntp", "snmp", "tcp", "tftp", "udp", "vlan", "pi"}
_ROW = re.compile(r"^\| `(?P<key>[a-z_.\[\]]+)` \| (?P<default>.*?) \| (?P<text>.*) \|$")


@attrs.frozen(kw_only=True)
class Help:
    """What the reference says of a key."""

    text: str
    heading: str
    later: bool = False
    """Whether no part of this version uses it."""


@attrs.frozen(kw_only=True)
class Field:
    """One key of the form."""

    path: Path
    key: str
    """As problems name it."""
    label: str
    help: str
    default: str
    required: bool
    secret: bool
    later: bool
    shape: Shape
    state: str
    value: JSON


@attrs.frozen(kw_only=True)
class Group:
    """Fields under one heading."""

    name: str
    title: str
    fields: tuple[Field, ...]


@attrs.frozen(kw_only=True)
class Repeated:
    """A list of sections, like the switches."""

    path: Path
    title: str
    help: str
    elements: tuple[tuple[Field, ...], ...]
    empty: tuple[Field, ...]
    """An element that is not there yet; its paths begin with an index of -1."""


@attrs.frozen(kw_only=True)
class Form:
    """The whole of it."""

    groups: tuple[Group, ...]
    repeated: tuple[Repeated, ...]


def form_of(text: YAMLText) -> Form:
    """
    The form of a text whose secrets have been taken out.

    :raises NotYAML: when the text is none.
    """
    groups: dict[str, list[Field]] = {}
    repeated = []
    for field in attrs.fields(Document):
        suffix, inner = field.metadata.get("keys", ("", None))
        if suffix:
            repeated.append(_repeated(text, (field.name,), inner))
        elif inner is not None:
            parts = list(_fields(text, inner, (field.name,), field.name + "."))
            groups.setdefault(field.name, []).extend(part for part in parts if isinstance(part, Field))
            repeated += [part for part in parts if isinstance(part, Repeated)]
        else:
            found = _field(text, field, (field.name,), field.name)
            groups.setdefault(_help(field.name).heading or "Other", []).append(found)
    return Form(
        groups=tuple(Group(name=name, title=_title(name), fields=tuple(found)) for name, found in groups.items()),
        repeated=tuple(repeated),
    )


def _title(name: str) -> str:
    return label_of(name) if name.islower() else name


def _fields(text: YAMLText, kind: type, path: Path, reference: str) -> "Iterator[Field | Repeated]":
    for field in attrs.fields(kind):
        suffix, inner = field.metadata.get("keys", ("", None))
        here = (*path, field.name)
        if suffix:
            yield _repeated(text, here, inner)
        elif inner is not None:
            yield from _fields(text, inner, here, f"{reference}{field.name}.")
        else:
            yield _field(text, field, here, reference + field.name)


def _repeated(text: YAMLText, path: Path, kind: type) -> Repeated:
    piece = _piece(text, path)
    count = len(piece.items) if piece is not None and piece.kind == LIST else 0
    reference = path_text(path) + "[]."
    return Repeated(
        path=path,
        title=label_of(str(path[-1])),
        help=_help(path_text(path)).text,
        elements=tuple(_element(text, (*path, index), kind, reference) for index in range(count)),
        empty=_element(text, (*path, -1), kind, reference),
    )


def _element(text: YAMLText, path: Path, kind: type, reference: str) -> tuple[Field, ...]:
    return tuple(part for part in _fields(text, kind, path, reference) if isinstance(part, Field))


def _field(text: YAMLText, field: "attrs.Attribute[Any]", path: Path, reference: str) -> Field:
    piece = _piece(text, path)
    told = _help(reference)
    return Field(
        path=path,
        key=path_text(path),
        label=_label(path),
        help=told.text,
        default=default_of(field),
        required=_is_required(field, path),
        secret=bool(field.metadata.get("secret")),
        later=told.later,
        shape=shape_at(field),
        state=_state(piece),
        value=None if piece is None else plain(piece),
    )


def _is_required(field: "attrs.Attribute[Any]", path: Path) -> bool:
    """Whether a file without the key is none; what only its section needs, when it is there, is not."""
    is_needed = bool(field.metadata.get("required")) or field.metadata.get("shown") == "required"
    inner = max((index for index, step in enumerate(path) if isinstance(step, int)), default=-1)
    return is_needed and len(path) == inner + 2


def _piece(text: YAMLText, path: Path) -> Piece | None:
    try:
        return text.find(path)
    except CannotEdit:
        return None


def _state(piece: Piece | None) -> str:
    if piece is None:
        return UNSET
    if piece.kind == ALIAS:
        return ELSEWHERE
    return BLANK if piece.is_blank else WRITTEN


def label_of(name: str) -> str:
    """A key as words."""
    words = [word.upper() if word in _CAPITALS else word for word in name.split("_")]
    words = ["Pi" if word == "PI" else word for word in words]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _label(path: Path) -> str:
    """Of a key in a section of an element, the section too: ``SNMP community``."""
    names = [step for step in path if isinstance(step, str)]
    inner = names[-2:] if any(isinstance(step, int) for step in path) and len(names) > 2 else names[-1:]
    if len(names) > 3 and any(isinstance(step, int) for step in path):
        inner = names[-3:]
    return label_of("_".join(inner))


# The reference


@cache
def reference() -> Mapping[str, Help]:
    """What ``docs/reference/piman-yaml.md`` says of each key; nothing, where the file was not packaged."""
    try:
        text = files("piman.settings").joinpath("piman-yaml.md").read_text("utf-8")
    except OSError:
        return {}
    found: dict[str, Help] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
        match = _ROW.match(line)
        if match:
            later = match["text"].startswith("**later** ")
            found[match["key"]] = Help(text=_plain_words(match["text"]), heading=heading, later=later)
    return found


def _help(key: str) -> Help:
    return reference().get(key, Help(text="", heading=""))


def _plain_words(text: str) -> str:
    """Markdown as plain text."""
    text = re.sub(r"\s*\(\[[^\]]*\]\([^)]*\)\)", "", text.removeprefix("**later** "))
    text = re.sub(r": \[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\*\*|`", "", text)
