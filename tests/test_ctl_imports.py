"""
``piman import-image`` with a real image, as an operator calls it.
"""

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.ctl.imports import ImportImageOptions, name_of
from tests.importing_support import Card, missing

PIMAN = [sys.executable, "-c", "from piman.control import console; console()"]


class NameTests(SynchronousTestCase):
    """What an image is called when nobody says."""

    def test_names(self) -> None:
        """The file's name without its endings, in letters that a name may have."""
        for file, name in (
            ("2024-11-19-raspios-bookworm-arm64-lite.img.xz", "2024-11-19-raspios-bookworm-arm64-lite"),
            ("My Image (1).IMG", "my-image-1"),
            ("golden.zip", "golden"),
            ("???.img", "image"),
        ):
            self.assertEqual(name_of(Path(file)), name)

    def test_given(self) -> None:
        """A name that is given is taken."""
        options = ImportImageOptions()
        options.parseOptions(["lite.img", "--name", "other"])
        self.assertEqual(options["name"], "other")


class ImportTests(SynchronousTestCase):
    """The word as a process."""

    skip = missing()

    def setUp(self) -> None:
        """A folder with a small image of a card."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        (self.folder / "card").mkdir()
        self.image = Card(self.folder / "card").make()

    def run_word(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The word to its end."""
        command = [*PIMAN, "import-image", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120)

    def test_imported(self) -> None:
        """The archive is there, its line for piman.yaml is told, and the boot files are in boot_dir."""
        done = self.run_word(str(self.image), "--name", "lite", "--boot-dir", "boot")
        self.assertEqual((done.returncode, "Traceback" in done.stderr), (0, False), done.stderr)
        self.assertIn(f"images: {{lite: {self.folder}/images/lite.tgz}}", done.stdout)
        self.assertTrue((self.folder / "images/lite.tgz").exists())
        self.assertTrue(any((self.folder / "boot").iterdir()))

    def test_json(self) -> None:
        """For programs: the manifest with the line for piman.yaml."""
        done = self.run_word(str(self.image), "--name", "lite", "--json")
        told = json.loads(done.stdout)
        self.assertEqual(told["path"], f"{self.folder}/images/lite.tgz")
        self.assertIn("lite.tgz", told["yaml"])

    def test_refused(self) -> None:
        """What is no image is refused in one line, exit status 1, and nothing is left."""
        (self.folder / "letter.img").write_bytes(b"Dear operator,\n" * 4096)
        done = self.run_word("letter.img")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("piman import-image: ", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertFalse((self.folder / "images").exists())

    def test_no_file(self) -> None:
        """Without a file there is one line and exit status 2."""
        done = self.run_word()
        self.assertEqual(done.returncode, 2)
        self.assertIn("expected one image", done.stderr)
