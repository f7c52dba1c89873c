# -*- test-case-name: tests.test_web_pages_rack -*-
"""
The rack as it hangs on the wall: what is known of nodes and switches, as faceplates with ports in order.  Pure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from piman.fleet.model import Phase
from piman.web.rendering import FAMILIES
from piman.web.shapes import JSON

MOST_DRAWN = 64
"""A switch with higher port numbers (those of interfaces, or of a stack) is drawn with the ports that are used only."""
BLOCK = 12
"""Ports stand in blocks of twice six, as on most switches."""

FAMILY = {phase.value: family for family, (_, phases) in FAMILIES.items() for phase in phases}
Fault = Callable[[str], str]
"""What is wrong with the node of this MAC; empty: nothing."""


def rack(nodes: JSON, switches: JSON, fault: Fault, words: str = "") -> JSON:
    """
    What the page shows.

    :param nodes: as ``GET /api/v1/nodes`` answers.
    :param switches: as ``GET /api/v1/switches`` answers.
    :param words: what is searched for; what does not match is dimmed.
    """
    known = {node["id"]: node for node in nodes["nodes"]}
    plates = [_plate(switch, known, fault) for switch in switches["switches"]]
    drawn = {port["id"] for plate in plates for block in plate["blocks"] for port in block if port["id"]}
    elsewhere = [_board(node, fault) for node in nodes["nodes"] if node["id"] not in drawn]
    strangers = [_board(node, fault) for node in nodes["strangers"]]
    cells = [*(port for plate in plates for block in plate["blocks"] for port in block), *elsewhere, *strangers]
    wanted = words.lower().split()
    for cell in cells:
        cell["match"] = matches(wanted, cell)
    return {
        "plates": plates,
        "elsewhere": elsewhere,
        "strangers": strangers,
        "counts": counts(nodes["counts"]),
        "stuck": sum(1 for mac in known if fault(mac)),
        "words": words,
        "matching": sum(1 for cell in cells if cell["match"] and cell["id"]),
        "total": len(known),
    }


def counts(by_phase: Mapping[str, int]) -> list[JSON]:
    """The nodes of each family of phases; a family of which there is none is there all the same."""
    return [
        {
            "family": family,
            "label": label,
            "phase": phases[0].value,
            "count": sum(by_phase[phase.value] for phase in phases),
            "phases": [(phase.value, by_phase[phase.value]) for phase in phases],
            "split": _split([(phase.value, by_phase[phase.value]) for phase in phases]),
        }
        for family, (label, phases) in FAMILIES.items()
    ]


def _split(phases: Iterable[tuple[str, int]]) -> str:
    """``4 offered, 8 loading``; nothing where one phase is all."""
    told = [f"{count} {phase}" for phase, count in phases if count]
    return ", ".join(told) if len(told) > 1 else ""


def _plate(switch: JSON, known: Mapping[str, JSON], fault: Fault) -> JSON:
    ports = [_port(port, switch, known, fault) for port in _in_order(switch["ports"])]
    answer = switch["answer"]
    return {
        "address": switch["address"],
        "label": switch["label"],
        "blocks": [ports[start : start + BLOCK] for start in range(0, len(ports), BLOCK)],
        "count": sum(1 for port in ports if port["id"]),
        "reachable": answer["reachable"],
        "reason": answer["reason"],
        "remedy": answer["remedy"],
        "power": _power(answer["budget"]),
    }


def _power(budget: JSON | None) -> str:
    """``41 of 370 W``; empty: the switch does not say."""
    if not budget or budget["used_watts"] is None:
        return ""
    total = f" of {budget['total_watts']:.0f}" if budget["total_watts"] else ""
    return f"{budget['used_watts']:.0f}{total} W"


def _in_order(ports: Iterable[JSON]) -> Sequence[JSON]:
    """Ports by number, with those between that nobody speaks of, where there are few."""
    by_number = {port["port"]: port for port in ports}
    last = max(by_number, default=0)
    if last > MOST_DRAWN:
        return [by_number[number] for number in sorted(by_number)]
    return [by_number.get(number) or _nothing(number) for number in range(1, last + last % 2 + 1)]


def _nothing(number: int) -> JSON:
    return {"port": number, "node": None, "name": None, "expected": None, "protected": False, "power": None}


def _port(port: JSON, switch: JSON, known: Mapping[str, JSON], fault: Fault) -> JSON:
    node = known.get(port["node"] or "")
    place = {"switch": switch["address"], "label": switch["label"], "port": port["port"]}
    if node is not None:
        return {**_board(node, fault), **place, "protected": port["protected"], "power": _watts(port["power"])}
    kind = "protected" if port["protected"] else "expected" if port["expected"] else "free"
    return {
        **place,
        "kind": kind,
        "id": "",
        "name": port["expected"] or "",
        "phase": "",
        "since": 0.0,
        "fault": "",
        "protected": port["protected"],
        "power": _watts(port["power"]),
        "find": f"{port['expected'] or ''} {switch['label']} {switch['address']} port {port['port']} {kind}".lower(),
    }


def _watts(power: Mapping[str, Any] | None) -> str:
    """What the switch says of a port: ``3.8 W``, or its state in a word."""
    if power is None:
        return ""
    return f"{power['watts']:.1f} W" if power["watts"] is not None and power["delivering"] else power["state"]


def _board(node: JSON, fault: Fault) -> JSON:
    """A node, wherever it is."""
    status, port = node["status"], node["port"]
    words = (
        node["name"],
        node["id"],
        node["address"],
        status["address"],
        status["model"],
        status["serial"],
        port and f"{port['label']} {port['switch']} port {port['port']}",
    )
    return {
        "kind": "node" if node["known"] else "stranger",
        "id": node["id"],
        "name": node["name"],
        "switch": port["switch"] if port else "",
        "label": port["label"] if port else "",
        "port": port["port"] if port else 0,
        "phase": status["phase"],
        "since": status["since"],
        "last_seen": status["last_seen"],
        "address": status["address"] or node["address"] or "",
        "model": status["model"] or "",
        "detail": status["detail"],
        "fault": fault(node["id"]),
        "protected": False,
        "power": "",
        "find": " ".join(filter(None, words)).lower(),
    }


def matches(words: Iterable[str], cell: JSON) -> bool:
    """
    Whether a port or a board is what all the words say.

    ``is:up``, ``is:firmware``, ... name a phase or a family of phases, ``is:stuck`` what has a fault; other words are
    parts of a name, an address, a MAC, a model, a switch or a port.  ``static/search.js`` does the same.
    """
    return all(_matches(word, cell) for word in words)


def _matches(word: str, cell: JSON) -> bool:
    if word == "is:stuck":
        return bool(cell["fault"]) or cell["phase"] == Phase.STUCK.value
    if word.startswith("is:"):
        return word[3:] in (cell["phase"], FAMILY.get(cell["phase"]), cell["kind"])
    return word in cell["find"]


