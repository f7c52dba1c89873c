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
from piman.boot.soundness import head_trouble
from piman.checking.findings import Finding, Level
from piman.checking.images import judge_choices, judge_image, uses
from piman.fleet.model import ImageChoice, Node, Scope
from tests.fleet_support import MAC, OTHER_MAC


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

    def test_use(self) -> None:
        """For whom an image is stands beside it, also when it is missing."""
        nodes = [Node(mac=MAC), Node(mac=OTHER_MAC, image="lite")]
        self.assertEqual(uses(nodes, {}), {"default": "the default, for 1 node", "lite": "for 1 node"})
        chosen = ImageChoice(scope=Scope.DEFAULT, image="other")
        self.assertEqual(uses(nodes[1:], {chosen.key: chosen}), {"other": "the default", "lite": "for 1 node"})
        self.path.unlink()
        library = ImageLibrary({"default": str(self.path)}, run=_at_once)
        judging = judge_image("default", self.path, library, _at_once, "the default, for 1 node")
        found = self.successResultOf(Deferred.fromCoroutine(judging))
        self.assertEqual(found.level, Level.FAIL)
        self.assertTrue(found.text.startswith("default (the default, for 1 node): "), found.text)

    def test_lost_choice(self) -> None:
        """A choice of an image that there is not is a failure that names its maker, and the way back."""
        choices = {
            choice.key: choice
            for choice in (
                ImageChoice(scope=Scope.DEFAULT, image="gone", who="ada"),
                ImageChoice(scope=Scope.TAG, name="kiosks", image="gone"),
                ImageChoice(scope=Scope.NODE, name=str(MAC), image="default"),
            )
        }
        first, second = judge_choices(choices, ["default"])
        self.assertEqual((first.level, second.level), (Level.FAIL, Level.FAIL))
        self.assertEqual(first.text, "gone: it was chosen for the default by ada, and images does not name it")
        self.assertIn("piman image set-default default", first.remedy)
        self.assertIn("piman image unassign tag:kiosks", second.remedy)

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
