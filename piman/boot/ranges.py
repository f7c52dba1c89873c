# -*- test-case-name: tests.test_boot_images -*-
"""
Parts of a file: the one that an HTTP request asks for (RFC 9110 section 14), and what several cover together.
"""

import re

import attrs

# RFC 9110 section 14.1: "Range units are case-insensitive".  Its digits are those of ASCII, in any number.
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.ASCII | re.IGNORECASE)
_DIGITS_READ = 19
_BEYOND = 1 << 64
"""More bytes than any file has: stands for all numbers of more digits (int() takes 4300 at most)."""


@attrs.frozen
class Span:
    """Bytes ``start`` to ``end``, the end not included."""

    start: int
    end: int


def wanted_span(header: str | None, size: int) -> Span | None:
    """
    The single range that is asked for (RFC 9110 section 14.2); None: the whole.

    Several ranges, other units and malformed ones are ignored, as the section allows.

    :raises ValueError: nothing of the range exists.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or not any(match.groups()):
        return None
    first, last = (_position(digits) for digits in match.groups())
    if first is None:
        count = min(last or 0, size)
        if not count:
            raise ValueError("an empty suffix")
        return Span(size - count, size)
    if last is not None and last < first:
        return None
    if first >= size:
        raise ValueError("it begins after the end")
    return Span(first, size if last is None else min(last + 1, size))


def _position(digits: str) -> int | None:
    """The number; None: there is none.  Beyond any file all numbers are the same."""
    digits = digits.lstrip("0") or digits[:1]
    if len(digits) > _DIGITS_READ:
        return _BEYOND
    return int(digits) if digits else None


def covered(spans: tuple[Span, ...], more: Span) -> tuple[Span, ...]:
    """The spans with one more, merged and in order."""
    merged: list[Span] = []
    for span in sorted((*spans, more), key=lambda span: span.start):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        elif span.end > span.start:
            merged.append(span)
    return tuple(merged)
