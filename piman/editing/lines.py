# -*- test-case-name: tests.test_editing_lines -*-
"""
Whole texts put over whole texts: lines that say the same keep the bytes they had, line ends and all.

What a browser sends back has lost line ends, the mark at the beginning, and bytes that are no text.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher, unified_diff

import attrs

_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r|$)")
LINE_ENDS = ("\r\n", "\n", "\r")


@attrs.frozen
class Line:
    """A line as it is shown, and the text that it stands for, line end included."""

    shown: str
    whole: str


def lines_of(text: str) -> list[Line]:
    """The lines of a text, each standing for itself."""
    return [Line(match[1], match[0]) for match in _LINE.finditer(text) if match[0]]


def end_of(whole: str) -> str:
    """The line end of a line; empty: it has none."""
    return next((each for each in LINE_ENDS if whole.endswith(each)), "")


def usual_end(lines: Sequence[Line]) -> str:
    """What ends the lines: what ends the first."""
    return end_of(lines[0].whole) or "\n" if lines else "\n"


def overlay(before: Sequence[Line], shown: str) -> str:
    """The text that a changed view stands for."""
    after = lines_of(shown)
    usual = usual_end(before)
    matcher = SequenceMatcher(None, [line.shown for line in before], [line.shown for line in after], False)
    found: list[str] = []
    for what, low, high, first, last in matcher.get_opcodes():
        if what == "equal":
            found += [line.whole for line in before[low:high]]
        else:
            found += [line.shown + (usual if end_of(line.whole) else "") for line in after[first:last]]
    return _joined(found, bool(after and end_of(after[-1].whole)), usual)


def _joined(lines: list[str], is_ended: bool, usual: str) -> str:
    """Every line but the last ends; the last as the view has it."""
    for index, line in enumerate(lines[:-1]):
        if not end_of(line):
            lines[index] = line + usual
    if lines:
        end = end_of(lines[-1])
        if is_ended and not end:
            lines[-1] += usual
        elif not is_ended and end:
            lines[-1] = lines[-1].removesuffix(end)
    return "".join(lines)


def difference(before: str, after: str, name: str, context: int = 3) -> list[str]:
    """What changes, as the lines of a unified diff without line ends; an end that is missing is told as diff does."""
    old, new = ([_told(line) for line in lines_of(text)] for text in (before, after))
    return [line.rstrip("\n") for line in unified_diff(old, new, f"{name} (now)", f"{name} (then)", n=context)]


def _told(line: Line) -> str:
    end = end_of(line.whole)
    return line.shown + {"\r\n": "␍", "\r": "␍", "": "  (no line end)"}.get(end, "") + "\n"
