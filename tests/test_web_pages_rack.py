"""
Tests for :mod:`piman.web.pages.rack`: ports in their places, and what is searched for.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from piman.web.pages.rack import BLOCK, MOST_DRAWN, matches, rack


def node(name: str, port: int | None = None, phase: str = "up", known: bool = True) -> dict[str, Any]:
    """A node as the API tells it."""
    place = {"switch": "10.0.0.254", "label": "rack-a", "port": port}
    seen = {"phase": phase, "since": 1.0, "last_seen": 1.0, "address": None}
    status = {**seen, "model": "4B", "serial": "ab", "detail": ""}
    return {
        "id": f"id-{name}",
        "name": name,
        "known": known,
        "address": "10.0.0.7",
        "port": place if port else None,
        "status": status,
    }


def port(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    """A port as the API tells it."""
    usual = {"port": number, "node": name and f"id-{name}", "name": name, "expected": None, "protected": False}
    return {**usual, "power": None, **more}


def answers(nodes: list[Any], ports: list[Any], strangers: Any = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Nodes and one switch."""
    answer = {"reachable": True, "reason": "", "remedy": "", "budget": {"used_watts": 41.2, "total_watts": 370.0}}
    switch = {"address": "10.0.0.254", "label": "rack-a", "ports": ports, "answer": answer}
    phases = ("unknown", "off", "powered", "offered", "leased", "loading", "starting", "greeting", "formatting")
    counts = dict.fromkeys((*phases, "imaging", "booting", "up", "silent", "stuck"), 0)
    for each in nodes:
        counts[each["status"]["phase"]] += 1
    return {"nodes": nodes, "strangers": list(strangers), "counts": counts}, {"switches": [switch]}


class RackTests(SynchronousTestCase):
    """Faceplates."""

    def show(self, nodes: list[Any], ports: list[Any], words: str = "", strangers: Any = ()) -> dict[str, Any]:
        """The rack where pi2 has a fault."""
        return rack(*answers(nodes, ports, strangers), lambda mac: "no answer" if mac == "id-pi2" else "", words)

    def test_order(self) -> None:
        """Ports are in order with those between that nobody speaks of, an even number of them, in blocks of twelve."""
        shown = self.show([node("pi2", 2)], [port(15), port(2, "pi2")])
        (plate,) = shown["plates"]
        numbers = [[each["port"] for each in block] for block in plate["blocks"]]
        self.assertEqual(numbers, [[*range(1, 13)], [13, 14, 15, 16]])
        self.assertEqual([each["kind"] for each in plate["blocks"][0][:3]], ["free", "node", "free"])
        self.assertEqual(plate["power"], "41 of 370 W")
        self.assertEqual(BLOCK, 12)

    def test_high_numbers(self) -> None:
        """Of a switch with high port numbers only the ports are drawn that are used."""
        shown = self.show([], [port(1), port(MOST_DRAWN + 1000)])
        self.assertEqual([each["port"] for each in shown["plates"][0]["blocks"][0]], [1, MOST_DRAWN + 1000])

    def test_elsewhere(self) -> None:
        """No node is lost: one without a port, and one of two on one port, stand below."""
        shown = self.show([node("pi2", 2), node("twin", 2), node("free")], [port(2, "pi2")])
        self.assertEqual([each["name"] for each in shown["elsewhere"]], ["twin", "free"])

    def test_empty(self) -> None:
        """A rack of nothing is a rack."""
        shown = rack({**answers([], [])[0]}, {"switches": []}, lambda mac: "", "")
        self.assertEqual((shown["plates"], shown["total"], shown["stuck"]), ([], 0, 0))

    def test_counts(self) -> None:
        """Nodes are counted by families of phases; a family of two phases is split; faults are counted besides."""
        shown = self.show([node("pi2", 2, "offered"), node("pi3", 3, "loading"), node("pi4", 4)], [])
        found = {each["family"]: (each["count"], each["split"]) for each in shown["counts"] if each["count"]}
        self.assertEqual(found, {"firmware": (2, "1 offered, 1 loading"), "up": (1, "")})
        self.assertEqual(shown["stuck"], 1)

    def test_search(self) -> None:
        """All words must match: parts of names and places, phases, families and kinds."""
        nodes = [node("pi2", 2, "offered"), node("pi3", 3)]
        ports = [port(2, "pi2"), port(3, "pi3"), port(4, expected="10.0.0.9"), port(5, protected=True)]
        strangers = [node("b8:27", known=False, phase="unknown")]
        for words, expected in (
            ("", ["pi2", "pi3", "10.0.0.9", "", "", "b8:27", ""]),
            ("PI2", ["pi2"]),
            ("rack-a is:up", ["pi3"]),
            ("is:firmware", ["pi2"]),
            ("is:offered 4b", ["pi2"]),
            ("is:stuck", ["pi2"]),
            ("is:expected", ["10.0.0.9"]),
            ("is:stranger", ["b8:27"]),
            ("port 3", ["pi3"]),
            ("nobody", []),
        ):
            shown = self.show(nodes, ports, words, strangers)
            cells = [*shown["plates"][0]["blocks"][0], *shown["strangers"]]
            found = [each["name"] for each in cells if each["match"]]
            self.assertCountEqual(found, expected, words)

    def test_matching(self) -> None:
        """A phase of stuck is what needs a look, too."""
        self.assertTrue(matches(["is:stuck"], {"fault": "", "phase": "stuck", "kind": "node", "find": ""}))
