"""
What shows a rack while it runs.
"""

from io import StringIO

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.journal import Step
from piman.simulator.pi import Pi
from piman.simulator.showing.view import LiveView, PlainView
from tests.simulator_support import dark_boards

ENTER_SECOND_SCREEN, LEAVE_SECOND_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
"""xterm control sequences, DECSET and DECRST 1049."""


class LiveTests(SynchronousTestCase):
    """The live table."""

    def view(self) -> tuple[list[Pi], LiveView, StringIO]:
        """A view of two boards on a terminal."""
        file, pis = StringIO(), dark_boards(2)
        return pis, LiveView(pis, Console(file=file, force_terminal=True, width=120, height=30), "a rack"), file

    def test_live(self) -> None:
        """It is drawn on the terminal's second screen; what was drawn last stays on the first."""
        pis, view, file = self.view()
        view.start()
        view.draw(1.0)
        pis[0].journal.enter(Step.UP, 2.0)
        view.changed(pis[0], 2.0)
        view.draw(3.0)
        view.stop()
        second, first = file.getvalue().split(LEAVE_SECOND_SCREEN)
        self.assertIn(ENTER_SECOND_SCREEN, second)
        self.assertIn("0 s: 2 dark", second)
        self.assertEqual(first.count("2 s: 1 dark, 1 up"), 1)

    def test_stop(self) -> None:
        """It can be stopped before it began, and twice: the end may come at any moment."""
        _, view, file = self.view()
        view.stop()
        self.assertEqual(file.getvalue(), "")
        view.start()
        view.draw(1.0)
        view.stop()
        said = file.getvalue()
        view.stop()
        self.assertEqual(file.getvalue(), said)


class PlainTests(SynchronousTestCase):
    """Lines for a pipe."""

    def view(self, count: int) -> tuple[list[Pi], PlainView, StringIO]:
        """A view of so many boards."""
        file, pis = StringIO(), dark_boards(count)
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
