# -*- test-case-name: tests.test_ctl_progress -*-
"""
An operation while it goes on: a live table on a terminal, lines in a pipe, JSON for programs.

All of them are told the operation as JSON, whole or with the reports that changed; at the end they tell what became of
each node: how long each stage took, or why it failed and what to do.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from piman.ctl.client import JSON
from piman.ctl.printing import coloured, console_for, harmless, place, show_json, table

ORDER = ("failed", "following", "switching on", "off", "switching off", "waiting", "cancelled", "done")
"""When not all fit: who needs a look comes first."""
STEP_WIDTH, PHASE_WIDTH, SECONDS_WIDTH = 13, 10, 7
RESERVED_LINES = 5
"""Of a terminal: head, title, what is left out, and two for the shell's prompt."""


class View(Protocol):
    """What shows an operation."""

    def update(self, operation: JSON) -> None:
        """It is so by now; reports that are left out have not changed."""

    def say(self, text: str) -> None:
        """Something besides: the manager is away."""

    def tick(self) -> None:
        """Time has passed."""

    def finish(self) -> None:
        """It is over, or not followed any more."""


class Progress:
    """
    An operation, put together from what was told of it.

    :ivar operation: without its reports; empty: nothing was told yet.
    :ivar reports: by their places.
    """

    def __init__(self) -> None:
        self.operation: JSON = {}
        self.reports: dict[int, JSON] = {}

    def update(self, operation: JSON) -> list[JSON]:
        """Take what was told; the reports that have another step, phase or reason now."""
        self.operation = {name: value for name, value in operation.items() if name != "reports"}
        changed = [report for report in operation["reports"] if self._is_news(report)]
        self.reports.update({report["index"]: report for report in operation["reports"]})
        return changed

    def _is_news(self, report: JSON) -> bool:
        before = self.reports.get(report["index"])
        names = ("step", "phase", "reason", "tries", "dark")
        return before is None or any(before[name] != report[name] for name in names)

    @property
    def is_final(self) -> bool:
        """Whether nothing more will be done."""
        return bool(self.operation.get("final"))

    @property
    def is_good(self) -> bool:
        """Whether each node is done."""
        return self.is_final and all(report["step"] == "done" for report in self.reports.values())

    def whole(self) -> JSON:
        """The operation with all reports."""
        return {**self.operation, "reports": [self.reports[index] for index in sorted(self.reports)]}


# In words


def seconds(report: JSON, now: float) -> str:
    """For how long a node has been at work, or was."""
    if not report["started"]:
        return ""
    return f"{max(0.0, (report['finished'] or now) - report['started']):.0f}"


def where(report: JSON) -> str:
    """Its step; while it is followed, its phase stands beside it."""
    return (
        f"{report['step']} {report['phase']}" if report["step"] == "following" and report["phase"] else report["step"]
    )


def stages(report: JSON) -> str:
    """How long each stage took: ``powered 4 s, leased 2 s, ...``; the last one is where it is."""
    told = []
    times = [stage["time"] for stage in report["stages"]]
    for stage, begun, end in zip(report["stages"], times, times[1:], strict=False):
        told.append(f"{stage['phase']} {end - begun:.0f} s")
    if report["stages"]:
        told.append(report["stages"][-1]["phase"])
    return ", ".join(told)


def outcome(report: JSON) -> Iterator[str]:
    """What became of a node: a line, and another one with what to do."""
    name = harmless(report["target"]["name"])
    took = f" after {seconds(report, 0.0)} s" if report["finished"] and report["started"] else ""
    tries = f", {report['tries']} power cycles" if report["tries"] > 1 else ""
    if report["step"] == "done":
        told = report["reason"] or stages(report)
        yield f"{name}: done{took}{tries}{': ' + harmless(told) if told else ''}"
    else:
        yield f"{name}: {where(report)}{took}{': ' + harmless(report['reason']) if report['reason'] else ''}"
    if report["dark"]:
        where_it_is = place(report["target"]["port"])
        yield f"  {where_it_is} may be off, and could not be switched on yet: that is tried on and on"
    if report["remedy"]:
        yield f"  {harmless(report['remedy'])}"


def title(operation: JSON, reports: Sequence[JSON]) -> str:
    """``restart 1a2b3c4d: 2 done, 1 failed``"""
    counts = {step: sum(report["step"] == step for report in reports) for step in reversed(ORDER)}
    told = ", ".join(f"{count} {step}" for step, count in counts.items() if count)
    return f"{operation['action']} {operation['id']}: {told}"


# Views


class Lines:
    """A line for each step of each node."""

    def __init__(self, answer: Any, now: Callable[[], float]) -> None:
        self.progress = Progress()
        self._answer = answer
        self._now = now

    def update(self, operation: JSON) -> None:
        """Print what is new."""
        for report in self.progress.update(operation):
            if not report["final"]:
                since = f"{self._now() - operation['created']:6.1f} s"
                print(f"{since}  {harmless(report['target']['name'])}: {where(report)}", file=self._answer)
            else:
                for line in outcome(report):
                    print(f"          {line}", file=self._answer)
        self._answer.flush()

    def say(self, text: str) -> None:
        """Somebody who reads a pipe reads standard error, too."""

    def tick(self) -> None:
        """Lines do not move."""

    def finish(self) -> None:
        """The last line counts."""
        if self.progress.operation:
            print(title(self.progress.operation, list(self.progress.reports.values())), file=self._answer)
            self._answer.flush()


class Table:
    """
    A live table on a terminal, a line for each node.

    :param console: the terminal.
    """

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self.progress = Progress()
        self._console = console
        self._now = now
        self._note = ""
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def update(self, operation: JSON) -> None:
        """Draw it."""
        self.progress.update(operation)
        self._note = ""
        if not self._live.is_started:
            self._live.start()
        self.tick()

    def say(self, text: str) -> None:
        """Show it below the table."""
        self._note = text
        self.tick()

    def tick(self) -> None:
        """Seconds go on."""
        if self._live.is_started:
            self._live.update(self.draw(self._console.width, self._console.height), refresh=True)

    def draw(self, width: int, height: int) -> RenderableType:
        """The table on so many columns and lines; what does not fit is counted."""
        reports = sorted(
            self.progress.reports.values(), key=lambda report: (ORDER.index(report["step"]), report["index"])
        )
        room = max(1, height - RESERVED_LINES - bool(self._note))
        shown = reports if len(reports) <= room else reports[: room - 1]
        rows = [self._row(report, width) for report in shown]
        parts: list[RenderableType] = [
            Text(title(self.progress.operation, reports), style="bold", no_wrap=True, overflow="ellipsis"),
            table(("node", "step", "phase", "seconds", "why"), rows, least=(4, STEP_WIDTH, PHASE_WIDTH, SECONDS_WIDTH)),
        ]
        if len(shown) < len(reports):
            rest = title(self.progress.operation, reports[len(shown) :]).partition(": ")[2]
            left_out = f"and {len(reports) - len(shown)} more: {rest}"
            parts.append(Text(left_out, style="italic", no_wrap=True, overflow="ellipsis"))
        if self._note:
            parts.append(Text(self._note, style="yellow", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _row(self, report: JSON, width: int) -> list[Text]:
        name, why = Text(harmless(report["target"]["name"])), Text(harmless(report["reason"]))
        name.truncate(max(8, width // 4), overflow="ellipsis")
        used = max(4, *(len(each["target"]["name"]) for each in self.progress.reports.values()))
        used = min(used, max(8, width // 4)) + STEP_WIDTH + PHASE_WIDTH + SECONDS_WIDTH + 4 * 2
        why.truncate(max(3, width - used - 1), overflow="ellipsis")
        step, phase = coloured(report["step"]), coloured(report["phase"] or "")
        return [name, step, phase, Text(seconds(report, self._now())), why]

    def finish(self) -> None:
        """Leave the terminal with the outcome of each node."""
        if self._live.is_started:
            self._live.stop()
        if self.progress.operation:
            reports = [self.progress.reports[index] for index in sorted(self.progress.reports)]
            for report in reports:
                for line in outcome(report):
                    style = "" if line.startswith("  ") else coloured(report["step"]).style
                    self._console.print(Text(line, style=style))
            self._console.print(Text(title(self.progress.operation, reports), style="bold"))


class Document:
    """Nothing while it goes on, the whole operation at the end."""

    def __init__(self, answer: Any) -> None:
        self.progress = Progress()
        self._answer = answer

    def update(self, operation: JSON) -> None:
        """Remember it."""
        self.progress.update(operation)

    def say(self, text: str) -> None:
        """Programs do not care."""

    def tick(self) -> None:
        """Nor for time."""

    def finish(self) -> None:
        """Print it."""
        if self.progress.operation:
            show_json(self._answer, self.progress.whole())


def view_for(answer: Any, now: Callable[[], float], *, json: bool) -> "Lines | Table | Document":
    """The view for whoever reads."""
    if json:
        return Document(answer)
    if answer.isatty():
        return Table(console_for(answer), now)
    return Lines(answer, now)
