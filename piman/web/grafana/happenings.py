# -*- test-case-name: tests.test_web_grafana -*-
"""
Events as annotations: what a line in a chart means to whoever looks at it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from piman.fleet import events
from piman.fleet.events import Event, Recorded
from piman.fleet.model import MACAddress
from piman.fleet.wording import describe
from piman.web.grafana.rack import Seen, milliseconds
from piman.web.wishes import Refusal

MOST = 1000
"""Annotations in one answer: the newest."""

GROUPS: Mapping[str, tuple[type[Event], ...]] = {
    "boots": (events.NodeUp, events.Installed, events.NodeRecovered),
    "operations": (events.OperationStarted, events.OperationCancelled, events.OperationEnded, events.ManagerStarted),
    "failures": (
        events.NodeSilent,
        events.InstallerFailed,
        events.ImageInterrupted,
        events.IntentClosed,
        events.PowerCycleFailed,
        events.PoolExhausted,
        events.ConfigurationRejected,
        events.StoreReplaced,
        events.RecordsRejected,
    ),
}

_GROUP_OF = {kind: group for group, kinds in GROUPS.items() for kind in kinds}
COLUMNS = (("time", "time"), ("title", "string"), ("text", "string"), ("tags", "string"))


@attrs.frozen(kw_only=True)
class Choice:
    """Which events are wanted."""

    kinds: tuple[str, ...]
    macs: tuple[MACAddress, ...] = ()
    """Empty: of everybody."""


def choice_of(query: str, nodes: Mapping[str, Seen]) -> Choice:
    """
    What the words of an annotation's query choose: groups, and names of nodes; no word chooses everything.

    :param nodes: by all their names.
    :raises Refusal: when a word is neither.
    """
    words = [word for word in re.split(r"[\s,]+", query) if word]
    unknown = [word for word in words if word not in GROUPS and word not in nodes]
    if unknown:
        expected = f"words of {', '.join(GROUPS)}, and names of nodes"
        raise Refusal(400, "no-such-word", f"query: found {unknown[0]!r:.60}, expected {expected}")
    groups = [word for word in words if word in GROUPS] or list(GROUPS)
    macs = tuple(nodes[word].node.mac for word in words if word not in GROUPS)
    return Choice(kinds=tuple(kind.__name__ for group in groups for kind in GROUPS[group]), macs=macs)


def annotation(recorded: Recorded, names: Mapping[MACAddress, str]) -> dict[str, Any]:
    """
    One event, its time in milliseconds.

    :param recorded: in the host's time.
    :param names: what people call the nodes.
    """
    event = recorded.event
    who = names.get(event.mac, str(event.mac)) if event.mac is not None else "piman"
    tags = [_GROUP_OF[type(event)], *([who] if event.mac is not None else [])]
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(event).__name__).capitalize()
    return {"time": milliseconds(recorded.time), "title": title, "text": f"{who}: {describe(event)}", "tags": tags}


def as_table(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Annotations as a table whose columns Grafana's own annotations know by their names."""
    rows = [[each["time"], each["title"], each["text"], ",".join(each["tags"])] for each in found]
    return {"type": "table", "columns": [{"text": name, "type": kind} for name, kind in COLUMNS], "rows": rows}
