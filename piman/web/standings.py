# -*- test-case-name: tests.test_web_standings -*-
"""
How all nodes stand: phase, since when, and whether there is a fault; for whoever looks at the whole rack.

Changes are gathered for a second and put into bytes once for all readers.  Whether there is a fault is asked of the
verdicts, a few nodes at a time: one costs up to 0.7 ms (a board in the middle of its sixth boot), and 500 boards that
boot must not keep DHCP waiting.  Nobody looks: nothing is judged.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from piman.fleet.model import MACAddress, NodeStatus, Phase
from piman.fleet.nodes import NodeRegistry
from piman.fleet.walltime import WallTime
from piman.web.shapes import JSON

BEAT_SECONDS = 0.1
VERDICTS = 10
"""Judged in one beat: at worst 7 ms."""
TELL_BEATS = 10
"""Changes are told once a second."""
AGAIN_BEATS = 50
"""Nodes on their way, and faulty ones, are judged again after so many: time alone makes a fault."""
LOOK_SECONDS = 10.0
"""So long after somebody has looked at a page judging goes on."""
SETTLE_SECONDS = 1.0
"""So long a page waits for verdicts."""
PAGE = 500
"""Nodes in one message."""
SETTLED = frozenset({Phase.UNKNOWN, Phase.OFF, Phase.UP})
"""Phases in which no fault comes with time."""


class Found(Protocol):
    """A verdict."""

    @property
    def fault(self) -> Any:
        """None: it is well, or on its way."""

    @property
    def sentence(self) -> str:
        """Why it is where it is."""


def message_of(nodes: Iterable[JSON]) -> bytes:
    """The message of the stream that tells how these stand."""
    return f"event: nodes\ndata: {json.dumps({'nodes': list(nodes)}, separators=(',', ':'))}\n\n".encode("ascii")


class Standings:
    """
    How nodes stand, gathered.

    :param judge: the verdict over a node.
    :ivar tell: called with a message when something has changed.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        registry: NodeRegistry,
        judge: Callable[[MACAddress], Found],
        wall: WallTime | None = None,
    ) -> None:
        self.tell: Callable[[bytes], None] = lambda data: None
        self._clock = clock
        self._wall = wall or WallTime(clock)
        self._registry = registry
        self._judge = judge
        self._followers = 0
        self._until = float("-inf")
        self._beats = 0
        self._is_judged = False
        """Whether each node that may be faulty was judged since somebody began to look."""
        self._queue: dict[MACAddress, None] = {}
        self._changed: set[MACAddress] = set()
        self._faults: dict[MACAddress, str] = {}
        self._settling: list[Deferred[None]] = []
        self._beat = LoopingCall(self._work)
        self._beat.clock = clock
        registry.watchers.append(self._happened)

    # Who looks

    def follow(self) -> None:
        """Somebody follows."""
        self._followers += 1
        self._wake()

    def leave(self) -> None:
        """Somebody follows no more."""
        self._followers -= 1

    def look(self) -> "Deferred[None]":
        """Somebody looks once; fires when all that may be faulty was judged, or after :data:`SETTLE_SECONDS`."""
        self._until = self._clock.seconds() + LOOK_SECONDS
        self._wake()
        if self._is_judged:
            return succeed(None)
        settled: Deferred[None] = Deferred(self._settling.remove)
        self._settling.append(settled)
        timer = self._clock.callLater(SETTLE_SECONDS, self._settle, settled)
        return settled.addBoth(lambda result: timer.cancel() if timer.active() else None)

    def close(self) -> None:
        """Nobody looks any more."""
        self._followers, self._until = 0, float("-inf")
        for settled in list(self._settling):
            self._settle(settled)
        self._rest()

    def _settle(self, settled: "Deferred[None]") -> None:
        if settled in self._settling:
            self._settling.remove(settled)
            settled.callback(None)

    def _wake(self) -> None:
        if not self._beat.running:
            self._beats = 0
            self._queue_unsettled()
            self._is_judged = not self._queue
            self._beat.start(BEAT_SECONDS, now=False)

    def _rest(self) -> None:
        if self._beat.running:
            self._beat.stop()
        self._queue.clear()
        self._changed.clear()
        self._faults.clear()

    # How they stand

    def fault(self, mac: MACAddress) -> str:
        """What is wrong with a node, as far as it was judged; empty: nothing."""
        return self._faults.get(mac, "")

    def whole(self) -> list[bytes]:
        """Messages that tell of all nodes and strangers."""
        registry = self._registry
        macs = [*(node.mac for node in registry.nodes()), *(status.mac for status in registry.strangers())]
        pages = (macs[start : start + PAGE] for start in range(0, len(macs), PAGE))
        return [message_of(map(self._standing, page)) for page in pages]

    def _standing(self, mac: MACAddress) -> JSON:
        node, seen = self._registry.node(mac), self._registry.status(mac)
        fault = self._faults.get(mac, "")
        return {
            "id": str(mac),
            "known": node is not None,
            "name": node.name if node else str(mac),
            "phase": seen.phase.value,
            "since": self._wall.moment_to_wall(seen.since),
            "stuck": bool(fault),
            "sentence": fault,
        }

    # The work

    def _happened(self, status: NodeStatus) -> None:
        if self._beat.running:
            self._changed.add(status.mac)
            self._queue[status.mac] = None

    def _queue_unsettled(self) -> None:
        """Those without news for longest first: they are the likeliest."""
        statuses = [status for status in self._registry.statuses() if self._may_be_faulty(status)]
        self._queue.update(dict.fromkeys(status.mac for status in sorted(statuses, key=lambda each: each.since)))

    def _may_be_faulty(self, status: NodeStatus) -> bool:
        known = self._registry.node(status.mac) is not None
        return known and (status.phase not in SETTLED or status.mac in self._faults)

    def _work(self) -> None:
        self._beats += 1
        for mac in list(self._queue)[:VERDICTS]:
            del self._queue[mac]
            self._look_at(mac)
        if not self._queue:
            self._is_judged = True
            for settled in list(self._settling):
                self._settle(settled)
        if self._beats % TELL_BEATS == 0:
            self._tell_changes()
        if self._beats % AGAIN_BEATS == 0 and not self._queue:
            self._queue_unsettled()
        if not self._followers and self._clock.seconds() >= self._until:
            self._rest()

    def _look_at(self, mac: MACAddress) -> None:
        if self._registry.node(mac) is None:
            return
        try:
            found = self._judge(mac)
        except Exception:
            self._log.failure("no verdict over {mac}", mac=str(mac))
            return
        fault = found.sentence if found.fault is not None else ""
        if fault != self._faults.get(mac, ""):
            self._changed.add(mac)
        if fault:
            self._faults[mac] = fault
        else:
            self._faults.pop(mac, None)

    def _tell_changes(self) -> None:
        changed, self._changed = self._changed, set()
        if changed and self._followers:
            self.tell(message_of(map(self._standing, sorted(changed))))
