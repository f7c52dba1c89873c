"""
Which image nodes get: the real manager, the console command over the control socket, and a board that is installed.

The board's lines are those of docs/protocols/hello.md, version 2; archives are made by GNU tar, digests by sha256sum.
"""

import getpass
import json
import os
import signal
import socket
import subprocess
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from tests.system.test_control import MANAGER_ADDRESS, WAIT_SECONDS, _InFolder

BOARD = "127.77.0.2"
SETTINGS = """
images: {default: default.tgz, lite: lite.tgz, cut: cut.tgz}
tags: {kiosks: [pi2, pi3]}
"""


class ImageTests(_InFolder):
    """From a word of the operator to a card, and back."""

    def setUp(self) -> None:
        """Two whole images, and one without its end."""
        super().setUp()
        with (self.folder / "piman.yaml").open("a") as file:
            file.write(SETTINGS)
        self.make("default", "the default")
        self.make("lite", "lite")
        whole = (self.folder / "lite.tgz").read_bytes()
        (self.folder / "cut.tgz").write_bytes(whole[:-9])

    def make(self, name: str, content: str) -> str:
        """An image; its digest."""
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        (root / "hostname").write_text(content * 1000)
        path = self.folder / f"{name}.tgz"
        path.unlink(missing_ok=True)
        subprocess.run(["tar", "-C", root, "-czf", path, "."], check=True)
        return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]

    def listed(self) -> Any:
        """What ``images`` says."""
        done = self.piman("images", "--json")
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout)

    def holders(self) -> dict[str, list[str]]:
        """Who has what."""
        return {image["name"]: [node["name"] for node in image["installed"]] for image in self.listed()["images"]}

    def install(self) -> Any:
        """The board has an empty card, is told what to put there, and does it; the order that it was given."""
        self.boot(BOARD)
        with socket.create_connection(
            (MANAGER_ADDRESS, self.ports["hello"]), timeout=WAIT_SECONDS, source_address=(BOARD, 0)
        ) as talk:
            lines = talk.makefile("rwb")
            card = {"mac": "b8:27:eb:00:00:02", "serial": "", "model": "4B", "card_bytes": 8 << 30, "installed": False}
            lines.write(f"HELLO 2 {json.dumps({**card, 'digest': ''})}\n".encode())
            lines.flush()
            line = next(line for line in lines if line.startswith(b"FORMAT "))
            order = json.loads(line.removeprefix(b"FORMAT "))
            self.fetch(order["url"])
            lines.write(f'IS_FORMATTED {{"sha256":"{order["sha256"]}"}}\n'.encode())
            lines.flush()
            self.assertTrue(any(line.startswith(b"BOOT") for line in lines))
        return order

    def fetch(self, url: str) -> None:
        """The image, from the board's address."""
        parts = urlsplit(url)
        door = HTTPConnection(
            str(parts.hostname), parts.port, timeout=WAIT_SECONDS, source_address=(BOARD, 0)
        )
        door.request("GET", f"{parts.path}?{parts.query}")
        answer = door.getresponse()
        self.assertEqual((answer.status, len(answer.read())), (200, int(answer.headers["content-length"])))
        door.close()

    def test_from_a_word_to_a_card(self) -> None:
        """What is assigned to a tag is what its node is given; who has it, and an older one, are told by digest."""
        self.manager.start()
        done = self.piman("image", "assign", "lite", "tag:kiosks")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.splitlines()[0], "lite is for 2: pi2, pi3")
        self.manager.wait_for(lambda: self.manager.events("ImageChosen"), WAIT_SECONDS, "the journal")
        (event,) = self.manager.events("ImageChosen")
        told = {name: event[name] for name in ("scope", "name", "image", "who", "source")}
        who = {"who": getpass.getuser(), "source": "control socket"}
        self.assertEqual(told, {"scope": "tag", "name": "kiosks", "image": "lite", **who})
        self.manager.kill()
        self.manager.start()
        order = self.install()
        self.assertEqual(order["image"], "lite")
        self.manager.wait_for(lambda: self.manager.events("Installed"), WAIT_SECONDS, "the installation")
        self.assertEqual(self.holders(), {"default": [], "lite": ["pi2"], "cut": []})
        self.assertNotEqual(self.make("lite", "another lite"), order["sha256"])
        (older,) = self.listed()["older"]
        self.assertEqual((older["image"], older["digest"]), ("lite", order["sha256"]))
        self.assertEqual([node["name"] for node in older["nodes"]], ["pi2"])
        self.assertIn("older lite, gets lite", self.piman("status").stdout)
        plan = self.piman("reinstall", "pi2", "--dry-run").stdout
        self.assertRegex(plan, r"pi2 +lite +chosen for tag kiosks +older lite")
        self.assertEqual(self.orders(), [])

    def test_refused(self) -> None:
        """An image without its end and one that there is not are refused with status 2; nothing is changed."""
        self.manager.start()
        for words, expected in (
            (("set-default", "cut"), "it is cut off"),
            (("assign", "cut", "pi2"), "it is cut off"),
            (("set-default", "litte"), "Did you mean lite"),
            (("assign", "lite", "pi22"), "did you mean pi2?"),
            (("assign", "lite", "tag:kiosk"), "did you mean tag:kiosks?"),
            (("unassign", "pi2"), "it gets default (the default)"),
        ):
            done = self.piman("image", *words)
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (2, "", 1), words)
            self.assertIn(expected, done.stderr)
        self.assertEqual((self.listed()["choices"], self.manager.events("ImageChosen")), ([], []))

    def test_image_that_goes(self) -> None:
        """Who takes the default's image out of the configuration is told so by SIGHUP, ``images`` and ``check``."""
        self.manager.start()
        self.assertEqual(self.piman("image", "set-default", "lite").returncode, 0)
        text = (self.folder / "piman.yaml").read_text()
        (self.folder / "piman.yaml").write_text(text.replace("lite: lite.tgz, ", ""))
        assert self.manager.process is not None
        os.kill(self.manager.process.pid, signal.SIGHUP)
        self.manager.wait_for(lambda: self.manager.events("ConfigurationReloaded"), WAIT_SECONDS, "the reload")
        said = "image lite was chosen for the default, and images in piman.yaml does not name it"
        self.assertIn(said, self.manager.events("ConfigurationReloaded")[0]["warnings"])
        done = self.piman("images")
        self.assertEqual(done.returncode, 1)
        self.assertIn("There is no image lite, which is for 2: pi2, pi3", done.stdout)
        found = json.loads(self.piman("check", "--json").stdout)["findings"]
        texts = [each["text"] for each in found if each["subject"] == "images" and each["level"] == "fail"]
        self.assertTrue(any(text.startswith("lite: it was chosen for the default by") for text in texts), texts)
        self.assertEqual(self.piman("image", "set-default", "default").returncode, 0)
        self.assertEqual(self.piman("images").returncode, 0)

    def test_without_a_manager(self) -> None:
        """The same list without a manager, which is said on standard error; what was chosen counts, and stays."""
        self.manager.start()
        self.assertEqual(self.piman("image", "assign", "lite", "pi3").returncode, 0)
        with_manager = self.listed()
        self.manager.stop()
        before = sorted(path.name for path in (self.folder / "state").iterdir())
        done = self.piman("images", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"no manager answers at {self.socket}: as the files have it", done.stderr)
        self.assertEqual(json.loads(done.stdout), with_manager)
        self.assertEqual(sorted(path.name for path in (self.folder / "state").iterdir()), before)
        self.assertEqual(self.piman("image", "set-default", "lite").returncode, 3)
