# -*- test-case-name: tests.test_simulator_showing_report -*-
"""
What came of a run, in numbers and in words.
"""

from collections.abc import Iterable, Mapping, Sequence

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from piman.fleet.wording import counted
from piman.simulator.booting.journal import STEPS, Step
from piman.simulator.pi import Pi
from piman.simulator.wiring.faults import Damage


@attrs.frozen(kw_only=True)
class Spread:
    """How a number is distributed."""

    count: int
    median: float
    most_of_them: float
    """95 % are not above it."""
    largest: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> "Spread":
        """Of these numbers; of none: zeros."""
        ordered = sorted(numbers)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

        return cls(count=len(ordered), median=at(0.5), most_of_them=at(0.95), largest=at(1.0))


@attrs.frozen(kw_only=True)
class Report:
    """
    A finished run.

    :ivar seconds: from the first power-on to the last board up, or to the end of patience.
    :ivar steps: seconds in each step, of the boots that led to "up".
    :ivar power_cycles: boards that hung; ``power_cuts``: boards whose power was cut on purpose.
    :ivar problems: in what boards and manager disagree, and who was left behind.
    """

    boards: int
    up: int
    seconds: float
    steps: Mapping[Step, Spread]
    whole: Spread
    boots: int
    retries: int
    power_cycles: int
    hangs: Mapping[str, int]
    """Why boards hung, and how often."""
    power_cuts: int
    resends: int
    files: int
    loaded_bytes: int
    installations: int
    damage: Damage
    manager_starts: int
    agent_answers: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether all boards are up and nothing disagrees."""
        return self.up == self.boards and not self.problems


def step_spreads(pis: Sequence[Pi]) -> dict[Step, Spread]:
    """How long each step took, of the boards that are up."""
    taken = [pi.journal.seconds_in_steps() for pi in pis if pi.is_up]
    found = {step: [seconds[step] for seconds in taken if step in seconds] for step in STEPS}
    return {step: Spread.of(seconds) for step, seconds in found.items() if seconds}


def as_renderable(report: Report) -> RenderableType:
    """For people."""
    table = Table("step", "boards", "median s", "95 % s", "longest s", title="time in each step", title_justify="left")
    for name, spread in _rows(report):
        table.add_row(name, str(spread.count), *_seconds(spread))
    return Group(table, Text(_counted(report)), *(Text(line) for line in (*report.notes, *_verdict(report))))


def as_markdown(report: Report) -> str:
    """For documents."""
    lines = ["| step | boards | median s | 95 % s | longest s |", "|---|--:|--:|--:|--:|"]
    for name, spread in _rows(report):
        lines.append(f"| {name} | {spread.count} | {' | '.join(_seconds(spread))} |")
    return "\n".join((*lines, "", _counted(report), *report.notes, *_verdict(report)))


def _rows(report: Report) -> list[tuple[str, Spread]]:
    return [*((step.value, spread) for step, spread in report.steps.items()), ("power-on to up", report.whole)]


def _seconds(spread: Spread) -> list[str]:
    return [f"{number:.2f}" for number in (spread.median, spread.most_of_them, spread.largest)]


def _counted(report: Report) -> str:
    damage = report.damage
    return (
        f"{report.up} of {report.boards} boards up after {report.seconds:.1f} s; {report.boots} boots, "
        f"{report.retries} tries again by the boards themselves, {_hung(report)}, "
        f"{report.power_cuts} lost power on purpose; {report.files} files, {report.loaded_bytes / 1e6:.1f} MB; "
        f"{report.resends} datagrams and calls repeated; {report.installations} installations; "
        f"faults: {damage.lost} lost, {damage.doubled} doubled, {damage.overtaken} overtaken, "
        f"{damage.stalled} stalls, {damage.cut} streams cut; manager started "
        f"{counted(report.manager_starts, 'time')}, agents answered {counted(report.agent_answers, 'time')}"
    )


def _hung(report: Report) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in report.hangs.items())
    return f"{report.power_cycles} hung and were power-cycled" + (f" ({why})" if why else "")


def _verdict(report: Report) -> list[str]:
    if report.is_good:
        return ["The manager's files say the same: same lease and NodeUp for each board, no intent completed twice."]
    shown = [f"wrong: {problem}" for problem in report.problems[:20]]
    hidden = len(report.problems) - len(shown)
    return [*shown, *([f"... and {hidden} more"] if hidden else [])]
