"""
Tests for :mod:`piman.web.shelf` and :mod:`piman.web.image_routes`: what nodes have, what they get, and changes of it.
"""

import json
from typing import Any

from piman.fleet import events as happened
from piman.fleet.interfaces import StoreFailed
from piman.fleet.model import ImageChoice, Scope
from tests.web_support import DEFAULT_DIGEST, NOW, PI2, PI3, InHalf

LITE_DIGEST, GONE_DIGEST = "cd" * 32, "ef" * 32


class _Case(InHalf):
    """A half with a second image and two tags."""

    def setUp(self) -> None:
        """Two good images: default and lite."""
        super().setUp()
        self.half.images.more = {"lite": LITE_DIGEST}
        self.half.tags = {"kiosks": (PI2, PI3), "empty": ()}
        self.half.assign_images()

    def install(self, mac: Any, image: str, digest: str) -> None:
        """A node has it."""
        self.half.log.emit(happened.Installed(mac=mac, intent="1", digest=digest, image=image))

    def change(self, what: str, **body: Any) -> Any:
        """A change that is taken."""
        status, found = self.ask("POST", f"/api/v1/images/{what}", json.dumps(body).encode())
        self.assertEqual(status, 200, found)
        self.fits(found, "Outlooks")
        return found

    def not_changed(self, what: str, **body: Any) -> tuple[int, str, str, str]:
        """The refusal of a change, which changed nothing."""
        before, told = self.half.choices.all, len(self.half.history.kept)
        refused = self.refused("POST", f"/api/v1/images/{what}", json.dumps(body).encode())
        self.assertEqual((self.half.choices.all, len(self.half.history.kept)), (before, told))
        return refused

    def gets(self) -> dict[str, str]:
        """Which image each node gets, as its own route says."""
        return {node["name"]: node["image"] for node in self.get("/api/v1/nodes", "Nodes")["nodes"]}


def names(nodes: Any) -> list[str]:
    """Of named nodes."""
    return [node["name"] for node in nodes]


class ListTests(_Case):
    """``GET /api/v1/images``"""

    def test_nobody(self) -> None:
        """Without installations nobody has any, all get the default, and of all it is not known what they have."""
        found = self.get("/api/v1/images", "Images")
        first = found["images"][0]
        self.assertEqual((first["name"], first["default"], first["modified"]), ("default", True, 5.0))
        self.assertEqual((names(first["installed"]), names(first["assigned"])), ([], ["pi2", "pi3"]))
        self.assertEqual(names(found["unknown"]), ["pi2", "pi3"])
        self.assertEqual([found[key] for key in ("older", "missing", "choices", "default")], [[], [], [], "default"])

    def test_installed(self) -> None:
        """Who has what follows from digests; a digest that no image has any more is an older one."""
        self.install(PI2, "lite", LITE_DIGEST)
        self.install(PI3, "default", GONE_DIGEST)
        found = self.get("/api/v1/images", "Images")
        having = {image["name"]: names(image["installed"]) for image in found["images"]}
        self.assertEqual(having, {"default": [], "lost": [], "lite": ["pi2"]})
        older = {"digest": GONE_DIGEST, "image": "default", "nodes": [{"id": str(PI3), "name": "pi3"}]}
        self.assertEqual((found["older"], found["unknown"]), ([older], []))

    def test_same_content(self) -> None:
        """Of two names for the same content a node has the one it was installed by; else the first."""
        self.half.images.more = {"copy": DEFAULT_DIGEST}
        self.install(PI2, "copy", DEFAULT_DIGEST)
        self.half.log.emit(happened.BootOrdered(mac=PI3, digest=DEFAULT_DIGEST))
        found = self.get("/api/v1/images", "Images")
        having = {image["name"]: names(image["installed"]) for image in found["images"]}
        self.assertEqual(having, {"default": ["pi3"], "lost": [], "copy": ["pi2"]})

    def test_missing(self) -> None:
        """An image that nodes are to get and that is not there is told, with the nodes."""
        self.half.tag_images = {"kiosks": "kiosk"}
        self.half.assign_images()
        (missing,) = self.get("/api/v1/images", "Images")["missing"]
        self.assertEqual((missing["image"], names(missing["nodes"])), ("kiosk", ["pi2", "pi3"]))

    def test_tags(self) -> None:
        """Tags with their nodes, also those without any."""
        tags = self.get("/api/v1/images", "Images")["tags"]
        self.assertEqual({tag["name"]: names(tag["nodes"]) for tag in tags}, {"kiosks": ["pi2", "pi3"], "empty": []})

    def test_status(self) -> None:
        """A node shows the wanted image, why, and the one on its card."""
        self.install(PI2, "lite", LITE_DIGEST)
        node = self.get("/api/v1/nodes/pi2", "NodeWithWhy")
        self.assertEqual((node["image"], node["image_rule"], node["tags"]), ("default", "the default", ["kiosks"]))
        seen = node["status"]
        self.assertEqual((seen["image"], seen["digest"], seen["installed"]), ("lite", LITE_DIGEST, NOW))


class DefaultTests(_Case):
    """``POST /api/v1/images/default``"""

    def test_set(self) -> None:
        """All nodes without another get it; it is on disk, an event names who and from where, nothing is installed."""
        self.install(PI2, "lite", LITE_DIGEST)
        found = self.change("default", image="lite")
        self.assertEqual(self.gets(), {"pi2": "lite", "pi3": "lite"})
        self.assertEqual([node["installed"]["image"] for node in found["nodes"]], ["lite", ""])
        (choice,) = self.half.choices_store.choices.values()
        made = ImageChoice(scope=Scope.DEFAULT, image="lite", who="ada", source="control socket", chosen=NOW)
        self.assertEqual(choice, made)
        chosen = happened.ImageChosen(scope="default", name="", image="lite", who="ada", source="control socket")
        self.assertEqual(self.half.history.kept[-1].event, chosen)
        self.assertEqual(self.half.operations.operations(), [])
        listed = self.get("/api/v1/images", "Images")
        self.assertEqual([image["name"] for image in listed["images"] if image["default"]], ["lite"])
        self.assertEqual(listed["choices"][0]["who"], "ada")

    def test_back(self) -> None:
        """The image named default again: nothing is chosen any more."""
        self.change("default", image="lite")
        self.change("default", image="default")
        self.assertEqual((self.half.choices.all, self.gets()["pi2"]), ({}, "default"))
        self.change("default", image="default")

    def test_tag_stands(self) -> None:
        """Nodes whose tag has an image keep it, and are not among those that the change is about."""
        self.half.tags = {"kiosks": (PI2,)}
        self.half.tag_images = {"kiosks": "default"}
        self.half.assign_images()
        found = self.change("default", image="lite")
        self.assertEqual((self.gets(), names(found["nodes"])), ({"pi2": "default", "pi3": "lite"}, ["pi3"]))

    def test_unknown(self) -> None:
        """An image that there is not is refused with the nearest names."""
        status, code, message, hint = self.not_changed("default", image="light")
        self.assertEqual((status, code), (422, "no-such-image"))
        self.assertEqual(message, "image: found 'light', expected one of: default, lost, lite")
        self.assertTrue(hint.startswith("Did you mean lite"), hint)

    def test_bad(self) -> None:
        """An image that is cut off, or is not there, is refused."""
        self.half.images.troubles = {"lite": "it is cut off"}
        for name, expected in (("lite", "it is cut off"), ("lost", "no such file")):
            status, code, message, _ = self.not_changed("default", image=name)
            self.assertEqual((status, code), (422, "bad-image"))
            self.assertIn(expected, message)

    def test_full_disk(self) -> None:
        """What cannot be written is not taken."""
        self.half.choices_store.failure = StoreFailed("no space")
        self.assertEqual(self.not_changed("default", image="lite")[:2], (503, "not-on-disk"))

    def test_bodies(self) -> None:
        """All mistakes of a body at once."""
        status, code, message, _ = self.not_changed("default", image=7, nodes=["pi2"])
        self.assertEqual((status, code), (400, "bad-order"))
        self.assertEqual(
            message, "nodes: found an unknown key, expected image; image: found 7, expected the name of an image"
        )
        self.assertIn("nodes: found nothing", self.not_changed("assign", image="lite")[2])
        self.assertIn('nodes: found "pi2"', self.not_changed("unassign", nodes="pi2")[2])


class AssignTests(_Case):
    """``POST /api/v1/images/assign`` and ``unassign``"""

    def test_nodes(self) -> None:
        """Nodes by any of their names, each once."""
        found = self.change("assign", image="lite", nodes=["172.30.4.2", str(PI2)])
        self.assertEqual(self.gets(), {"pi2": "lite", "pi3": "default"})
        self.assertEqual([(node["name"], node["rule"]) for node in found["nodes"]], [("pi2", "chosen for this node")])
        (choice,) = self.get("/api/v1/images", "Images")["choices"]
        self.assertEqual((choice["scope"], choice["name"], choice["node"]), ("node", str(PI2), "pi2"))
        kept = [recorded.event for recorded in self.half.history.kept]
        self.assertEqual([event.mac for event in kept if isinstance(event, happened.ImageChosen)], [PI2])

    def test_tag(self) -> None:
        """A tag: all of its nodes, but a node's own image counts more."""
        self.change("assign", image="default", nodes=["pi3"])
        found = self.change("assign", image="lite", nodes=["tag:kiosks"])
        self.assertEqual(self.gets(), {"pi2": "lite", "pi3": "default"})
        rules = {node["name"]: node["rule"] for node in found["nodes"]}
        self.assertEqual(rules, {"pi2": "chosen for tag kiosks", "pi3": "chosen for this node"})

    def test_back(self) -> None:
        """What is taken back leaves what the files say."""
        self.change("assign", image="lite", nodes=["pi2", "tag:kiosks"])
        self.change("unassign", nodes=["pi2"])
        self.assertEqual(self.gets()["pi2"], "lite")
        self.change("unassign", nodes=["tag:kiosks"])
        self.assertEqual((self.gets()["pi2"], self.half.choices.all), ("default", {}))

    def test_nothing_to_take_back(self) -> None:
        """Where nothing was chosen the refusal says what the node gets, and why; the other words count neither."""
        self.change("assign", image="lite", nodes=["pi2"])
        status, code, message, _ = self.not_changed("unassign", nodes=["pi2", "pi3", "tag:empty"])
        self.assertEqual((status, code), (409, "not-chosen"))
        self.assertIn("pi3: found no image that was chosen for it by command; it gets default (the default)", message)
        self.assertIn("tag:empty", message)

    def test_names(self) -> None:
        """Words that mean nothing are told all at once, with the nearest names; nothing is changed."""
        status, code, message, _ = self.not_changed("assign", image="lite", nodes=["pi22", "pi2", "tag:kiosk"])
        self.assertEqual((status, code), (422, "bad-targets"))
        self.assertIn("did you mean pi2?", message)
        self.assertIn("tag:kiosk: no such tag; did you mean tag:kiosks?", message)

    def test_gone(self) -> None:
        """What was chosen for a node or tag that no file names any more can be taken back, by MAC or name."""
        gone = "b8:27:eb:00:00:77"
        self.half.choices_store.choices = {
            choice.key: choice
            for choice in (
                ImageChoice(scope=Scope.NODE, name=gone, image="lite"),
                ImageChoice(scope=Scope.TAG, name="old", image="lite"),
            )
        }
        self.half.choices.load()
        self.assertEqual(self.not_changed("assign", image="lite", nodes=["tag:old"])[0], 422)
        self.change("unassign", nodes=[gone.upper(), "tag:old"])
        self.assertEqual(self.half.choices_store.choices, {})

    def test_bad(self) -> None:
        """A damaged image is given to no node."""
        self.half.images.troubles = {"lite": "it is damaged"}
        self.assertEqual(self.not_changed("assign", image="lite", nodes=["pi2"])[1], "bad-image")


class PlanTests(_Case):
    """The plan of a reinstall."""

    def test_reinstall(self) -> None:
        """It shows what each node gets, why, and what it has; nothing is hashed for that."""
        self.half.images.slow = ["new"]
        self.install(PI2, "default", GONE_DIGEST)
        self.change("assign", image="lite", nodes=["pi3"])
        status, found = self.order(action="reinstall", nodes=["pi2", "pi3"], dry_run=True)
        self.assertEqual(status, 200)
        self.fits(found, "Ordered")
        first, second = found["plan"]["images"]
        self.assertEqual((first["image"], first["rule"]), ("default", "the default"))
        self.assertEqual(first["installed"], {"image": "default", "digest": GONE_DIGEST, "older": True})
        self.assertEqual((second["image"], second["rule"]), ("lite", "chosen for this node"))

    def test_ordered(self) -> None:
        """An image that the order names counts for all; a restart has no images."""
        _, found = self.order(action="reinstall", nodes=["pi2"], dry_run=True, image="lite")
        self.assertEqual([(each["image"], each["rule"]) for each in found["plan"]["images"]], [("lite", "ordered")])
        _, found = self.order(action="restart", nodes=["pi2"], dry_run=True)
        self.assertEqual(found["plan"]["images"], [])
