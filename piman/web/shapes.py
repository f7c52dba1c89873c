# -*- test-case-name: tests.test_web_api -*-
"""
The JSON of the API: what each value looks like from outside.  Pure.

Times are seconds since 1970, durations seconds, nodes and boards are named by their lower-case MAC.  The schemas in
:mod:`piman.web.openapi` describe the same; a test compares the two.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from piman.fleet.events import Recorded
from piman.fleet.model import Node, NodeStatus, PortPower, Slot, SwitchPort
from piman.fleet.operations.contract import Explanation
from piman.fleet.operations.orders import Operation, Step, TargetReport
from piman.fleet.operations.planning import Plan
from piman.fleet.operations.targets import Place, Target
from piman.fleet.state.records import as_plain
from piman.fleet.whereabouts import Row, Whereabouts, hosts_line
from piman.fleet.wording import describe

JSON = dict[str, Any]


def port(found: SwitchPort | None, labels: Mapping[Any, str]) -> JSON | None:
    """
    A port of a switch.

    :param labels: what people call the switches, by address.
    """
    if found is None:
        return None
    return {"switch": str(found.switch), "label": labels.get(found.switch, str(found.switch)), "port": found.port}


def node(wanted: Node | None, seen: NodeStatus, operation: Operation | None, labels: Mapping[Any, str]) -> JSON:
    """
    A node: what the files say, and under ``status`` what was seen.

    :param wanted: None: a stranger.
    :param operation: the one it is in.
    """
    return {
        "id": str(seen.mac),
        "known": wanted is not None,
        "name": wanted.name if wanted else str(seen.mac),
        "hostname": wanted.hostname if wanted else "",
        "address": as_plain(wanted.address) if wanted else None,
        "port": port(wanted.port, labels) if wanted else None,
        "tags": list(wanted.tags) if wanted else [],
        "image": wanted.image if wanted else None,
        "image_rule": wanted.image_rule if wanted else "",
        "operation": operation.id if operation else None,
        "status": status(seen),
    }


def status(seen: NodeStatus) -> JSON:
    """What was seen of a board."""
    return {
        "phase": seen.phase.value,
        "since": seen.since,
        "last_seen": seen.last_seen,
        "last_event": seen.last_event_id,
        "attempt": seen.attempt,
        "boot_started": seen.boot_started,
        "timeline": [{"phase": phase.value, "time": time} for phase, time in seen.timeline],
        "address": as_plain(seen.address),
        "stage": as_plain(seen.stage),
        "serial": seen.serial,
        "model": seen.model,
        "detail": seen.detail,
        "has_agent": seen.has_agent,
        "digest": seen.digest,
        "image": seen.image,
        "installed": seen.installed,
    }


def slot(expected: Slot, labels: Mapping[Any, str]) -> JSON:
    """A place whose board nobody has written down yet."""
    return {"address": str(expected.address), "port": port(expected.port, labels)}


def explanation(found: Explanation) -> JSON:
    """Why a node is where it is, and what to do about it."""
    return {"sentence": found.sentence, "remedy": found.remedy}


def event(recorded: Recorded) -> JSON:
    """An event, in fields and in words."""
    return {
        "id": recorded.id,
        "time": recorded.time,
        "kind": type(recorded.event).__name__,
        "node": as_plain(recorded.event.mac),
        "text": describe(recorded.event),
        "fields": {name: value for name, value in as_plain(recorded.event).items() if name != "mac"},
    }


def target(found: Target, labels: Mapping[Any, str]) -> JSON:
    """What is to be switched, and by which rule it was found."""
    return {
        "name": found.name,
        "node": as_plain(found.mac),
        "port": port(found.port, labels),
        "rule": found.rule,
    }


def report(index: int, found: TargetReport, labels: Mapping[Any, str]) -> JSON:
    """How far an operation has come with one target; ``index`` is its place in the operation."""
    return {
        "index": index,
        "target": target(found.target, labels),
        "step": found.step.value,
        "final": found.step.is_final,
        "phase": found.stages[-1][0].value if found.stages else None,
        "stages": [{"phase": phase.value, "time": time} for phase, time in found.stages],
        "started": found.started,
        "off_at": found.off_at,
        "on_at": found.on_at,
        "finished": found.finished,
        "tries": found.tries,
        "dark": found.dark,
        "reason": found.reason,
        "remedy": found.remedy,
    }


def summary(operation: Operation) -> JSON:
    """An operation without its reports."""
    counts = operation.counts
    return {
        "id": operation.id,
        "action": operation.action.value,
        "who": operation.who,
        "source": operation.source,
        "created": operation.created,
        "finished": operation.finished,
        "final": operation.is_final,
        "at_most": operation.at_most,
        "stop_after": operation.stop_after,
        "image": operation.image,
        "cancelled_by": operation.cancelled_by,
        "counts": {step.value: counts[step] for step in Step},
    }


def operation(found: Operation, labels: Mapping[Any, str], indexes: Iterable[int] | None = None) -> JSON:
    """
    An operation.

    :param indexes: the reports that are shown; None: all.
    """
    shown = range(len(found.reports)) if indexes is None else indexes
    return {**summary(found), "reports": [report(index, found.reports[index], labels) for index in shown]}


def plan(found: Plan, labels: Mapping[Any, str]) -> JSON:
    """What would be done."""
    return {
        "action": found.action.value,
        "targets": [target(each.target, labels) for each in found.targets],
        "at_most": found.at_most,
        "stop_after": found.stop_after,
        "image": found.image,
        "images": [],
        "notes": list(found.notes),
        "expected_seconds": found.expected_seconds,
        "power": [
            {
                "switch": str(each.switch),
                "label": labels.get(each.switch, str(each.switch)),
                "ports": each.ports,
                "watts": each.watts,
                "total_watts": each.total_watts,
                "used_watts": each.used_watts,
            }
            for each in found.power
        ],
        "needs_yes": found.needs_yes,
    }


def power(found: PortPower) -> JSON:
    """The power of a port as its switch tells it; null: it does not say."""
    plain: JSON = as_plain(found)
    return plain


def switch(place: Place, ports: Iterable[JSON], answer: JSON) -> JSON:
    """A switch: what the files say, its ports, and under ``answer`` whether it answers and what it can give."""
    return {
        "address": str(place.address),
        "label": place.label,
        "protected_ports": sorted(place.protected_ports),
        "ports": list(ports),
        "answer": answer,
    }


def whereabouts(found: Whereabouts, labels: Mapping[Any, str], silent: Mapping[Any, str]) -> JSON:
    """Where a board hangs, and which switches did not tell."""
    return {
        "id": str(found.mac),
        "name": found.node.name if found.node else None,
        "known": found.node is not None,
        "port": port(found.port, labels),
        "configured": port(found.configured, labels),
        "seen": [port(each, labels) for each in found.seen],
        "behind": [port(each, labels) for each in found.behind],
        "remark": found.remark,
        "silent": [{"switch": str(address), "reason": reason} for address, reason in silent.items()],
    }


def row(found: Row, seen: NodeStatus | None, labels: Mapping[Any, str]) -> JSON:
    """A line of the map; ``hosts_line`` is what would make its stranger a node."""
    known = found.board.node if found.board else None
    return {
        "port": port(found.port, labels),
        "node": str(found.board.mac) if found.board else None,
        "name": known.name if known else None,
        "address": as_plain(known.address if known else found.expected),
        "phase": seen.phase.value if seen else None,
        "remark": found.remark,
        "hosts_line": hosts_line(found),
    }
