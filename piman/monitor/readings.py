# -*- test-case-name: tests.test_monitor_readings -*-
"""
What an agent tells of its node: :class:`Reading`, to JSON and back.

Agents deployed years ago go on working, and so do other people's: of the five keys of the original any may be missing,
numbers may be text with a ``%`` behind them, ``time`` may be ctime text, unknown keys are ignored.  What cannot be
understood is not guessed: it is ``None``, and :attr:`Reading.complaints` says so.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

LARGEST_ANSWER_BYTES = 64 * 1024
"""A reading has 1000 bytes at most; whoever sends more is no agent."""

LONGEST_TEXT = 128
"""Longer texts are no names, dates or digests."""

MEASURES = ("cpu_percent", "memory_percent", "disk_percent", "num_pids")
"""What the agents of the original measure; an answer with none of these is no agent's."""

THROTTLING = ((0, "under-voltage"), (1, "frequency-capped"), (2, "throttled"), (3, "soft-temperature-limit"))
"""
The bits of the firmware's ``get_throttled``: now; 16 higher: has happened.

Source: Raspberry Pi documentation, ``vcgencmd get_throttled``; raspberrypi/linux issue 2367.
"""

_NUMBER = re.compile(r"([-+]?[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][-+]?[0-9]{1,3})?)\s*%?", re.ASCII)


class MalformedReading(ValueError):
    """What came is not what an agent says."""


def flags(throttled: int, *, since_boot: bool) -> tuple[str, ...]:
    """The names of the bits that are set: those of now, or those of what has happened."""
    shift = 16 if since_boot else 0
    return tuple(name for bit, name in THROTTLING if throttled >> (bit + shift) & 1)


@attrs.frozen(kw_only=True)
class Card:
    """The SD card or eMMC that the system runs from, as the kernel tells (``/sys/block/mmcblk0/device``)."""

    type: str | None = None
    """``SD`` or ``MMC`` (eMMC)."""
    name: str | None = None
    serial: str | None = None
    manfid: str | None = None
    """The manufacturer's number, hexadecimal."""
    date: str | None = None
    """Month and year of manufacture."""
    life_used_percent: float | None = None
    """eMMC only: at most so much of the estimated life is used; 110: more than all of it."""
    pre_eol: str | None = None
    """eMMC only: ``normal``, ``warning`` (80 % of the reserved blocks used) or ``urgent`` (90 %)."""


@attrs.frozen(kw_only=True)
class Reading:
    """How a node was at one moment; ``None``: it does not tell."""

    time: float | str | None = None
    """The node's own clock: seconds since 1970, or, from old agents, ctime text.  Show it, never count with it."""
    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None
    num_pids: int | None = None
    temp: float | None = None
    """Degrees Celsius of the processor."""
    uptime_seconds: float | None = None
    image_digest: str | None = None
    """The SHA-256 of the image that piman's installer put on the card."""
    throttled: int | None = None
    """The bits of the Pi firmware's ``get_throttled``: see :func:`flags`."""
    under_voltage: bool | None = None
    """Whether the board has too little voltage now."""
    root_read_only: bool | None = None
    """Whether the root file system is read-only, as ext4 makes it after an error."""
    root_errors: int | None = None
    """Errors that ext4 has found on the root file system since it was last checked."""
    disk_stalled_seconds: float | None = None
    """For so long the root file system has not answered; then :attr:`disk_percent` is missing."""
    card: Card | None = None
    complaints: tuple[str, ...] = attrs.field(default=(), eq=False)
    """What an agent should have told and did not, or told in a way that cannot be understood."""

    @classmethod
    def from_json(cls, data: bytes) -> "Reading":
        """
        Read an agent's answer.

        :raises MalformedReading: when it is none.
        """
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError) as reason:
            raise MalformedReading("the answer is not JSON") from reason
        if not isinstance(answer, dict):
            raise MalformedReading("the answer is not a JSON object")
        if not any(answer.get(name) is not None for name in MEASURES):
            raise MalformedReading("the answer has none of the keys of an agent: " + ", ".join(MEASURES))
        complaints: list[str] = [f"no {name}" for name in ("time", *MEASURES) if answer.get(name) is None]
        found = _read(_KEYS, answer, complaints)
        card = answer.get("card")
        return cls(
            **found,
            card=Card(**_read(_CARD_KEYS, card, complaints, "card.")) if isinstance(card, dict) else None,
            complaints=tuple(complaints),
        )

    def to_json(self) -> bytes:
        """The answer of an agent; what the board does not tell is left out."""
        answer = _told(self)
        if self.card is not None:
            answer["card"] = _told(self.card)
        if self.throttled is not None:
            answer["throttled_now"] = flags(self.throttled, since_boot=False)
            answer["throttled_since_boot"] = flags(self.throttled, since_boot=True)
        return json.dumps(answer).encode()


def _told(value: Any) -> dict[str, Any]:
    answer = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    return {name: found for name, found in answer.items() if found is not None and name not in ("card", "complaints")}


# Single keys: each gives what the value means, or raises MalformedReading


def _number(value: Any) -> float:
    if isinstance(value, str) and len(value) <= LONGEST_TEXT:
        match = _NUMBER.fullmatch(value.strip())
        value = float(match[1]) if match else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedReading("no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise MalformedReading("not finite")
    return number


def _integer(value: Any) -> int:
    return int(_number(value))


def _time(value: Any) -> float | str:
    try:
        return _number(value)
    except MalformedReading:
        return _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise MalformedReading(f"no text of up to {LONGEST_TEXT} characters")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise MalformedReading("neither true nor false")
    return value


_Read = Callable[[Any], Any]

_KEYS: Mapping[str, _Read] = {
    "time": _time,
    "cpu_percent": _number,
    "memory_percent": _number,
    "disk_percent": _number,
    "num_pids": _integer,
    "temp": _number,
    "uptime_seconds": _number,
    "image_digest": _text,
    "throttled": _integer,
    "under_voltage": _flag,
    "root_read_only": _flag,
    "root_errors": _integer,
    "disk_stalled_seconds": _number,
}

_CARD_KEYS: Mapping[str, _Read] = {
    "type": _text,
    "name": _text,
    "serial": _text,
    "manfid": _text,
    "date": _text,
    "life_used_percent": _number,
    "pre_eol": _text,
}


def _read(
    keys: Mapping[str, _Read], answer: Mapping[str, Any], complaints: list[str], prefix: str = ""
) -> dict[str, Any]:
    """What each key means; null is as good as missing."""
    found: dict[str, Any] = {}
    for name, read in keys.items():
        value = answer.get(name)
        if value is None:
            continue
        try:
            found[name] = read(value)
        except MalformedReading as reason:
            complaints.append(f"{prefix}{name} is {_shown(value)}, {reason}"[:200])
    return found


def _shown(value: Any) -> str:
    """In words; not what is in a list, which may be deep."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value)
