"""
What the terminal shows.
"""

from io import StringIO
from random import Random

from rich.console import Console
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.journal import Journal, Step
from piman.simulator.pi import MODELS, Pi
from piman.simulator.plan import places
from piman.simulator.view import LiveView, PlainView, counts, table
from tests.simulator_support import BenchNetwork


def rack(count: int) -> list[Pi]:
    """Dark boards."""
    clock = Clock()
    return [
        Pi(place.board, clock=clock, network=BenchNetwork(clock), journal=Journal(), random=Random(1))
        for place in places(count, MODELS, 0.0)
    ]


def shown(pis: list[Pi], rows: int) -> str:
    """The table as text, without colours."""
    console = Console(file=StringIO(), width=150)
    console.print(table(pis, 10.0, rows, "a rack"))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


class TableTests(SynchronousTestCase):
    """The live table."""

    def test_row(self) -> None:
        """A board shows its name, model, step and how long it has been there."""
        pis = rack(2)
        pis[0].journal.enter(Step.LOADING, 3.0)
        pis[0].journal.files = 7
        line = next(line for line in shown(pis, 10).splitlines() if "pi1 " in line)
        for part in ("3B", "loading", "7.0", " 7 "):
            self.assertIn(part, line)

    def test_counts(self) -> None:
        """Below it stands how many are where, from dark to up."""
        pis = rack(3)
        pis[0].journal.enter(Step.UP, 1.0)
        self.assertEqual(counts(pis), "2 dark, 1 up")
        self.assertIn("2 dark, 1 up", shown(pis, 10))

    def test_trouble(self) -> None:
        """Why a board hangs stands beside it."""
        pis = rack(1)
        pis[0].journal.enter(Step.HUNG, 1.0)
        pis[0].journal.trouble = "no bootcode.bin"
        self.assertIn("no bootcode.bin", shown(pis, 10))

    def test_too_many(self) -> None:
        """Of more boards than rows, those are shown that work, and the slowest first."""
        pis = rack(4)
        pis[0].journal.enter(Step.UP, 1.0)
        pis[2].journal.enter(Step.LOADING, 5.0)
        pis[3].journal.enter(Step.ADDRESS, 2.0)
        text = shown(pis, 2)
        self.assertIn("pi3", text)
        self.assertIn("pi4", text)
        self.assertNotIn("pi1", text)

    def test_live(self) -> None:
        """On a terminal the table is drawn over itself and ends as it is."""
        pis = rack(2)
        console = Console(file=StringIO(), force_terminal=True, width=120, height=30)
        view = LiveView(pis, console, "a rack")
        view.start()
        view.draw(1.0)
        pis[0].journal.enter(Step.UP, 2.0)
        view.changed(pis[0], 2.0)
        view.draw(3.0)
        view.stop()
        text = console.file.getvalue()  # type: ignore[attr-defined]
        self.assertIn("dark", text)
        self.assertIn("up", text)


class PlainTests(SynchronousTestCase):
    """Lines for a pipe."""

    def view(self, count: int) -> tuple[list[Pi], PlainView, StringIO]:
        """A view of so many boards."""
        file, pis = StringIO(), rack(count)
        return pis, PlainView(pis, Console(file=file, width=40), "a rack"), file

    def test_few(self) -> None:
        """Of few boards each step is a line, however narrow the terminal."""
        pis, view, file = self.view(2)
        view.start()
        pis[1].journal.enter(Step.HUNG, 1.0)
        pis[1].journal.trouble = "no usable OFFER in five tries"
        view.changed(pis[1], 1.5)
        view.draw(9.0)
        view.stop()
        self.assertEqual(
            file.getvalue().splitlines(),
            ["a rack", "    1.5 s  pi2      3B+  -               hung  (no usable OFFER in five tries)"],
        )

    def test_many(self) -> None:
        """Of many boards there is a line every five seconds."""
        pis, view, file = self.view(100)
        view.start()
        for quarter in range(45):
            view.draw(100.0 + quarter / 4)
        view.changed(pis[0], 1.0)
        self.assertEqual(
            file.getvalue().splitlines(),
            ["a rack", "    0.0 s  100 dark", "    5.0 s  100 dark", "   10.0 s  100 dark"],
        )
