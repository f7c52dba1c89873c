"""
Tests for :mod:`piman.ctl.folding`: ranges that say what was folded, and nothing else.
"""

import re

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.ctl.folding import folded

NAMES = some.lists(some.from_regex(r"(pi|rack-a-|n0)?[0-9]{1,2}|kiosk", fullmatch=True))


def unfolded(text: str) -> list[str]:
    """The names of a folded text, by the plainest means."""
    found: list[str] = []
    for part in text.split(", "):
        match = re.fullmatch(r"(.*?)(\d+)-\1(\d+)", part)
        found += [f"{match[1]}{number}" for number in range(int(match[2]), int(match[3]) + 1)] if match else [part]
    return found


class FoldedTests(SynchronousTestCase):
    """Names as ranges."""

    def test_rows(self) -> None:
        """As people write them: in the order of the numbers, two are no range, zeros in front are no numbers."""
        for names, text in (
            ("", ""),
            ("pi2", "pi2"),
            ("pi10 pi9 pi2 pi3", "pi2, pi3, pi9, pi10"),
            ("pi10 pi9 pi11 pi2", "pi2, pi9-pi11"),
            ("pi2 pi2 pi3 pi4", "pi2-pi4"),
            ("a1 b2 a2 b3 a3 kiosk", "a1-a3, b2, b3, kiosk"),
            ("pi08 pi09 pi10 pi11", "pi08, pi09, pi10, pi11"),
            ("b8:27:eb:00:00:02 b8:27:eb:00:00:03", "b8:27:eb:00:00:02, b8:27:eb:00:00:03"),
        ):
            self.assertEqual(folded(names.split()), text)

    def test_most(self) -> None:
        """Of many ranges the first are shown, and the names in the others counted; one more costs no more room."""
        names = [f"pi{number}" for number in range(0, 40, 2)]
        self.assertEqual(folded(names), "pi0, pi2, pi4, pi6 and 16 more")
        self.assertEqual(folded(names[:5]), "pi0, pi2, pi4, pi6, pi8")
        self.assertEqual(folded(["x", *(f"pi{number}" for number in range(100))], most=1), "pi0-pi99, x")
        self.assertEqual(folded(names, most=None).count(","), 19)

    @given(NAMES)
    def test_unfolded(self, names: list[str]) -> None:
        """A folded text names each of the names, once, and no other."""
        text = folded(names, most=None)
        self.assertEqual(sorted(unfolded(text)) if text else [], sorted(set(names)))
