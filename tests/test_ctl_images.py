"""
Tests for :mod:`piman.ctl.images`: each word against the API itself, and without a manager.
"""

import hashlib
import json
import subprocess
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.boot.images import ImageLibrary
from piman.config import load
from piman.ctl.client import JSON, Refused
from piman.ctl.images import ImageOptions, ImagesOptions, image, images, images_directly
from piman.ctl.orders import ReinstallOptions, reinstall
from piman.ctl.questions import StatusOptions, status
from piman.fleet import events as happened
from piman.fleet.model import ImageChoice, NodeStatus, Scope
from piman.fleet.state.history import HistoryStore
from piman.fleet.state.store import StateStore
from tests.ctl_support import InWords
from tests.fleet_support import ThreadedClock
from tests.test_boot_images import at_once
from tests.test_config import BASE
from tests.web_support import DEFAULT_DIGEST, PI2, PI3


class _Case(InWords):
    """A half with images default, lost and lite, and a tag."""

    def setUp(self) -> None:
        """Pi 2 has lite, Pi 3 an image that is no more."""
        super().setUp()
        self.half.images.more = {"lite": "cd" * 32}
        self.half.tags = {"kiosks": (PI2, PI3)}
        self.half.assign_images()
        self.half.log.emit(happened.Installed(mac=PI2, intent="1", digest="cd" * 32, image="lite"))
        self.half.log.emit(happened.Installed(mac=PI3, intent="1", digest="ef" * 32, image="default"))


class ImagesTests(_Case):
    """``images``"""

    def test_table(self) -> None:
        """A line for each image, then for older ones; what was chosen, by whom, stands below."""
        self.run_word(image, ImageOptions(), "set-default", "lite")
        code, out = self.run_word(images, ImagesOptions())
        lines = [line.split("  ") for line in out.splitlines()]
        cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
        self.assertEqual(code, 0)
        self.assertEqual(cells[0], ["image", "size", "digest", "modified", "installed on", "assigned to", "remark"])
        self.assertEqual([cells[1][0], *cells[1][4:]], ["default", "-", "-"])
        self.assertEqual(cells[1][1:3], ["7 bytes", DEFAULT_DIGEST[:12]])
        self.assertEqual(cells[2][-1], "lost: no such file")
        self.assertEqual([cells[3][0], *cells[3][4:]], ["lite", "1: pi2", "2: pi2, pi3", "the default"])
        self.assertEqual(cells[4][0:3], ["older default", "-", "ef" * 6])
        self.assertEqual(cells[4][4], "1: pi3")
        self.assertRegex(out.splitlines()[-1], r"^lite was chosen for the default by ada, \d{4}-")

    def test_not_there(self) -> None:
        """An image that nodes are to get and that is not there: exit status 1, and who waits for it."""
        self.half.tag_images = {"kiosks": "kiosk"}
        self.half.assign_images()
        code, out = self.run_word(images, ImagesOptions())
        self.assertEqual(code, 1)
        self.assertIn("There is no image kiosk, which is for 2: pi2, pi3", out)
        self.half.tag_images = {"kiosks": "lost"}
        self.half.assign_images()
        self.assertEqual(self.run_word(images, ImagesOptions())[0], 1)

    def test_names(self) -> None:
        """``--names`` prints what completion offers."""
        _, out = self.run_word(images, ImagesOptions(), "--names")
        self.assertEqual(out, "default\nlost\nlite\ntag:kiosks\n")

    def test_json(self) -> None:
        """``--json`` prints what the API answers, digests whole."""
        _, out = self.run_word(images, ImagesOptions(), "--json")
        self.assertEqual(json.loads(out)["older"][0]["digest"], "ef" * 32)


class ImageTests(_Case):
    """``image``"""

    def test_set_default(self) -> None:
        """It says who gets the image now, and for whom it takes an installation."""
        code, out = self.run_word(image, ImageOptions(), "set-default", "lite")
        self.assertEqual(code, 0)
        self.assertEqual(
            out.splitlines(),
            ["lite is for 2: pi2, pi3", "It comes with their next installation (piman reinstall) to 1: pi3"],
        )

    def test_assign(self) -> None:
        """Nodes and tags; and back."""
        self.run_word(image, ImageOptions(), "assign", "lite", "tag:kiosks", "pi3")
        self.assertEqual(set(self.half.choices.all), {(Scope.TAG, "kiosks"), (Scope.NODE, str(PI3))})
        _, out = self.run_word(image, ImageOptions(), "unassign", "tag:kiosks")
        self.assertEqual(out.splitlines()[:2], ["default is for 1: pi2", "lite is for 1: pi3"])

    def test_refused(self) -> None:
        """What the manager refuses is said with what to do."""
        refused = self.assertRaises(Refused, self.run_word, image, ImageOptions(), "set-default", "light")
        self.assertIn("Did you mean lite", str(refused))

    def test_json(self) -> None:
        """``--json`` prints what the API answers."""
        _, out = self.run_word(image, ImageOptions(), "assign", "lite", "pi3", "--json")
        self.assertEqual([node["rule"] for node in json.loads(out)["nodes"]], ["chosen for this node"])

    def test_usage(self) -> None:
        """A mistake on the command line is one line, and status 2."""
        for words, expected in (
            ((), "found nothing, expected set-default, assign, unassign"),
            (("set",), "found 'set', expected"),
            (("set-default", "a", "b"), "set-default: found a b, expected one name of an image"),
            (("assign", "lite"), "assign: found lite, expected the name of an image, and nodes or tag:NAME"),
            (("unassign",), "unassign: found nothing, expected nodes"),
        ):
            errors = StringIO()
            with redirect_stderr(errors):
                left = self.assertRaises(SystemExit, ImageOptions().parseOptions, list(words))
            self.assertEqual(left.code, 2)
            self.assertIn(expected, errors.getvalue())


class ElsewhereTests(_Case):
    """What other words say of images."""

    def images_in_status(self) -> list[str]:
        """The column of ``status``."""
        header, *rows = self.run_word(status, StatusOptions())[1].splitlines()[:3]
        begin, end = header.index("image"), header.index("what")
        return [row[begin:end].strip() for row in rows]

    def test_status(self) -> None:
        """The image on the card, and the one that a node gets where it is another."""
        self.assertEqual(self.images_in_status(), ["lite, gets default", "older default, gets default"])
        self.run_word(image, ImageOptions(), "set-default", "lite")
        self.assertEqual(self.images_in_status(), ["lite", "older default, gets lite"])

    def test_status_while_hashing(self) -> None:
        """As long as the digest of its image is not known, a node is not called older."""
        self.half.images.more = {}
        self.half.log.emit(happened.Installed(mac=PI3, intent="1", digest=DEFAULT_DIGEST, image="default"))
        self.assertEqual(self.images_in_status(), ["lite, gets default", "default"])

    def test_plan(self) -> None:
        """``reinstall --dry-run`` shows what each node gets beside what it has."""
        self.run_word(image, ImageOptions(), "assign", "lite", "pi3")
        _, out = self.run_word(reinstall, ReinstallOptions(), "pi2", "pi3", "--dry-run")
        rows = [" ".join(line.split()) for line in out.splitlines()]
        self.assertIn("node gets by has", rows)
        self.assertIn("pi2 default the default lite", rows)
        self.assertIn("pi3 lite chosen for this node older default", rows)


class DirectTests(SynchronousTestCase):
    """``images`` without a manager."""

    def setUp(self) -> None:
        """A folder with a configuration, an image, and what a manager left behind."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "hosts.csv").write_text("b8:27:eb:00:00:02;172.30.4.2;pi2\nb8:27:eb:00:00:03;172.30.4.3;pi3\n")
        subprocess.run(["tar", "-C", self.folder, "-czf", self.folder / "lite.tgz", "hosts.csv"], check=True)
        (self.folder / "piman.yaml").write_text(f"{BASE}images: {{default: gone.tgz, lite: lite.tgz}}\n")

    def choose(self, choice: ImageChoice) -> None:
        """As the manager did."""
        clock = ThreadedClock()
        store = StateStore(self.folder / "state/state.db", reactor=clock)
        store.open()
        clock.wait(store.save_image_choices([choice], []))
        clock.wait(store.close())

    def listed(self) -> JSON:
        """What is answered."""
        config = load(self.folder / "piman.yaml", resolver_files=())
        library = ImageLibrary({name: str(path) for name, path in config.images.items()}, run=at_once)
        listed: JSON = self.successResultOf(
            Deferred.fromCoroutine(images_directly(Clock(), config, library))
        )
        return listed

    def test_files(self) -> None:
        """Digests as sha256sum has them, the default as the files say; which nodes have what is not known."""
        found = self.listed()
        told = subprocess.run(["sha256sum", self.folder / "lite.tgz"], capture_output=True, text=True, check=True)
        self.assertEqual([image["digest"] for image in found["images"]], [None, told.stdout.split()[0]])
        self.assertEqual([image["default"] for image in found["images"]], [True, False])
        self.assertEqual([node["name"] for node in found["unknown"]], ["pi2", "pi3"])

    def test_choices(self) -> None:
        """What was chosen by command counts."""
        self.choose(ImageChoice(scope=Scope.DEFAULT, image="lite", who="ada"))
        found = self.listed()
        self.assertEqual((found["default"], found["choices"][0]["who"]), ("lite", "ada"))
        self.assertEqual([len(image["assigned"]) for image in found["images"]], [0, 2])

    def test_last_seen(self) -> None:
        """What a manager has seen last is known, from the file where it keeps that."""
        digest = hashlib.sha256((self.folder / "lite.tgz").read_bytes()).hexdigest()
        clock = ThreadedClock()
        history = HistoryStore(self.folder / "state/history.db", reactor=clock, clock=clock)
        history.open()
        clock.wait(history.save_snapshots([NodeStatus(mac=PI2, last_event_id=1, digest=digest, image="lite")]))
        clock.wait(history.close())
        found = self.listed()
        self.assertEqual([node["name"] for node in found["images"][1]["installed"]], ["pi2"])
        self.assertEqual([node["name"] for node in found["unknown"]], ["pi3"])

    def test_unreadable(self) -> None:
        """Where the manager's file cannot be read, a line on standard error says that choices are not known."""
        (self.folder / "state").mkdir()
        (self.folder / "state/state.db").write_bytes(b"no database" * 1000)
        errors = StringIO()
        with redirect_stderr(errors):
            self.assertEqual(self.listed()["default"], "default")
        self.assertIn("what was chosen by command is not known", errors.getvalue())
