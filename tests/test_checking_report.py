"""
What people and machines read.
"""

import json

from twisted.trial.unittest import SynchronousTestCase

from piman.checking.findings import fail, fine, warn
from piman.checking.report import UNBROKEN, as_json, as_text

FOUND = [
    fine("clock", "well"),
    warn("switch rack-a", "port 3 is switched off", "piman power on"),
    fail("boot files", "start4.elf is missing " * 6, "Get it with: cp -r firmware/boot/. /srv/piman/install/boot/"),
]


class TextTests(SynchronousTestCase):
    """Lines for a terminal."""

    def test_aligned(self) -> None:
        """Texts begin in one column; a remedy stands below its finding; the last line counts."""
        lines = as_text(FOUND, UNBROKEN).splitlines()
        self.assertEqual(lines[0], "ok    clock          well")
        self.assertEqual(lines[1], "warn  switch rack-a  port 3 is switched off")
        self.assertEqual(lines[2], "                     -> piman power on")
        self.assertTrue(lines[3].startswith("FAIL  boot files     start4.elf"))
        self.assertEqual(lines[-1], "1 fine, 1 to look at, 1 to mend.")

    def test_fits(self) -> None:
        """In 80 columns nothing is broken by the terminal, and a command can be copied whole."""
        shown = as_text(FOUND, 80)
        self.assertLess(max(map(len, shown.splitlines())), 80)
        self.assertIn("/srv/piman/install/boot/", shown)

    def test_long_subject(self) -> None:
        """A switch with a long name does not push the others to the right, and loses none of its name."""
        name = "switch the-one-in-the-cellar-behind-the-boiler"
        first, second, *_ = as_text([fine(name, "answers"), fine("clock", "well")], 80).splitlines()
        self.assertEqual(first, f"ok    {name}  answers")
        self.assertLess(second.index("well"), 30)

    def test_all_fine(self) -> None:
        """Nothing to do is said so."""
        self.assertTrue(as_text([fine("clock", "well")]).endswith("All 1 fine."))


class JSONTests(SynchronousTestCase):
    """The same for a program."""

    def test_everything(self) -> None:
        """Each finding with all of its fields, the file, and the exit status."""
        told = json.loads(as_json(FOUND, "/etc/piman/piman.yaml", 1))
        self.assertEqual((told["config"], told["status"]), ("/etc/piman/piman.yaml", 1))
        self.assertEqual([row["level"] for row in told["findings"]], ["ok", "warn", "fail"])
        self.assertEqual(
            told["findings"][1],
            {
                "level": "warn",
                "subject": "switch rack-a",
                "text": "port 3 is switched off",
                "remedy": "piman power on",
            },
        )
