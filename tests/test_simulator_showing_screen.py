"""
A virtual rack on so many columns and lines.
"""

from io import StringIO

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.journal import Step
from piman.simulator.pi import Pi
from piman.simulator.showing.screen import COLUMNS, columns_for, counts, screen
from tests.simulator_support import dark_boards

TITLE = "so many virtual boards, manager at 127.77.0.1, files in /tmp/piman-rack-0123abcd"


def shown(pis: list[Pi], *, width: int = 120, height: int = 30, now: float = 10.0) -> list[str]:
    """The lines on a terminal of this size, without colours; those that are too wide would be broken."""
    console = Console(file=StringIO(), width=width)
    console.print(screen(pis, now, elapsed=9.0, width=width, height=height, title=TITLE))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def row_of(name: str, lines: list[str]) -> list[str]:
    """The words of a board's line; none when it has no line."""
    return next((line.split() for line in lines if line.split()[:1] == [name]), [])


class RowTests(SynchronousTestCase):
    """A line for each board."""

    def test_row(self) -> None:
        """A board shows its name, model, step, how long it has been there, boots, files and repetitions."""
        pis = dark_boards(2)
        pis[0].journal.enter(Step.LOADING, 3.0)
        pis[0].journal.files, pis[0].journal.resends = 6, 2
        self.assertEqual(row_of("pi1", shown(pis)), ["pi1", "3B", "loading", "7", "0", "6", "2"])

    def test_counts(self) -> None:
        """Above them stands how many are where, from dark to up, and for how long the rack has been running."""
        pis = dark_boards(3)
        pis[0].journal.enter(Step.UP, 1.0)
        self.assertEqual(counts(pis), "2 dark, 1 up")
        self.assertEqual(shown(pis)[:2], [TITLE, "9 s: 2 dark, 1 up"])

    def test_trouble(self) -> None:
        """Why a board hangs stands beside it; of one that is up it is no trouble any more."""
        pis = dark_boards(2)
        for pi, step in zip(pis, (Step.HUNG, Step.UP), strict=True):
            pi.journal.enter(step, 1.0)
            pi.journal.trouble = "no bootcode.bin"
        lines = shown(pis)
        self.assertEqual(row_of("pi1", lines)[-2:], ["no", "bootcode.bin"])
        self.assertEqual(row_of("pi2", lines)[-1], "0")

    def test_slow(self) -> None:
        """A board that works at one step for half a minute is called slow; one that is up may stay so."""
        pis = dark_boards(3)
        for pi, step, since in zip(pis, (Step.LOADING, Step.LOADING, Step.UP), (0.0, 1.0, 0.0), strict=True):
            pi.journal.enter(step, since)
        lines = shown(pis, now=30.0)
        self.assertEqual([row_of(name, lines)[3] for name in ("pi1", "pi2", "pi3")], ["slow", "29", "30"])


class SizeTests(SynchronousTestCase):
    """What a terminal has no room for."""

    def test_fits(self) -> None:
        """Whatever its size, a rack of any number of boards keeps to the terminal, and always shows a board."""
        for count in (1, 8, 40, 200):
            pis = dark_boards(count)
            for number, pi in enumerate(pis):
                pi.journal.enter(tuple(Step)[number % len(Step)], 1.0)
                pi.journal.trouble = "the kernel finds no root file system: the boot loader got no initramfs"
            for width, height in ((100, 30), (80, 24), (40, 10), (200, 60)):
                lines = shown(pis, width=width, height=height)
                self.assertTrue(len(lines) <= height, (count, width, height, len(lines)))
                self.assertTrue(all(len(line) <= width for line in lines), (count, width, height))
                self.assertTrue(any(line.startswith("pi") for line in lines), (count, width, height))

    def test_narrow(self) -> None:
        """Columns leave, the least important first, and are named below the table."""
        self.assertEqual(columns_for(100), COLUMNS)
        self.assertEqual([c.name for c in columns_for(80)], ["node", "board", "address", "step", "seconds", "boots"])
        self.assertEqual([c.name for c in columns_for(40)], ["node", "step", "seconds"])
        self.assertEqual(shown(dark_boards(1), width=80)[-1], "too narrow for: files, again")
        self.assertNotIn("too narrow", " ".join(shown(dark_boards(1), width=100)))

    def test_cut_trouble(self) -> None:
        """A trouble that is longer than its column ends in an ellipsis."""
        pis = dark_boards(1)
        pis[0].journal.enter(Step.HUNG, 1.0)
        pis[0].journal.trouble = "no usable OFFER in five tries"
        self.assertTrue(shown(pis, width=80)[-2].endswith("no usable OFFER in\N{HORIZONTAL ELLIPSIS}"))

    def test_low(self) -> None:
        """Of more boards than lines, the hung come first, then the slowest; how many are not shown is said."""
        pis = dark_boards(40)
        for pi in pis[4:]:
            pi.journal.enter(Step.UP, 1.0)
        for pi, step, since in zip(pis, (Step.LOADING, Step.ADDRESS, Step.HUNG), (5.0, 2.0, 9.0), strict=False):
            pi.journal.enter(step, since)
        lines = shown(pis, height=9)
        self.assertEqual(
            [line.split()[0] for line in lines], ["9", "node", "pi3", "pi2", "pi1", "pi4", "pi5", "pi6", "and"]
        )
        self.assertEqual(lines[-1], "and 34 more, 34 of them up")
