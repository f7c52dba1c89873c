"""
Tests for :mod:`piman.web.api` and :mod:`piman.web.shapes`: status codes and bodies, good and bad.
"""

import json
from ipaddress import IPv4Address
from typing import Any

from piman.fleet import events
from piman.fleet.interfaces import PowerUnreachable, StoreFull
from piman.fleet.model import Stage
from piman.web.wishes import MOST_BODY_BYTES
from tests.web_support import NOW, PI2, PI3, RACK, STRANGER, VERSION, Half, InHalf


class NodeTests(InHalf):
    """Nodes."""

    def setUp(self) -> None:
        """Pi 2 is up, a stranger has asked for an address."""
        super().setUp()
        self.half.log.emit(events.NodeUp(mac=PI2, evidence="agent"))
        self.half.log.emit(events.StrangerSeen(mac=STRANGER, stage=Stage.EEPROM))

    def test_all(self) -> None:
        """All nodes come with what was seen of them; beside them strangers, places and counts."""
        found = self.get("/api/v1/nodes", "Nodes")
        self.assertEqual([node["id"] for node in found["nodes"]], [str(PI2), str(PI3)])
        self.assertEqual(found["nodes"][0]["port"], {"switch": str(RACK), "label": "rack-a", "port": 2})
        self.assertEqual([node["status"]["phase"] for node in found["nodes"]], ["up", "unknown"])
        self.assertEqual([(node["id"], node["known"]) for node in found["strangers"]], [(str(STRANGER), False)])
        self.assertEqual([slot["address"] for slot in found["slots"]], ["172.30.4.5"])
        self.assertEqual(found["counts"]["up"], 1)

    def test_one(self) -> None:
        """A node answers to its MAC in either case, its hostname and its address, and says why."""
        for name in ("b8:27:eb:00:00:02", "B8:27:EB:00:00:02", "pi2", "PI2", "172.30.4.2"):
            found = self.get(f"/api/v1/nodes/{name}", "NodeWithWhy")
            self.assertEqual((found["id"], found["name"]), (str(PI2), "pi2"))
            self.assertEqual(found["why"], {"sentence": f"why {PI2}", "remedy": "Do something."})

    def test_stranger(self) -> None:
        """A stranger answers to its MAC."""
        found = self.get(f"/api/v1/nodes/{STRANGER}", "NodeWithWhy")
        self.assertEqual((found["known"], found["address"], found["port"]), (False, None, None))

    def test_in_an_operation(self) -> None:
        """A node in an operation names it."""
        _, ordered = self.order(action="restart", nodes=["pi3"])
        found = self.get("/api/v1/nodes", "Nodes")
        self.assertEqual([node["operation"] for node in found["nodes"]], [None, ordered["operation"]["id"]])

    def test_why(self) -> None:
        """``why`` asks the diagnosis that was given."""
        found = self.get("/api/v1/nodes/pi2/why", "Why")
        self.assertEqual((found["name"], found["phase"], found["sentence"]), ("pi2", "up", f"why {PI2}"))

    def test_unknown(self) -> None:
        """A node that is none is 404, with the nearest name."""
        for path in ("/api/v1/nodes/pi22", "/api/v1/nodes/pi22/why", "/api/v1/nodes/pi22/events"):
            status, code, message, hint = self.refused("GET", path)
            self.assertEqual((status, code), (404, "no-such-node"))
            self.assertIn("'pi22'", message)
            self.assertIn("pi2?", hint)
        self.assertEqual(self.refused("GET", "/api/v1/events", node="pi22")[:2], (404, "no-such-node"))


class EventTests(InHalf):
    """Stored events."""

    def setUp(self) -> None:
        """Five events of two nodes."""
        super().setUp()
        for number in range(5):
            self.half.log.emit(events.NodeUp(mac=(PI2, PI3)[number % 2], evidence="agent"))

    def numbers(self, path: str, **parameters: Any) -> list[int]:
        """The numbers of the events."""
        return [event["id"] for event in self.get(path, "Events", **parameters)["events"]]

    def test_head_of_stream(self) -> None:
        """HEAD is told the head of the stream, and takes no reader's place; what is wrong is told as ever."""
        for query, status in (("nodes=1", 200), ("operation=0badc0de", 404)):
            head = self.successResultOf(self.half.treq.head(f"http://piman/api/v1/events/stream?{query}"))
            self.assertEqual((head.code, self.half.stream.readers), (status, []))

    def test_newest(self) -> None:
        """Without a number the newest come, oldest first."""
        self.assertEqual(self.numbers("/api/v1/events", limit=2), [4, 5])

    def test_after(self) -> None:
        """After a number the next ones come."""
        self.assertEqual(self.numbers("/api/v1/events", after=1, limit=2), [2, 3])

    def test_of_a_node(self) -> None:
        """Both ways to ask for a node's events give the same."""
        self.assertEqual(self.numbers("/api/v1/events", node="pi3"), [2, 4])
        self.assertEqual(self.numbers("/api/v1/nodes/pi3/events"), [2, 4])

    def test_words(self) -> None:
        """An event has its fields, and plain words without what a terminal would obey."""
        self.half.log.emit(events.InstallerFailed(mac=PI2, reason="no card\x1b[2J", code="no-card"))
        found = self.get("/api/v1/events", "Events", limit=1)["events"][0]
        self.assertEqual((found["kind"], found["node"], found["time"]), ("InstallerFailed", str(PI2), NOW))
        self.assertEqual(found["fields"], {"reason": "no card\x1b[2J", "code": "no-card"})
        self.assertEqual(found["text"], "its installer cannot go on: no card\\x1b[2J")

    def test_bad_parameters(self) -> None:
        """A parameter that is no number, too large or unknown is 400, and says what was expected."""
        for parameters, expected in (
            ({"limit": "x"}, "limit: found 'x', expected a whole number from 0 to 5000"),
            ({"limit": "5001"}, "limit: found '5001'"),
            ({"after": "-1"}, "after: found '-1'"),
            ({"after": "\u0661"}, "after: found"),
            ({"nod": "pi2"}, "found the parameter nod, expected after, limit, node"),
        ):
            status, code, message, _ = self.refused("GET", "/api/v1/events", **parameters)
            self.assertEqual((status, code), (400, "bad-parameter"))
            self.assertIn(expected, message)


class SwitchTests(InHalf):
    """Switches, and what hangs on them."""

    def test_switches(self) -> None:
        """A switch shows its ports with node, expected place and power, and its budget."""
        (switch,) = self.get("/api/v1/switches", "Switches")["switches"]
        self.assertEqual((switch["label"], switch["answer"]["reachable"]), ("rack-a", True))
        by_number = {port["port"]: port for port in switch["ports"]}
        self.assertEqual(sorted(by_number), list(range(1, 9)))
        self.assertEqual((by_number[2]["name"], by_number[2]["power"]["watts"]), ("pi2", 4.0))
        self.assertEqual((by_number[5]["expected"], by_number[8]["protected"]), ("172.30.4.5", True))
        self.assertEqual(switch["answer"]["budget"]["used_watts"], 32.0)

    def test_unreachable(self) -> None:
        """A switch that does not answer is shown with the reason and the remedy; its nodes are there."""
        self.half.switch.failure = PowerUnreachable("rack-a does not answer.", "Is it on?")
        (switch,) = self.get("/api/v1/switches", "Switches")["switches"]
        answer = switch["answer"]
        self.assertEqual((answer["reachable"], answer["reason"]), (False, "rack-a does not answer."))
        self.assertEqual([port["port"] for port in switch["ports"]], [2, 3, 5, 8])

    def test_find_port(self) -> None:
        """A board is found by MAC or name, with its place in the files and where it was learned."""
        self.half.switch.macs = {3: {PI3}, 6: {STRANGER}}
        found = self.get("/api/v1/ports/pi3", "Whereabouts")
        self.assertEqual((found["port"], found["seen"], found["remark"]), (found["configured"], [found["port"]], ""))
        found = self.get(f"/api/v1/ports/{str(STRANGER).upper()}", "Whereabouts")
        self.assertEqual((found["known"], found["port"]["port"]), (False, 6))

    def test_find_port_of_nothing(self) -> None:
        """What is neither a node nor a MAC is 400."""
        status, code, message, _ = self.refused("GET", "/api/v1/ports/pi22")
        self.assertEqual((status, code), (400, "bad-mac"))
        self.assertIn("expected a MAC like", message)

    def test_map(self) -> None:
        """The map shows nodes and strangers on their ports, with the line that makes the stranger a node."""
        self.half.switch.macs = {2: {PI2}, 5: {STRANGER}}
        self.half.log.emit(events.NodeUp(mac=PI2, evidence="agent"))
        rows = {row["port"]["port"]: row for row in self.get("/api/v1/map", "Map")["rows"]}
        self.assertEqual((rows[2]["name"], rows[2]["phase"], rows[2]["hosts_line"]), ("pi2", "up", None))
        self.assertEqual(rows[5]["hosts_line"], "B8:27:EB:00:00:09;172.30.4.5;;0")

    def test_map_without_a_switch(self) -> None:
        """A switch that does not tell is named; the files' half of the map is there."""
        self.half.switch.failure = PowerUnreachable("rack-a does not answer.")
        found = self.get("/api/v1/map", "Map")
        self.assertEqual(found["silent"], [{"switch": str(RACK), "reason": "rack-a does not answer."}])
        self.assertEqual([row["name"] for row in found["rows"]], ["pi2", "pi3", None])


class OrderTests(InHalf):
    """Orders."""

    def test_restart(self) -> None:
        """An order is 201 with its operation, is where Location says, and its event says who and from where."""
        status, found = self.order(action="restart", nodes=["rack-a", 2, "3"])
        self.assertEqual(status, 201)
        self.fits(found, "Ordered")
        identity = found["operation"]["id"]
        self.assertEqual([report["target"]["name"] for report in found["operation"]["reports"]], ["pi2", "pi3"])
        shown = self.get(f"/api/v1/operations/{identity}", "Operation")
        self.assertEqual((shown["who"], shown["source"], shown["final"]), ("ada", "control socket", False))
        (started,) = [each.event for each in self.half.history.kept]
        self.assertEqual(
            started,
            events.OperationStarted(
                operation=identity, action="restart", who="ada", source="control socket", targets=2
            ),
        )
        self.half.clock.advance(0)
        self.assertIn(("off", 2), self.half.switch.orders)

    def test_location(self) -> None:
        """The answer to an order names where the operation is."""
        body = json.dumps({"action": "power-off", "nodes": ["pi2"]}).encode()
        response = self.successResultOf(self.half.treq.post("http://piman/api/v1/operations", data=body))
        (place,) = response.headers.getRawHeaders("location")
        self.get(place, "Operation")

    def test_dry_run(self) -> None:
        """A dry run is 200 with the plan, and touches nothing."""
        status, found = self.order(action="power-off", nodes=["pi2"], dry_run=True)
        self.assertEqual((status, found["operation"]), (200, None))
        self.fits(found, "Ordered")
        self.assertEqual(found["plan"]["targets"][0]["rule"], "172.30.4.2 ends in 2")
        self.assertEqual((self.half.switch.orders, self.half.history.kept), ([], []))
        self.assertEqual(self.get("/api/v1/operations", "Operations")["operations"], [])

    def test_listed(self) -> None:
        """All operations are listed without their reports."""
        self.order(action="power-off", nodes=["pi2"])
        (listed,) = self.get("/api/v1/operations", "Operations")["operations"]
        self.assertEqual((listed["action"], "reports" in listed), ("power-off", False))

    def test_bad_names(self) -> None:
        """Names that mean nothing are 422, all of them at once."""
        status, found = self.order(action="restart", nodes=["pi22", "9"])
        self.assertEqual((status, found["error"]["code"]), (422, "bad-targets"))
        self.assertIn("pi22", found["error"]["message"])
        self.assertIn("a port of which switch?", found["error"]["message"])

    def test_busy(self) -> None:
        """A node in another operation is 409, with the word that would end it."""
        _, first = self.order(action="restart", nodes=["pi2"])
        status, found = self.order(action="restart", nodes=["pi2"])
        self.assertEqual((status, found["error"]["code"]), (409, "refused"))
        self.assertIn(f"cancel {first['operation']['id']}", found["error"]["hint"])

    def test_many(self) -> None:
        """More nodes than max_blast are 409 without a yes, and 201 with it."""
        self.half = Half(max_blast=1)
        status, found = self.order(action="power-off", nodes=["pi2", "pi3"])
        self.assertEqual((status, found["error"]["code"]), (409, "refused"))
        self.assertIn("--yes", found["error"]["hint"])
        self.assertEqual(self.order(action="power-off", nodes=["pi2", "pi3"], yes=True)[0], 201)

    def test_full_disk(self) -> None:
        """What cannot be written is 503, and nothing was switched."""
        self.half.store.failure = StoreFull("no space left")
        status, found = self.order(action="restart", nodes=["pi2"])
        self.assertEqual((status, found["error"]["code"]), (503, "not-on-disk"))
        self.half.clock.advance(60)
        self.assertEqual(self.half.switch.orders, [])

    def test_unknown_image(self) -> None:
        """An image that is none is 422, with those that are."""
        status, found = self.order(action="reinstall", nodes=["pi2"], image="defualt")
        self.assertEqual((status, found["error"]["code"]), (422, "no-such-image"))
        self.assertIn("expected one of: default, lost", found["error"]["message"])

    def test_cancel(self) -> None:
        """Cancelling says who did it; once more changes nothing."""
        _, ordered = self.order(action="restart", nodes=["pi2"])
        path = f"/api/v1/operations/{ordered['operation']['id']}/cancel"
        for _ in range(2):
            status, found = self.ask("POST", path)
            self.assertEqual((status, found["cancelled_by"]), (200, "ada"))
        cancelled = [each.event for each in self.half.history.kept if isinstance(each.event, events.OperationCancelled)]
        self.assertEqual({(each.who, each.source) for each in cancelled}, {("ada", "control socket")})

    def test_unknown_operation(self) -> None:
        """An operation that is none is 404, whatever is asked of it."""
        for method, path in (
            ("GET", "/api/v1/operations/0badc0de"),
            ("POST", "/api/v1/operations/0badc0de/cancel"),
            ("GET", "/api/v1/events/stream?operation=0badc0de"),
        ):
            self.assertEqual(self.refused(method, path)[:2], (404, "no-such-operation"))

    def test_hang_up(self) -> None:
        """An order whose sender hangs up while it is written down is carried out all the same."""
        self.half.store.waiting = []
        asked = self.ask_slowly("POST", "/api/v1/operations", b'{"action": "power-off", "nodes": ["pi2"]}')
        self.assertNoResult(asked)
        asked.addErrback(lambda failure: None)
        asked.cancel()
        self.half.treq.flush()
        (saving,), self.half.store.waiting = self.half.store.waiting, None
        self.half.switch.orders.clear()
        saving.callback(None)
        self.half.clock.advance(1)
        self.assertIn(("off", 2), self.half.switch.orders)


class BodyTests(InHalf):
    """Bodies that are no orders."""

    def mistake(self, body: bytes) -> tuple[int, str, str]:
        """Status, code and message."""
        return self.refused("POST", "/api/v1/operations", body)[:3]

    def test_no_json(self) -> None:
        """No JSON, no object and nothing at all are 400."""
        for body in (b"", b"{", b"\xff", b"[" * 100_000):
            self.assertEqual(self.mistake(body)[:2], (400, "no-json"))
        self.assertEqual(self.mistake(b"[1]")[:2], (400, "no-object"))

    def test_too_large(self) -> None:
        """A body longer than any order is 413."""
        self.assertEqual(self.mistake(b" " * (MOST_BODY_BYTES + 1))[:2], (413, "too-large"))

    def test_every_mistake(self) -> None:
        """All mistakes of an order are told at once, each with what was found and expected."""
        body = {"action": "explode", "nodes": "pi2", "dry-run": True, "at_most": -1, "stop_after": True, "yes": "no"}
        status, code, message = self.mistake(json.dumps(body).encode())
        self.assertEqual((status, code), (400, "bad-order"))
        for part in (
            'action: found "explode", expected one of restart, reinstall, power-on, power-off',
            'nodes: found "pi2", expected a list',
            "dry-run: found an unknown key, expected dry_run",
            "at_most: found -1, expected how many",
            "stop_after: found true, expected after how many",
            'yes: found "no", expected true or false',
        ):
            self.assertIn(part, message)

    def test_nothing_named(self) -> None:
        """What is missing is named."""
        _, _, message = self.mistake(b"{}")
        self.assertIn("action: found nothing", message)
        self.assertIn("nodes: found nothing", message)

    def test_image_without_reinstall(self) -> None:
        """An image for a restart is a mistake."""
        body = b'{"action": "restart", "nodes": ["pi2"], "image": "default"}'
        self.assertIn("image: found one for restart", self.mistake(body)[2])


class RestTests(InHalf):
    """Everything else."""

    def test_images(self) -> None:
        """Images come with their digest, or why there is none; hashing a new one is not waited for."""
        self.half.images.slow = ["new"]
        asked = self.ask_slowly("GET", "/api/v1/images")
        self.assertNoResult(asked)
        self.half.clock.advance(2)
        self.half.treq.flush()
        _, found = self.successResultOf(asked)
        self.fits(found, "Images")
        self.assertEqual(
            [(image["name"], image["digest"], image["note"]) for image in found["images"]],
            [
                ("default", "ab" * 32, ""),
                ("lost", None, "lost: no such file"),
                ("new", None, "its digest is being computed"),
            ],
        )

    def test_health(self) -> None:
        """``/healthz`` names the version."""
        self.assertEqual(self.get("/healthz", "Health"), {"status": "ok", "version": VERSION, "time": NOW})

    def test_no_such_path(self) -> None:
        """A path that is none is 404 with a JSON body; a method that is none there 405."""
        self.assertEqual(self.refused("GET", "/api/v1/nodez")[:2], (404, "no-such-path"))
        self.assertEqual(self.refused("GET", "/")[:2], (404, "no-such-path"))
        status, code, _, hint = self.refused("DELETE", "/api/v1/operations")
        self.assertEqual((status, code), (405, "method-not-allowed"))
        self.assertIn("POST", hint)

    def test_changes_are_posts(self) -> None:
        """Nothing is changed by a GET."""
        self.order(action="restart", nodes=["pi2"])
        (operation,) = self.get("/api/v1/operations", "Operations")["operations"]
        status, code, *_ = self.refused("GET", f"/api/v1/operations/{operation['id']}/cancel")
        self.assertEqual((status, code), (405, "method-not-allowed"))

    def test_our_mistake(self) -> None:
        """A mistake of our own is 500 without its details, which are in the log."""

        def broken(mac: object) -> Any:
            raise ZeroDivisionError("secret")

        self.half.api.answers._why = broken
        status, code, message, _ = self.refused("GET", "/api/v1/nodes/pi2")
        self.assertEqual((status, code), (500, "our-mistake"))
        self.assertNotIn("secret", message)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_addresses_of_leases(self) -> None:
        """A stranger answers to the address that it has."""
        self.half.log.emit(
            events.AddressLeased(mac=STRANGER, address=IPv4Address("172.30.4.77"), stage=Stage.OS, expires=NOW)
        )
        self.assertEqual(self.get("/api/v1/nodes/172.30.4.77", "NodeWithWhy")["id"], str(STRANGER))
