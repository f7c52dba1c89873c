# -*- test-case-name: tests.test_boot_images -*-
"""
Parts of a file: the one that an HTTP request asks for (RFC 9110 section 14), and what several cover together.
"""

import re

import attrs

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


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
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        count = min(int(last), size)
        if not count:
            raise ValueError("an empty suffix")
        return Span(size - count, size)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise ValueError("it begins after the end")
    return Span(int(first), min(int(last) + 1, size) if last else size)


def covered(spans: tuple[Span, ...], more: Span) -> tuple[Span, ...]:
    """The spans with one more, merged and in order."""
    merged: list[Span] = []
    for span in sorted((*spans, more), key=lambda span: span.start):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        elif span.end > span.start:
            merged.append(span)
    return tuple(merged)
