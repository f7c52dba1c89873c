# -*- test-case-name: tests.test_simulator_view -*-
"""
What the terminal shows of a virtual rack: a live table, or plain lines when nobody looks.

The step is what the board experiences, not what the manager believes; at the end the two are compared.
"""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from piman.simulator.journal import STEPS, Step
from piman.simulator.pi import Pi

COLOURS = {
    Step.DARK: "bright_black",
    Step.FIRMWARE: "bright_black",
    Step.ADDRESS: "yellow",
    Step.LOADING: "cyan",
    Step.KERNEL: "blue",
    Step.GREETING: "magenta",
    Step.FORMATTING: "magenta",
    Step.IMAGING: "magenta",
    Step.BOOTING: "blue",
    Step.UP: "bold green",
    Step.HUNG: "bold red",
}
ORDER = (Step.DARK, *STEPS, Step.HUNG, Step.UP)
FEW = 24
"""Up to so many boards, each step of each board is worth a line."""
SUMMARY_SECONDS = 5.0
"""Of more boards, a line this often."""
HEAD_LINES = 8
"""What the table needs besides its rows."""


def counts(pis: Sequence[Pi]) -> str:
    """How many boards are at each step."""
    found = Counter(pi.journal.step for pi in pis)
    return ", ".join(f"{found[step]} {step.value}" for step in ORDER if found[step])


def table(pis: Sequence[Pi], now: float, rows: int, title: str) -> RenderableType:
    """The rack; of more boards than rows, those that are not up yet and changed longest ago."""
    shown = list(pis)
    if len(shown) > rows:
        shown = sorted(shown, key=lambda pi: (pi.is_up, pi.journal.step is Step.DARK, pi.journal.since))[:rows]
    found = Table("node", "board", "address", "step", "seconds", "boots", "files", "again", "trouble", title=title)
    for pi in shown:
        found.add_row(*_row(pi, now))
    return Group(found, Text(counts(pis)))


def _row(pi: Pi, now: float) -> list[RenderableType]:
    journal = pi.journal
    return [
        pi.board.hostname,
        pi.board.kind.name,
        str(journal.address or ""),
        Text(journal.step.value, style=COLOURS[journal.step]),
        f"{now - journal.since:.1f}" if journal.steps else "",
        str(journal.boots),
        str(journal.files),
        str(journal.resends + journal.retries),
        "" if pi.is_up else journal.trouble,
    ]


class LiveView:
    """A table that is drawn over itself."""

    def __init__(self, pis: Sequence[Pi], console: Console, title: str) -> None:
        self._pis = pis
        self._title = title
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def start(self) -> None:
        """Take the terminal."""
        self._live.start()

    def draw(self, now: float) -> None:
        """Show how things are."""
        rows = max(self._console.size.height - HEAD_LINES, 1)
        self._live.update(table(self._pis, now, rows, self._title), refresh=True)

    def changed(self, pi: Pi, elapsed: float) -> None:
        """The next drawing shows it."""

    def stop(self) -> None:
        """Leave the terminal as it is."""
        self._live.stop()


class PlainView:
    """One line a step, or of many boards one line every few seconds."""

    def __init__(self, pis: Sequence[Pi], console: Console, title: str) -> None:
        self._pis = pis
        self._console = console
        self._title = title
        self._began: float | None = None
        self._said = float("-inf")

    def start(self) -> None:
        """Say what this is."""
        self._console.print(self._title, highlight=False)

    def draw(self, now: float) -> None:
        """Of many boards: how things are, now and then."""
        self._began = now if self._began is None else self._began
        if len(self._pis) > FEW and now - self._said >= SUMMARY_SECONDS:
            self._said = now
            self._console.print(f"{now - self._began:7.1f} s  {counts(self._pis)}", highlight=False, soft_wrap=True)

    def changed(self, pi: Pi, elapsed: float) -> None:
        """Of few boards: a line."""
        if len(self._pis) <= FEW:
            journal = pi.journal
            trouble = f"  ({journal.trouble})" if journal.step is Step.HUNG else ""
            self._console.print(
                f"{elapsed:7.1f} s  {pi.board.hostname:<8} {pi.board.kind.name:<4} "
                f"{journal.address or '-'!s:<15} {journal.step.value}{trouble}",
                highlight=False,
                soft_wrap=True,
            )

    def stop(self) -> None:
        """Nothing to put back."""
