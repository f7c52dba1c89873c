"""
Root file systems: readable, of the right kind, hashed once.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from piman.boot.images import ImageLibrary
from piman.checking.findings import Finding, Level
from piman.checking.images import head_trouble, judge_image


def _at_once(work: Callable[[], str]) -> "Deferred[str]":
    return maybeDeferred(work)


class ImageTests(SynchronousTestCase):
    """One image, made by tar."""

    def setUp(self) -> None:
        """A folder with an image."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "root/etc").mkdir(parents=True)
        (self.folder / "root/etc/hostname").write_text("pi\n")
        self.path = self.folder / "rootfs.tgz"
        subprocess.run(["tar", "-czf", self.path, "-C", self.folder / "root", "."], check=True)

    def judge(self, cache: Path | None = None) -> Finding:
        """As piman check does."""
        library = ImageLibrary({"default": str(self.path)}, run=_at_once, cache=cache)
        judged = Deferred.fromCoroutine(judge_image("default", self.path, library, _at_once))
        found: Finding = self.successResultOf(judged)
        return found

    def test_good(self) -> None:
        """A good one is shown with the beginning of its digest."""
        found = self.judge()
        self.assertEqual(found.level, Level.OK)
        self.assertIn(hashlib.sha256(self.path.read_bytes()).hexdigest()[:12], found.text)

    def test_cache(self) -> None:
        """The digest is left where the manager looks for it, and not computed where it is found."""
        cache = self.folder / "images.json"
        self.judge(cache)
        ((identity, digest),) = json.loads(cache.read_text()).items()
        self.assertEqual(digest, hashlib.sha256(self.path.read_bytes()).hexdigest())
        cache.write_text(json.dumps({identity: "cafe" * 16}))
        self.assertIn("cafecafecafe", self.judge(cache).text)

    def test_missing(self) -> None:
        """A missing one is a failure that names the key to change."""
        self.path.unlink()
        found = self.judge()
        self.assertEqual((found.level, "images.default" in found.remedy), (Level.FAIL, True))

    def test_not_tar(self) -> None:
        """What nodes cannot unpack is refused: no gzip, gzip of something else, an empty file, only a beginning."""
        plain = subprocess.run(["tar", "-cf", "-", "-C", self.folder / "root", "."], capture_output=True, check=True)
        text = subprocess.run(["gzip", "-c"], input=b"no archive " * 999, capture_output=True, check=True)
        for content in (plain.stdout, text.stdout, b"", self.path.read_bytes()[:40], b"\x1f\x8b" + bytes(100)):
            self.path.write_bytes(content)
            self.assertEqual(self.judge().level, Level.FAIL, content[:20])

    def test_no_file(self) -> None:
        """A pipe would be waited for for ever: it is not opened."""
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertEqual(head_trouble(self.path), "it is no regular file")
