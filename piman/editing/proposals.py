# -*- test-case-name: tests.test_editing_desk -*-
"""
Values of editing: a file as it is, what somebody would have in it, and what would become of that.
"""

from pathlib import Path
from typing import Any

import attrs

from piman.editing.changes import BadChange, Change, read_changes
from piman.editing.form import Form
from piman.editing.hoststext import BadHostChange, HostChange, HostLine, read_host_changes

CONFIG, HOSTS_FILE = "config", "hosts"
"""The two files."""


class BadProposal(ValueError):
    """What was sent is no proposal."""


@attrs.frozen(kw_only=True)
class Mistake:
    """Something wrong with a file."""

    line: int
    """Counted from 1; 0: the file as a whole."""
    key: str
    """Of piman.yaml: the dotted key; of hosts.csv: the column.  May be empty."""
    text: str
    file: str = ""
    """Which of the two, where it is not the one that was asked about."""


@attrs.frozen(kw_only=True)
class Sheet:
    """A file as it is now, without secrets."""

    path: Path
    exists: bool
    digest: str
    """Tells versions apart."""
    text: str
    """Of a file that is not there: the skeleton that is offered."""
    problems: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]
    form: Form | None = None
    """Of piman.yaml, when it can be taken apart."""
    rows: tuple[HostLine, ...] = ()
    """Of hosts.csv."""


@attrs.frozen(kw_only=True)
class Proposal:
    """
    What somebody would have in a file: a whole text, or changes of the one that was looked at.

    :ivar base: the text that was looked at, as it was shown; empty: the one of now.
    """

    text: str | None = None
    changes: tuple[Change, ...] = ()
    rows: tuple[HostChange, ...] = ()
    base: str | None = None


@attrs.frozen(kw_only=True)
class Verdict:
    """What would become of a proposal."""

    digest: str
    """Of the file as it is now."""
    text: str
    """The file as it would be, without secrets."""
    diff: tuple[str, ...]
    problems: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]
    at_once: tuple[str, ...] = ()
    """Keys that would change while the manager runs."""
    at_restart: tuple[str, ...] = ()
    """Keys that would wait for a restart."""
    others: tuple[str, ...] = ()
    """What somebody else changed since the base."""
    form: Form | None = None
    rows: tuple[HostLine, ...] = ()
    backup: str = ""
    """Where the old content was kept."""


def read_proposal(kind: str, found: Any) -> Proposal:
    """
    A proposal as it is sent: ``{"text": ...}`` or ``{"changes": [...]}``, and perhaps ``"base"``.

    :raises BadProposal: when it is none.
    """
    if (
        not isinstance(found, dict)
        or ("text" in found) == ("changes" in found)
        or set(found) - {"text", "changes", "base"}
    ):
        raise BadProposal('found no proposal, expected {"text": ...} or {"changes": [...]}, and perhaps "base"')
    for name in ("text", "base"):
        if name in found and not isinstance(found[name], str):
            raise BadProposal(f"{name}: found no text")
        if "\0" in found.get(name, ""):
            raise BadProposal(f"{name}: found a zero byte, which no text has")
    try:
        if "text" in found:
            return Proposal(text=found["text"], base=found.get("base"))
        if kind == CONFIG:
            return Proposal(changes=read_changes(found["changes"]), base=found.get("base"))
        return Proposal(rows=read_host_changes(found["changes"]), base=found.get("base"))
    except (BadChange, BadHostChange) as reason:
        raise BadProposal(str(reason)) from reason


class Mistaken(Exception):
    """
    A proposal has mistakes and was not kept.

    :ivar verdict: with the mistakes.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__("; ".join(problem.text for problem in verdict.problems))
        self.verdict = verdict
