# -*- test-case-name: tests.test_editing_yamltext -*-
"""
How a value is written in YAML, so that it is read as the same: plain where that is safe, in quotes where it is not.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

JSON = Any
STEP = 2
"""Columns by which an inner block is indented."""

_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"


def scalar(value: JSON, *, like: str = "", exact: bool = False) -> str:
    """
    One value on one line, good in flow and in block.

    :param like: the style it had: ``'`` or ``"`` stay.
    :param exact: whether a text that looks like a number or a truth is to stay a text.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    if like not in ("'", '"') and _is_safe_plain(value, exact):
        return value
    return _single(value) if like != '"' and value.isprintable() else _double(value)


_FRAMES = (("k: %s", 1), ("- %s", 1), ("[%s, z]", 2), ("{k: %s, z: 1}", 2))
"""Where a value may stand, and how many elements that makes."""


def _is_safe_plain(value: str, exact: bool) -> bool:
    """Whether a text without quotes is read as that text everywhere."""
    if not value.isprintable():
        return False
    tags = {_tag_within(frame % value, count, value) for frame, count in _FRAMES}
    return not tags & {None, _NULL} and (not exact or tags == {_STRING})


def _tag_within(text: str, count: int, value: str) -> str | None:
    """The tag of the first of so many elements, if it is that value; None: it is read as something else."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    if not isinstance(node, yaml.CollectionNode) or len(node.value) != count:
        return None
    first: Any = node.value[0]
    found = first[1] if isinstance(first, tuple) else first
    if not isinstance(found, yaml.ScalarNode) or found.style or found.value != value:
        return None
    return str(found.tag)


def _single(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _double(value: str) -> str:
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def key(name: str) -> str:
    """A key of a mapping."""
    return name if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) else scalar(name, exact=True)


def flow(value: JSON, *, exact: bool = False) -> str:
    """A value with brackets and braces."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key(str(name))}: {flow(entry, exact=exact)}" for name, entry in value.items())
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(entry, exact=exact) for entry in value) + "]"
    return scalar(value, exact=exact)


def block(value: JSON, column: int, *, exact: bool = False) -> list[str]:
    """
    The lines of a mapping or list, each indented to a column.

    An empty one, and a mapping of numbers to words (the ports of a switch), is one line in flow.
    """
    indent = " " * column
    if isinstance(value, Mapping):
        lines = []
        for name, entry in value.items():
            lines += _entry(f"{indent}{key(str(name))}:", entry, column, exact)
        return lines
    lines = []
    for entry in value:
        if isinstance(entry, Mapping) and entry:
            inner = block(entry, column + STEP, exact=exact)
            lines += [f"{indent}- {inner[0].lstrip(' ')}", *inner[1:]]
        else:
            lines.append(f"{indent}- {flow(entry, exact=exact)}")
    return lines


def _entry(head: str, value: JSON, column: int, exact: bool) -> list[str]:
    is_short = not value or (isinstance(value, Mapping) and all(str(name).isdigit() for name in value))
    if isinstance(value, Mapping | list | tuple) and not is_short:
        return [head, *block(value, column + STEP, exact=exact)]
    return [f"{head} {flow(value, exact=exact)}"]
