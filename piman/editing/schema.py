# -*- test-case-name: tests.test_editing_form -*-
"""
The declarations of :mod:`piman.settings`, asked by path: which key is meant, what a plugin owns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from piman.editing.yamltext import Path, YAMLText
from piman.settings.readers import Shape, shape_of
from piman.settings.sections import Document


def field_at(path: Sequence[str | int]) -> "attrs.Attribute[Any] | None":
    """The declaration of the key at a path, or of the one that the path leads into; None: there is none."""
    kind: Any = Document
    found: attrs.Attribute[Any] | None = None
    for step in path:
        if isinstance(step, int):
            continue
        if kind is None:
            return found
        fields: dict[str, attrs.Attribute[Any]] = {field.name: field for field in attrs.fields(kind)}
        found = fields.get(step)
        if found is None:
            return None
        _, kind = found.metadata.get("keys", ("", None))
    return found


def meant(path: Path, name: str) -> str:
    """The key that is meant by a key as written, in the mapping at a path."""
    if not path or not isinstance(path[-1], int):
        return name
    field = field_at(path)
    spelling = field.metadata.get("spelling") if field is not None else None
    return str(spelling(name)) if spelling is not None else name


def shape_at(field: "attrs.Attribute[Any]") -> Shape:
    """How the value of a key looks."""
    return shape_of(field.metadata["read"])


def is_opaque(path: Path) -> bool:
    """Whether a plugin reads what stands there, to whom ``10`` and ``'10'`` are two things."""
    field = field_at(path)
    if field is None or "keys" in field.metadata:
        return False
    shape = shape_at(field)
    return "plugin" in (shape.kind, shape.item and shape.item.kind)


def configuration(text: str) -> YAMLText:
    """The text of a ``piman.yaml``, to be edited."""
    return YAMLText(text, spelling=meant, exact=is_opaque)


def is_path(path: Any) -> bool:
    """Whether a value is a path: keys, and indexes of elements."""
    return (
        isinstance(path, list)
        and bool(path)
        and all(isinstance(step, str) or (isinstance(step, int) and not isinstance(step, bool)) for step in path)
    )


def is_value(value: Any, depth: int = 0) -> bool:
    """Whether a value can be written: text, numbers, truths, lists and mappings of them."""
    if depth > 8:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and is_value(entry, depth + 1) for name, entry in value.items())
    if isinstance(value, list):
        return all(is_value(entry, depth + 1) for entry in value)
    return isinstance(value, str | int | float | bool)
