"""
Tests for :mod:`piman.web.pages.resource`: each page, of racks of any size, whatever texts hold.
"""

from html.parser import HTMLParser
from typing import Any

import attrs
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import events
from piman.fleet.interfaces import PowerFailed
from piman.fleet.model import Node
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.orders import Action
from piman.web.shelf import Asked
from piman.web.standings import BEAT_SECONDS
from tests.pages_support import Life, SmallSite, Wall, mac_of

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
VOID = {"meta", "link", "img", "input", "br", "hr", "rect"}


class Page(HTMLParser):
    """
    A page, taken apart; every element must be closed where it was opened.

    :ivar tags: names of the elements with their attributes.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.mistakes: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.mistakes += [f"{tag} is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        names = [name for name, _ in attributes]
        if len(names) != len(set(names)):
            self.mistakes.append(f"{tag} has an attribute twice: {names}")
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag in VOID:
            return
        if not self._open or self._open.pop() != tag:
            self.mistakes.append(f"{tag} is closed where it is not open, line {self.getpos()[0]}")

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of all such elements; ``data_id`` is data-id."""
        asked = {name.strip("_").replace("_", "-"): value for name, value in wanted.items()}
        return [
            found for name, found in self.tags if name == tag and all(found.get(key) == asked[key] for key in asked)
        ]


class _Case(SynchronousTestCase):
    def visit(self, wall: Wall, path: str, status: int = 200) -> Page:
        """A page, which is sound: HTML, nothing inline, each id once."""
        treq = StubTreq(SmallSite(wall))
        answered = Deferred.fromCoroutine(self._visit(treq, path))
        for _ in range(30):
            if answered.called:
                break
            wall.clock.advance(BEAT_SECONDS)
            treq.flush()
        found, page = self.successResultOf(answered)
        self.assertEqual(found, status, page.text[-1500:])
        self.assertEqual(page.mistakes, [])
        names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        self.assertEqual(len(names), len(set(names)))
        for _, attributes in page.tags:
            self.assertEqual([name for name in attributes if name.startswith("on") or name == "style"], [])
        return page

    async def _visit(self, treq: Any, path: str) -> tuple[int, Page]:
        response = await treq.get(f"http://site{path}", headers={"accept": "text/html"})
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["text/html; charset=utf-8"])
        return response.code, Page((await response.content()).decode())

    def order(self, wall: Wall, *words: str) -> Any:
        """Begin a restart."""
        plan = self.successResultOf(Deferred.fromCoroutine(wall.operations.plan(Action.RESTART, words)))
        begun = Deferred.fromCoroutine(wall.operations.begin(plan, who=HOSTILE, source="test", yes=True))
        return self.successResultOf(begun)


class RackTests(_Case):
    """The rack."""

    def test_sizes(self) -> None:
        """A rack of nothing, of one switch, of twelve with 48 ports each."""
        for switches, ports in ((0, 0), (1, 1), (1, 48), (12, 48)):
            page = self.visit(Wall(switches, ports), "/")
            self.assertEqual(len(page.all("section", class_="plate")), switches)
            self.assertEqual(len(page.all("li", data_kind="node")), switches * ports)

    def test_mixed(self) -> None:
        """Each port says its phase in words and as data; strangers can be added."""
        wall = Wall(1, 48)
        wall.mix()
        wall.clock.advance(600)
        page = self.visit(wall, "/")
        for node in wall.nodes:
            (cell,) = page.all("li", data_id=str(node.mac))
            self.assertEqual(cell["data-phase"], wall.registry.status(node.mac).phase.value)
        stuck = [found for found in page.all("li", class_="port") if "data-stuck" in found]
        self.assertEqual(len(stuck), sum(1 for node in wall.nodes if wall.standings.fault(node.mac)))
        self.assertGreater(len(stuck), 3)
        self.assertEqual(len(page.all("a", href="/hosts-csv?add=b8%3A27%3Aeb%3A0d%3Abb%3Aa0")), 1)

    def test_viewer(self) -> None:
        """A viewer sees all of it and can order nothing."""
        wall = Wall(1, 8)
        wall.mix()
        self.order(wall, "pi-1-01")
        wall.role = "viewer"
        page = self.visit(wall, "/")
        boxes = page.all("input", type="checkbox")
        buttons = [found for found in page.all("button") if found.get("class") != "quiet" and found.get("type")]
        self.assertEqual((boxes, buttons, page.all("dialog")), ([], [], []))
        self.assertNotIn("/hosts-csv?add", page.text)
        self.assertEqual(len(page.all("li", data_kind="node")), 8)

    def test_search(self) -> None:
        """What is searched for without a script is found, and the rest dimmed."""
        page = self.visit(Wall(1, 8), "/?q=pi-1-03")
        clear = [found["data-port"] for found in page.all("li", class_="port") if "data-dim" not in found]
        self.assertEqual(clear, ["3"])

    def test_deaf_switch(self) -> None:
        """A switch that does not answer is shown with the reason, soon, and its nodes where the files put them."""
        wall = Wall(1, 4)
        for switch in wall.switches.values():
            switch.failure = PowerFailed("no answer from 10.77.1.254", "Look at its cable.")
        page = self.visit(wall, "/")
        self.assertIn("does not answer", page.text)
        self.assertIn("Look at its cable.", page.text)
        self.assertEqual(len(page.all("li", data_kind="node")), 4)

    def test_operations(self) -> None:
        """An operation that goes on stands on top, with what is in trouble; one that is over does not."""
        wall = Wall(1, 8)
        Life(wall, lambda number: 0.5)
        operation = self.order(wall, "pi-1-01", "pi-1-02")
        page = self.visit(wall, "/")
        self.assertEqual(len(page.all("article", data_operation=operation.id)), 1)
        wall.clock.pump([0.5] * 400)
        self.assertTrue(wall.operations.operation(operation.id).is_final)
        self.assertEqual(self.visit(wall, "/").all("article", data_operation=operation.id), [])


class HostileTests(_Case):
    """Texts that were made to hurt."""

    def wall(self) -> Wall:
        """A rack where every text is hostile."""
        wall = Wall(1, 2)
        wall.nodes = tuple(attrs.evolve(node, hostname=HOSTILE, image=HOSTILE) for node in wall.nodes)
        wall.registry.replace_nodes(wall.nodes, ())
        wall.places = tuple(attrs.evolve(place, label=HOSTILE) for place in wall.places)
        wall.user = HOSTILE
        mac = wall.nodes[0].mac
        wall.boot(wall.nodes[0])
        wall.emit(events.InstallerFailed(mac=mac, reason=HOSTILE, code=1))
        wall.emit(events.LoadingStarted(mac=mac, name=HOSTILE))
        wall.emit(events.StrangerSeen(mac=mac_of(9), stage=None, serial=HOSTILE, model=HOSTILE))
        wall.images.slow.append(HOSTILE)
        wall.clock.advance(900)
        return wall

    def test_every_page(self) -> None:
        """No page has an element, or a script, of such a text."""
        wall = self.wall()
        mac = wall.nodes[0].mac
        operation = self.order(wall, str(mac))
        query = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E"
        for path, status in (
            ("/", 200),
            (f"/?q={query}", 200),
            (f"/nodes/{mac}", 200),
            (f"/nodes/{mac_of(9)}", 200),
            (f"/nodes/{query.replace('/', '%2F')}", 404),
            ("/events", 200),
            (f"/events?text={query}&node={query}&kind={query}", 200),
            ("/events/11", 200),
            ("/images", 200),
            ("/operations", 200),
            (f"/operations/{operation.id}", 200),
            (f"/{query}", 404),
        ):
            page = self.visit(wall, path, status)
            self.assertIn("alert(1)", page.text, path)
            self.assertEqual([found for found in page.all("script") if found.get("type") != "module"], [], path)
            self.assertEqual([found for found in page.all("img") if found["src"] != "/static/favicon.svg"], [], path)


class OtherPagesTests(_Case):
    """Nodes, events, images, operations."""

    def setUp(self) -> None:
        """A rack with a past."""
        self.wall = Wall(1, 8)
        for node in self.wall.nodes:
            self.wall.boot(node, seconds=2.0)

    def test_node(self) -> None:
        """Who it is, the verdict, each stage of its boot as a bar and in words, its events."""
        page = self.visit(self.wall, "/nodes/pi-1-03")
        for text in ("b8:27:eb:00:00:03", "10.77.1.3", "rack-1 port 3", "4B", "It is up", "18 s", "imaging"):
            self.assertIn(text, page.text)
        self.assertEqual(len([found for found in page.all("rect") if "data-phase" in found]), 9)
        self.assertEqual(len([found for found in page.all("tr") if "data-event" in found]), 10)

    def test_names(self) -> None:
        """A node is found by MAC and address, too; one that is not there is a page that says what is near."""
        for name in ("b8:27:eb:00:00:03", "10.77.1.3", "PI-1-03"):
            self.assertIn("rack-1 port 3", self.visit(self.wall, f"/nodes/{name}").text)
        self.assertIn("Did you mean pi-1-03?", self.visit(self.wall, "/nodes/pi-1-033", 404).text)

    def test_reading(self) -> None:
        """The latest reading of the agent is shown, if there is one."""
        self.assertNotIn("Processor", self.visit(self.wall, "/nodes/pi-1-01").text)
        plain = {"cpu_percent": 12.4, "memory_percent": 40.0, "disk_percent": 71.0, "temp": 48.25, "throttled": 0x50005}
        self.wall.readings[self.wall.nodes[0].mac] = {**plain, "time": 1_780_000_000.0}
        page = self.visit(self.wall, "/nodes/pi-1-01").text
        for text in ("12 %", "48.2 °C", "0x50005", "71 %"):
            self.assertIn(text, page)

    def test_unknown_board(self) -> None:
        """A stranger has a page, and can be added from there."""
        self.wall.emit(events.StrangerSeen(mac=mac_of(77), stage=None, serial="ab", model="3B"))
        page = self.visit(self.wall, f"/nodes/{mac_of(77)}")
        self.assertEqual(len(page.all("a", class_="button primary")), 1)
        self.assertEqual(page.all("button", data_action="restart"), [])

    def test_event(self) -> None:
        """An event has an address for ever, and leads to its neighbours; one that was never stored is not found."""
        page = self.visit(self.wall, "/events/2")
        self.assertEqual([found["href"] for found in page.all("a", class_="button")], ["/events/1", "/events/3"])
        self.assertEqual(self.visit(self.wall, "/events/1").all("a", rel="prev"), [])
        for number in ("999999", "0", str(2**80)):
            self.visit(self.wall, f"/events/{number}", 404)

    def test_events_of_nobody(self) -> None:
        """A node that is not there is a mistake beside its field."""
        page = self.visit(self.wall, "/events?node=pi-1-9")
        self.assertEqual(len(page.all("input", id="node", aria_invalid="true", aria_describedby="node-error")), 1)

    def test_images(self) -> None:
        """Which nodes have an image, and which should and do not."""
        self.wall.emit(events.Installed(mac=self.wall.nodes[0].mac, intent="2" * 32, digest="cd" * 32))
        page = self.visit(self.wall, "/images").text
        self.assertIn("7 nodes have it", page)
        self.assertIn("1 node should have it, and has another one", page)
        self.assertIn("lost: no such file", page)

    def choose(self) -> None:
        """Somebody gives an image to a node."""
        asked = Asked(who=HOSTILE, source="test")
        choosing = self.wall.shelf.assign("default", [str(self.wall.nodes[0].mac)], asked)
        self.successResultOf(Deferred.fromCoroutine(choosing))

    def test_change_images(self) -> None:
        """An operator can take another default, assign, and withdraw what was chosen; each button says of what."""
        self.choose()
        page = self.visit(self.wall, "/images")
        others = [found["data-default"] for found in page.all("button") if "data-default" in found]
        self.assertTrue(others)
        self.assertNotIn("default", others)
        self.assertEqual(len(page.all("button", data_unassign=str(self.wall.nodes[0].mac))), 1)
        self.assertEqual(len(page.all("select", id="assign-image")), 1)

    def test_view_images(self) -> None:
        """A viewer sees what was chosen, and has no button, form or script that changes it."""
        self.choose()
        self.wall.role = "viewer"
        page = self.visit(self.wall, "/images")
        changing = [found for found in page.all("button") if found.get("type")]
        self.assertEqual((changing, page.all("select"), page.all("script", src="/static/images.js")), ([], [], []))
        self.assertIn("Chosen by command", page.text)

    def test_operation(self) -> None:
        """An operation shows each target with its stages, and how long it took."""
        Life(self.wall, lambda number: 0.5)
        operation = self.order(self.wall, "rack-1", "1-3")
        self.assertEqual(len(self.visit(self.wall, f"/operations/{operation.id}").all("button", class_="cancel")), 1)
        self.wall.clock.pump([0.5] * 600)
        page = self.visit(self.wall, f"/operations/{operation.id}")
        self.assertEqual(len(page.all("tr", data_step="done")), 3)
        self.assertIn("3 of 3 over", page.text)
        self.assertIn("took ", page.text)
        self.assertEqual(page.all("button", class_="cancel"), [])
        self.assertEqual(len(self.visit(self.wall, "/operations").all("tr", data_operation=operation.id)), 1)
        self.visit(self.wall, "/operations/nope", 404)

    def test_mistake_of_ours(self) -> None:
        """What goes wrong inside is a page without details, and in the log."""
        self.wall.api.answers.operations = lambda: 1 // 0
        page = self.visit(self.wall, "/operations", 500)
        self.assertNotIn("division", page.text)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class DirectoryTests(SynchronousTestCase):
    """The support of these tests."""

    def test_wall(self) -> None:
        """A rack in every state has nodes in each family of phases that the legend shows."""
        wall = Wall(12, 48)
        wall.mix()
        found = {wall.registry.status(node.mac).phase.value for node in wall.nodes}
        self.assertGreaterEqual(len(found), 8)
        self.assertIsInstance(wall.registry, NodeRegistry)
        self.assertIsInstance(wall.nodes[0], Node)
