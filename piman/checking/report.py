# -*- test-case-name: tests.test_checking_report -*-
"""
Findings as text for people and as JSON for machines.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from piman.checking.findings import Finding, Level

SYMBOLS = {Level.OK: "ok  ", Level.WARN: "warn", Level.FAIL: "FAIL"}
WIDEST_SUBJECT = 16
UNBROKEN = 100_000
"""Columns of a file: every finding stays on one line, for grep."""
NARROWEST = 40
"""Columns; a narrower terminal wraps the lines by itself."""


def as_text(found: Sequence[Finding], width: int = 80) -> str:
    """
    Aligned lines, each remedy indented below its finding, and a line that counts.

    :param width: columns of the terminal.
    """
    subjects = max((min(len(finding.subject), WIDEST_SUBJECT) for finding in found), default=0)
    lines = [line for finding in found for line in _lines(finding, subjects, max(width, NARROWEST))]
    return "\n".join([*lines, "", summary(found)])


def _lines(finding: Finding, subjects: int, width: int) -> Iterator[str]:
    head = f"{SYMBOLS[finding.level]}  {finding.subject:{subjects}}  "
    rest = " " * (6 + subjects + 2)
    yield from _wrapped(finding.text, width, head, rest)
    if finding.remedy:
        yield from _wrapped(finding.remedy, width, f"{rest}-> ", f"{rest}   ")


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    """Paths and commands are not torn apart: they are there to be copied."""
    return textwrap.wrap(
        text,
        width - 1,  # a line that fills the terminal leaves an empty one on some
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def summary(found: Iterable[Finding]) -> str:
    """How many of each."""
    levels = [finding.level for finding in found]
    ok, warnings, failures = (levels.count(level) for level in (Level.OK, Level.WARN, Level.FAIL))
    if not failures and not warnings:
        return f"All {ok} fine."
    return f"{ok} fine, {warnings} to look at, {failures} to mend."


def as_json(found: Iterable[Finding], config: str, status: int) -> str:
    """One object: the file, the exit status, and every finding with all of its fields."""
    rows = [
        {"level": item.level.value, "subject": item.subject, "text": item.text, "remedy": item.remedy} for item in found
    ]
    return json.dumps({"config": config, "status": status, "findings": rows}, indent=1, ensure_ascii=False)
