# -*- test-case-name: tests.test_web_pages_listing -*-
"""
A page of stored events: what is wanted, as the address of the page says it, and where the next page begins.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import attrs

from piman.fleet import events
from piman.fleet.events import event_classes
from piman.fleet.model import MACAddress
from piman.web import shapes, wishes
from piman.web.answers import Answers
from piman.web.shapes import JSON

ROWS = 100
"""Of one page."""
READ_AT_ONCE = 1000
MOST_READ = 10_000
"""When a text is searched for: then the reader is asked whether to search on."""

TROUBLE = frozenset(
    each.__name__
    for each in (
        events.ConfigurationRejected,
        events.StoreReplaced,
        events.RecordsRejected,
        events.PowerCycleFailed,
        events.AddressRefused,
        events.AddressDeclined,
        events.AddressHeld,
        events.PoolExhausted,
        events.AddressOccupied,
        events.OtherServerChosen,
        events.TransferAborted,
        events.InstallerUnknown,
        events.InstallerFailed,
        events.WordUnexpected,
        events.ImageInterrupted,
        events.NodeSilent,
    )
)
"""Events that an operator looks for first when something is wrong."""
KINDS = tuple(sorted(name for name, kind in event_classes().items() if kind.durable))
"""Classes of events that are stored."""


@attrs.frozen(kw_only=True)
class Wanted:
    """Which events."""

    node: str = ""
    """A name as it was given."""
    kind: str = ""
    trouble: bool = False
    """Only :data:`TROUBLE`."""
    text: str = ""
    before: int | None = None

    @classmethod
    def of(cls, parameters: wishes.Parameters) -> "Wanted":
        """
        What the address of a page says; empty fields of its form mean nothing.

        :raises Refusal: when a number is none.
        """
        word = {name: (wishes.word(parameters, name) or "").strip() for name in ("node", "kind", "text", "trouble")}
        before = wishes.number(parameters, "before", 0) if wishes.word(parameters, "before") else None
        return cls(
            node=word["node"],
            kind=word["kind"] if word["kind"] in KINDS else "",
            trouble=word["trouble"] == "1",
            text=word["text"],
            before=before,
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The classes; none: all."""
        if self.kind:
            return (self.kind,)
        return tuple(sorted(TROUBLE)) if self.trouble else ()

    def address(self, **changes: Any) -> str:
        """The address of the page with these events."""
        changed = attrs.evolve(self, **changes)
        fields: Mapping[str, Any] = {**attrs.asdict(changed), "trouble": "1" if changed.trouble else ""}
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"/events?{query}" if query else "/events"


@attrs.frozen(kw_only=True)
class Found:
    """A page of events."""

    events: Sequence[JSON]
    """The newest first."""
    older: int | None = None
    """Older ones have numbers below this; None: there are none."""
    searched: int = 0
    """So many were looked at without finding enough; there are more."""


async def find(answers: Answers, wanted: Wanted, mac: MACAddress | None) -> Found:
    """
    The newest events that are wanted.

    :param mac: of the node in ``wanted``.
    """
    found: list[JSON] = []
    before, read = wanted.before, 0
    size = READ_AT_ONCE if wanted.text else ROWS + 1
    while read < MOST_READ:
        page = await answers.recorded(mac=mac, before=before, limit=size, newest=True, kinds=wanted.kinds)
        read += len(page)
        found += with_text(map(shapes.event, reversed(page)), wanted.text)
        if len(found) > ROWS:
            return Found(events=found[:ROWS], older=found[ROWS - 1]["id"])
        if len(page) < size:
            return Found(events=found)
        before = page[0].id
    return Found(events=found, older=before, searched=read)


def with_text(found: Iterable[JSON], text: str) -> list[JSON]:
    """Those in whose words, kind or node the text occurs."""
    wanted = text.lower()
    return [each for each in found if wanted in f"{each['text']} {each['kind']} {each['node'] or ''}".lower()]
