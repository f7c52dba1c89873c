# -*- test-case-name: tests.test_ctl_questions -*-
"""
Words that only ask: ``status``, ``why``, ``events``, ``find-port``, ``map``.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from twisted.python import usage

from piman.ctl.client import JSON, ManagerClient, NoManager
from piman.ctl.direct import find_port_directly
from piman.ctl.following import Message, follow
from piman.ctl.options import Asking, count
from piman.ctl.printing import age, clock, coloured, harmless, place, show_json, show_table

DONE, FAILED = 0, 1
TROUBLE = ("stuck", "silent")
"""Phases of nodes for which ``status`` is a failure."""


# Options


class StatusOptions(Asking):
    """``piman status``"""

    command = "piman status"
    synopsis = "[options] [NODE...]"
    longdesc = "Shows where nodes are on their way from dark to up.  Exit status 1: one of them is stuck or silent."
    examples = "  piman status\n  piman status pi2 pi3\n  piman status --json | jq '.nodes[].status.phase'\n"
    optFlags: ClassVar = [["names", None, "Only the names of all nodes and switches, one a line"]]

    def parseArgs(self, *names: str) -> None:
        """Any number of nodes."""
        self["nodes"] = names


class WhyOptions(Asking):
    """``piman why``"""

    command = "piman why"
    synopsis = "[options] NODE"
    longdesc = "Says why a node is where it is, and what to do about it."
    examples = "  piman why pi2\n  piman why 172.30.4.13\n  piman why b8:27:eb:12:34:56\n"

    def parseArgs(self, *names: str) -> None:
        """One node."""
        if len(names) != 1:
            raise usage.UsageError("expected one node: a name, an address or a MAC; piman status lists them")
        self["node"] = names[0]


class EventsOptions(Asking):
    """``piman events``"""

    command = "piman events"
    synopsis = "[options] [NODE]"
    longdesc = "Shows what happened, to one node or to all; with --follow also what happens, until Ctrl-C."
    examples = (
        "  piman events\n  piman events pi2 --limit 500\n  piman events --follow\n  piman events -f --json | jq .kind\n"
    )
    optFlags: ClassVar = [["follow", "f", "Go on with what happens"]]
    optParameters: ClassVar = [count("limit", 40, "The last so many of those that happened, 5000 at most")]

    def parseArgs(self, *names: str) -> None:
        """One node, or none."""
        if len(names) > 1:
            raise usage.UsageError(f"found {len(names)} nodes, expected one or none")
        self["node"] = names[0] if names else ""


class FindPortOptions(Asking):
    """``piman find-port``"""

    command = "piman find-port"
    synopsis = "[options] MAC"
    longdesc = (
        "Asks all switches on which port a board hangs.  Without a manager they are asked directly.  "
        "Exit status 1: nowhere."
    )
    examples = "  piman find-port b8:27:eb:12:34:56\n  piman find-port pi2\n"

    def parseArgs(self, *names: str) -> None:
        """One board."""
        if len(names) != 1:
            raise usage.UsageError("expected one MAC, or the name of a node")
        self["board"] = names[0]


class MapOptions(Asking):
    """``piman map``"""

    command = "piman map"
    longdesc = (
        "Shows which board hangs on which port of which switch, and who it is; for boards that no file names it offers "
        "their lines for hosts.csv."
    )
    examples = (
        "  piman map\n  piman map --hosts-lines >> hosts.csv     then edit the names, and kill -HUP the manager\n"
    )
    optFlags: ClassVar = [["hosts-lines", None, "Only the lines for hosts.csv"]]


# Nodes


async def status(reactor: Any, options: StatusOptions, answer: Any) -> int:
    """Where nodes are."""
    client = options.client(reactor)
    if options["names"]:
        return await _names(client, answer)
    if options["nodes"]:
        found: JSON = {"nodes": [await client.get(f"/api/v1/nodes/{name}") for name in options["nodes"]]}
    else:
        found = await client.get("/api/v1/nodes")
    if options["json"]:
        show_json(answer, found)
    else:
        listed = (await client.get("/api/v1/images"))["images"]
        digests = {image["name"]: image["digest"] for image in listed if image["digest"]}
        _show_nodes(found, digests, reactor.seconds(), answer)
    return FAILED if any(node["status"]["phase"] in TROUBLE for node in found["nodes"]) else DONE


async def _names(client: ManagerClient, answer: Any) -> int:
    nodes = (await client.get("/api/v1/nodes"))["nodes"]
    labels = {node["port"]["label"] for node in nodes if node["port"]}
    for name in [*(node["name"] for node in nodes), *sorted(labels)]:
        print(harmless(name), file=answer)
    return DONE


def _show_nodes(found: JSON, digests: Mapping[str, str], now: float, answer: Any) -> None:
    strangers = found.get("strangers", [])
    rows = [_node_row(node, digests, now) for node in (*found["nodes"], *strangers)]
    show_table(answer, ("node", "address", "phase", "since", "port", "image", "what was seen last"), rows)
    if "counts" not in found:
        return
    counts = {phase: number for phase, number in found["counts"].items() if number}
    told = [f"{number} {phase}" for phase, number in counts.items()]
    told += [f"{len(strangers)} strangers"] if strangers else []
    told += [f"{len(found['slots'])} places without a board"] if found["slots"] else []
    print(f"{len(found['nodes'])} nodes: {', '.join(told) or 'none'}", file=answer)


def _node_row(node: JSON, digests: Mapping[str, str], now: float) -> tuple[object, ...]:
    seen = node["status"]
    since = age(max(0.0, now - seen["since"])) if seen["since"] else "-"
    detail = (
        seen["detail"] if node["known"] else f"no file names this board{': ' if seen['detail'] else ''}{seen['detail']}"
    )
    if node["operation"]:
        detail = f"in operation {node['operation']}{': ' if detail else ''}{detail}"
    where = node["address"] or seen["address"] or "-"
    return node["name"], where, coloured(seen["phase"]), since, _port(node), _image(node, digests), detail


def _image(node: JSON, digests: Mapping[str, str]) -> str:
    """
    What is on its card, and what it is to get where that is something else.

    An image whose digest is not known yet is taken for what its name says.
    """
    seen, wanted = node["status"], node["image"]
    if not seen["digest"]:
        return f"gets {wanted}" if wanted and node["image_rule"] != "the default" else "-"
    same = [name for name, digest in digests.items() if digest == seen["digest"]]
    if same:
        name, is_wanted = seen["image"] if seen["image"] in same else same[0], wanted in same
    elif seen["image"] and seen["image"] not in digests:
        name, is_wanted = seen["image"], wanted == seen["image"]
    else:
        name, is_wanted = f"older {seen['image'] or seen['digest'][:12]}", False
    return name if is_wanted or not wanted else f"{name}, gets {wanted}"


def _port(node: JSON) -> str:
    return place(node["port"])


async def why(reactor: Any, options: WhyOptions, answer: Any) -> int:
    """Why a node is where it is."""
    client = options.client(reactor)
    found = await client.get(f"/api/v1/nodes/{options['node']}/why")
    if options["json"]:
        show_json(answer, found)
        return DONE
    since = f" for {age(max(0.0, reactor.seconds() - found['since']))}" if found["since"] else ""
    print(f"{harmless(found['name'])} ({found['phase']}{since}): {harmless(found['sentence'])}", file=answer)
    if found["remedy"]:
        print(harmless(found["remedy"]), file=answer)
    return DONE


# Events


async def events(reactor: Any, options: EventsOptions, answer: Any) -> int:
    """What happened, and what happens."""
    client = options.client(reactor)
    query = {"node": options["node"]} if options["node"] else {}
    nodes = (await client.get("/api/v1/nodes"))["nodes"]
    names = {node["id"]: node["name"] for node in nodes}
    found = (await client.get("/api/v1/events", limit=min(options["limit"], 5000), **query))["events"]
    for event in found:
        _show_event(event, names, options, answer)
    answer.flush()
    if options["follow"]:
        known = str(found[-1]["id"]) if found else ""
        await follow(client, query, lambda each: _heard(each, names, options, answer), known=known, away=_say_away())
    return DONE


def _heard(message: Message, names: dict[str, str], options: Asking, answer: Any) -> bool:
    if message.kind == "event":
        _show_event(message.data, names, options, answer)
        answer.flush()
    return False


def _say_away() -> Any:
    """Say it once, not at every attempt to come back."""
    said: list[bool] = []

    def say() -> None:
        if not said:
            print("piman: the manager is away; what happened meanwhile is shown when it is back", file=sys.stderr)
        said.append(True)

    return say


def _show_event(event: JSON, names: dict[str, str], options: Asking, answer: Any) -> None:
    if options["json"]:
        print(json.dumps(event), file=answer)
        return
    about = names.get(event["node"], event["node"]) or ("an unknown board" if "port" in event["fields"] else "")
    about = f"{harmless(about)} " if about else ""
    print(f"{clock(event['time'])}  {about}{harmless(event['text'])}", file=answer)


# Ports


async def find_port(reactor: Any, options: FindPortOptions, answer: Any) -> int:
    """Where a board hangs, by the manager, else without one."""
    try:
        found = await options.client(reactor).get(f"/api/v1/ports/{options['board']}")
    except NoManager as reason:
        if options["socket"]:
            raise
        print(f"piman: {reason}: asking the switches directly", file=sys.stderr)
        found = await find_port_directly(reactor, options.configuration(), options["board"])
    for silent in found["silent"]:
        print(f"piman: not asked: {harmless(silent['reason'])}", file=sys.stderr)
    if options["json"]:
        show_json(answer, found)
    else:
        _show_whereabouts(found, answer)
    return DONE if found["port"] else FAILED


def _show_whereabouts(found: JSON, answer: Any) -> None:
    name = f"{found['name']} ({found['id']})" if found["name"] else found["id"]
    port = found["port"]
    where = f"{place(port)} ({port['switch']})" if port else "found on no port"
    how = "" if not port else ", where the switch sees it" if port in found["seen"] else ", as the files say"
    print(f"{harmless(name)}: {harmless(where)}{how}", file=answer)
    if found["remark"]:
        print(harmless(found["remark"]), file=answer)


async def map_ports(reactor: Any, options: MapOptions, answer: Any) -> int:
    """Which board hangs where."""
    found = await options.client(reactor).get("/api/v1/map")
    lines = [row["hosts_line"] for row in found["rows"] if row["hosts_line"]]
    for silent in found["silent"]:
        print(f"piman: not asked: {harmless(silent['reason'])}", file=sys.stderr)
    if options["json"]:
        show_json(answer, found)
    elif options["hosts-lines"]:
        answer.write("".join(f"{line}\n" for line in lines))
    else:
        _show_map(found["rows"], lines, answer)
    return DONE


def _show_map(rows: list[JSON], lines: list[str], answer: Any) -> None:
    shown = [
        (
            place(row["port"]),
            row["name"] or ("stranger" if row["node"] else "-"),
            row["node"] or "-",
            row["address"] or "-",
            coloured(row["phase"] or "-"),
            row["remark"],
        )
        for row in rows
    ]
    show_table(answer, ("port", "node", "board", "address", "phase", "remark"), shown)
    kinds = Counter("stranger" if row["hosts_line"] else "node" for row in rows if row["node"])
    print(f"{kinds['node']} nodes, {kinds['stranger']} strangers", file=answer)
    if lines:
        print("\nLines for hosts.csv that make the strangers nodes (then kill -HUP the manager):\n", file=answer)
        answer.write("".join(f"{line}\n" for line in lines))
