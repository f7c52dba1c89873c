# -*- test-case-name: tests.test_simulator_showing_view -*-
"""
What shows a virtual rack while it runs: a live table, or plain lines when nobody looks.
"""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.live import Live

from piman.simulator.booting.journal import Step
from piman.simulator.pi import Pi
from piman.simulator.showing.screen import counts, screen

FEW = 24
"""Up to so many boards, each step of each board is worth a line."""
SUMMARY_SECONDS = 5.0
"""Of more boards, a line this often."""


class LiveView:
    """
    The whole terminal while the rack runs; after it the table stays on the terminal as it was last.

    The terminal's second screen is used, so that nothing scrolls and a change of its size leaves no debris.
    """

    def __init__(self, pis: Sequence[Pi], console: Console, title: str) -> None:
        self._pis = pis
        self._title = title
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._began: float | None = None
        self._last: RenderableType | None = None

    def start(self) -> None:
        """Take the terminal."""
        self._live.start()

    def draw(self, now: float) -> None:
        """Show how things are."""
        self._began = now if self._began is None else self._began
        width, height = self._console.size
        self._last = screen(self._pis, now, elapsed=now - self._began, width=width, height=height, title=self._title)
        self._live.update(self._last, refresh=True)

    def changed(self, pi: Pi, elapsed: float) -> None:
        """The next drawing shows it."""

    def stop(self) -> None:
        """Give the terminal back, with the last table; harmless when it was not taken, or twice."""
        if not self._live.is_started:
            return
        self._live.stop()
        if self._last is not None:
            self._console.print(self._last)


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
