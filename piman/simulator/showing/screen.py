# -*- test-case-name: tests.test_simulator_showing_screen -*-
"""
A virtual rack on so many columns and lines.

The step is what the board experiences, not what the manager believes; at the end the two are compared.  What does not
fit into the terminal is left out by importance, and named: never cut without a word.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from textwrap import TextWrapper

import attrs
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from piman.simulator.booting.journal import STEPS, Step
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
SLOW_SECONDS = 30.0
"""A board that has been so long in one step deserves a look: without faults no step takes as long."""
TROUBLE_WIDTH = 18
"""Columns make room until the trouble has so much, as long as there are some that can be spared."""
GAP = 2
LOW = 16
"""A terminal of fewer lines has none for the title."""


@attrs.frozen
class Column:
    """
    One column of the table.

    :ivar width: always the same, so that columns never jump.
    :ivar spared: those with the highest number leave first; 0: never.
    """

    name: str
    width: int
    spared: int
    justify: JustifyMethod
    show: Callable[[Pi, float], RenderableType]


def _seconds(pi: Pi, now: float) -> Text:
    """How long it has been there; dark, up and hung boards are not slow."""
    if not pi.journal.steps:
        return Text("")
    seconds = now - pi.journal.since
    is_slow = pi.journal.step in STEPS and seconds >= SLOW_SECONDS
    return Text(f"{'slow ' if is_slow else ''}{seconds:.0f}", style="bold yellow" if is_slow else "")


def _step(pi: Pi, now: float) -> Text:
    return Text(pi.journal.step.value, style=COLOURS[pi.journal.step])


COLUMNS: tuple[Column, ...] = (
    Column("node", 7, 0, "left", lambda pi, now: pi.board.hostname),
    Column("board", 5, 3, "left", lambda pi, now: pi.board.kind.name),
    Column("address", 14, 1, "left", lambda pi, now: str(pi.journal.address or "")),
    Column("step", 10, 0, "left", _step),
    Column("seconds", 8, 0, "right", _seconds),
    Column("boots", 5, 2, "right", lambda pi, now: str(pi.journal.boots)),
    Column("files", 5, 5, "right", lambda pi, now: str(pi.journal.files)),
    Column("again", 5, 4, "right", lambda pi, now: str(pi.journal.resends + pi.journal.retries)),
)


def _lines(text: str, width: int) -> list[str]:
    """Broken between words only, so that the name of a folder can be copied, unless it is longer than a line."""
    return TextWrapper(width=max(width, 1), break_on_hyphens=False).wrap(text)


def counts(pis: Sequence[Pi]) -> str:
    """How many boards are at each step."""
    found = Counter(pi.journal.step for pi in pis)
    return ", ".join(f"{found[step]} {step.value}" for step in ORDER if found[step])


def columns_for(width: int) -> tuple[Column, ...]:
    """The columns that leave the trouble its room in a terminal of this width."""
    kept = COLUMNS
    while sum(column.width + GAP for column in kept) + TROUBLE_WIDTH > width and any(c.spared for c in kept):
        least = max(kept, key=lambda column: column.spared)
        kept = tuple(column for column in kept if column is not least)
    return kept


def _urgency(pi: Pi) -> tuple[bool, bool, bool, float]:
    """Boards that hang come first, then those that work, longest in their step first; dark ones; those that are up."""
    step = pi.journal.step
    return step is not Step.HUNG, step is Step.UP, step is Step.DARK, pi.journal.since


def screen(pis: Sequence[Pi], now: float, *, elapsed: float, width: int, height: int, title: str) -> RenderableType:
    """The rack, in so many lines at most; of more boards than fit, those that need a look."""
    columns = columns_for(width)
    head = [*(_lines(title, width) if height >= LOW else []), *_lines(f"{elapsed:.0f} s: {counts(pis)}", width)]
    spared = ", ".join(column.name for column in COLUMNS if column not in columns)
    foot = _lines(f"too narrow for: {spared}", width) if spared else []
    shown, rest = fitting(pis, height - len(head) - len(foot) - 1)
    below = Text("\n".join([*rest, *foot]), style="bright_black")
    return Group(Text("\n".join(head)), _table(shown, now, columns, width), *([below] if below else []))


def fitting(pis: Sequence[Pi], lines: int) -> tuple[Sequence[Pi], list[str]]:
    """The boards for which there are lines, at least one, and what is said of the others."""
    if len(pis) <= lines:
        return pis, []
    count = max(lines - 1, 1)
    ordered = sorted(pis, key=_urgency)
    hidden = ordered[count:]
    return ordered[:count], [f"and {len(hidden)} more, {sum(pi.is_up for pi in hidden)} of them up"]


def _table(pis: Sequence[Pi], now: float, columns: Sequence[Column], width: int) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.name, width=column.width, justify=column.justify, no_wrap=True)
    left = max(width - sum(column.width + GAP for column in columns), 0)
    table.add_column("trouble", width=left, no_wrap=True, overflow="ellipsis")
    for pi in pis:
        table.add_row(*(column.show(pi, now) for column in columns), Text("" if pi.is_up else pi.journal.trouble))
    return table
