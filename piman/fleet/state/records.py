# -*- test-case-name: tests.test_fleet_records -*-
"""
Frozen values <-> JSON, by their own annotations.

Whatever is an attrs class of numbers, texts, tuples, enumerations, addresses and other such classes needs no
code here: events, statuses and intents of today and tomorrow are written and read back alike.  A field that a
file does not have takes its default; a field that the class no longer has is dropped.
"""

import json
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from ipaddress import IPv4Address
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from piman.fleet.model import MACAddress

Value = TypeVar("Value")
_Decoder = Callable[[Any], Any]


class UnreadableRecord(ValueError):
    """A stored record does not fit the class that it names."""


def as_plain(value: Any) -> Any:
    """What :mod:`json` can write: total, anything without a form of its own becomes its text."""
    kind: Any = type(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, MACAddress):
        return str(value)
    if attrs.has(kind):
        return {name: as_plain(getattr(value, name)) for name in _field_names(kind)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [as_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    return str(value)


def to_json(value: Any) -> str:
    """One line of JSON, ASCII only: what the network sent cannot break it."""
    return json.dumps(as_plain(value), separators=(",", ":"))


def from_plain(kind: type[Value], plain: Any) -> Value:
    """
    The value of class ``kind`` that :func:`as_plain` made ``plain`` of.

    :raises UnreadableRecord: when it does not fit.
    """
    annotation: Any = kind
    try:
        decoded: Value = _decoder(annotation)(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as reason:
        raise UnreadableRecord(f"{kind.__name__}: {reason}") from reason
    return decoded


def from_json(kind: type[Value], text: str) -> Value:
    """
    Read what :func:`to_json` wrote.

    :raises UnreadableRecord: when it does not fit.
    """
    try:
        plain = json.loads(text)
    except (TypeError, ValueError, RecursionError) as reason:
        raise UnreadableRecord(f"{kind.__name__}: {reason}") from reason
    return from_plain(kind, plain)


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))


@cache
def _decoder(annotation: Any) -> _Decoder:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _optional(annotation, arguments)
    if origin is tuple:
        return _tuple(arguments)
    if annotation is MACAddress:
        return lambda plain: MACAddress.parse(str(plain))
    if annotation in (float, IPv4Address) or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return _call(annotation)
    if attrs.has(annotation):
        return _record(annotation)
    if annotation in (int, str, bool):
        return _exactly(annotation)
    raise TypeError(f"no way to read {annotation}")


def _call(kind: Callable[[Any], Any]) -> _Decoder:
    return kind


def _optional(annotation: Any, arguments: tuple[Any, ...]) -> _Decoder:
    kinds = [argument for argument in arguments if argument is not NoneType]
    if len(kinds) != 1:
        raise TypeError(f"no way to tell the cases of {annotation} apart")
    inner = _decoder(kinds[0])
    return lambda plain: None if plain is None else inner(plain)


def _tuple(arguments: tuple[Any, ...]) -> _Decoder:
    if arguments[-1] is Ellipsis:
        each = _decoder(arguments[0])
        return lambda plain: tuple(each(item) for item in plain)
    every = [_decoder(argument) for argument in arguments]
    return lambda plain: tuple(read(item) for read, item in zip(every, plain, strict=True))


def _record(kind: Any) -> _Decoder:
    hints = get_type_hints(kind)
    fields = {name: _decoder(hints[name]) for name in _field_names(kind)}

    def read(plain: Any) -> Any:
        if not isinstance(plain, Mapping):
            raise TypeError(f"{plain!r} is no record")
        return kind(**{name: decode(plain[name]) for name, decode in fields.items() if name in plain})

    return read


def _exactly(kind: type[Any]) -> _Decoder:
    def read(plain: Any) -> Any:
        if not isinstance(plain, kind):
            raise TypeError(f"{plain!r} is not {kind.__name__}")
        return plain

    return read
