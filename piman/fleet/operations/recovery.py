# -*- test-case-name: tests.test_fleet_recovery -*-
"""
Automatic recovery: the power of a node that makes no progress is cycled without anybody's order.  Off by default.

A hand that acts by itself must know when not to.  It cycles only what a power cycle can help; a few times, and then it
leaves the node with its verdict; few nodes at once; nobody whose switch does not answer.  Where many are stuck alike
it is the switch, the line or the DHCP server, and it stands back and says so.  It never touches what is in
an operation, protected, up, switched off, or was never heard of; an installation has an hour of silence.

How often a node was cycled is read from its events, so a new process counts on where the last one was.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from piman.fleet.casebook import Casebook
from piman.fleet.events import NodeUp, PowerCycled, Recorded, RecoveryBegun, RecoveryEnded, RecoveryHeldBack
from piman.fleet.interfaces import IEventSink, StoreFailed
from piman.fleet.model import Intent, MACAddress, Node, NodeStatus, Phase
from piman.fleet.operations.book import Operations
from piman.fleet.operations.following import PATIENCE
from piman.fleet.operations.orders import Action
from piman.fleet.operations.planning import OperationRefused
from piman.fleet.operations.targets import BadTargets
from piman.fleet.verdicts.case import Verdict
from piman.fleet.verdicts.remedies import Fault

WHO = "recovery"
"""Who ordered it."""
LOOK_SECONDS = 10.0
"""Between two looks at all nodes."""
WITHIN_SECONDS = 3600.0
"""Within so long a node is cycled a bounded number of times."""
AT_ONCE_ON_SWITCH = 2
GRACE_SECONDS = 60.0
"""A node that is overdue waits so much longer: what strikes many shows in the others by then."""
SHARE = 0.25
"""Where more than this share of the nodes is stuck, it is not the nodes."""
FEWEST = 3
"""So many at least are no accident."""
INSTALLING_SECONDS = 3600.0
"""A node that is to be installed is silent for so long at least: a card that is formatted is not cut short."""
REFUSED_SECONDS = 600.0
"""After an order for a node was refused it is not tried again for so long."""

CURABLE = frozenset(
    {
        Fault.NO_LINK,
        Fault.NO_DISCOVER,
        Fault.OFFER_IGNORED,
        Fault.NO_TFTP,
        Fault.TFTP_STALLS,
        Fault.KERNEL_SILENT,
        Fault.INSTALLER_SILENT,
        Fault.INSTALL_STALLS,
        Fault.NOT_UP,
    }
)
"""Troubles that may be over after a power cycle; a missing file or a broken card is not."""
LEFT_ALONE = frozenset({Phase.UNKNOWN, Phase.OFF, Phase.UP, Phase.SILENT})
"""Phases in which nobody knows that the node is stuck: it may be at work, or meant to be dark."""


@attrs.frozen(kw_only=True)
class RecoverySettings:
    """The knobs."""

    enabled: bool = False
    tries: int = 2
    """Power cycles of a node within an hour, and until it is up."""
    at_once: int = 4
    """Nodes that are being cycled."""


class Nodes(Protocol):
    """What is needed of the registry."""

    def nodes(self) -> Iterable[Node]:
        """All of the operator's nodes."""

    def status(self, mac: MACAddress) -> NodeStatus:
        """What was seen of a board."""


class Intents(Protocol):
    """What is needed of the intents."""

    def current(self, mac: MACAddress) -> Intent | None:
        """The living one."""


# Decisions


def is_spent(events: Iterable[Recorded], tries: int, now: float) -> bool:
    """
    Whether a node was cycled often enough: so many times by us within the hour, or by anybody since it was last up.

    :param events: of the node, oldest first.
    """
    lately = since_up = 0
    for recorded in events:
        if isinstance(recorded.event, RecoveryBegun) and recorded.time > now - WITHIN_SECONDS:
            lately += 1
        if isinstance(recorded.event, NodeUp):
            since_up = 0
        elif isinstance(recorded.event, PowerCycled):
            since_up += 1
    return max(lately, since_up) >= tries


def attempts(events: Iterable[Recorded], now: float) -> int:
    """How often we cycled a node within the hour."""
    return sum(isinstance(one.event, RecoveryBegun) and one.time > now - WITHIN_SECONDS for one in events)


def is_overdue(status: NodeStatus, now: float, *, watched_since: float, is_installing: bool) -> bool:
    """
    Whether its time is over: that of its phase, or an hour when it is to be installed.

    :param watched_since: since when we would have heard of it.
    """
    last = max(status.since, status.last_seen, watched_since)
    return now >= last + max(PATIENCE[status.phase], INSTALLING_SECONDS if is_installing else 0.0)


@attrs.frozen
class Crowd:
    """Nodes that are stuck at one place."""

    switch: IPv4Address | None
    """None: on all switches together."""
    fault: Fault
    """The most frequent: what they share strikes them in different phases, so their faults may differ."""
    stuck: int
    nodes: int


def crowds(stuck: Iterable[tuple[Node, Fault]], silent: Iterable[Node], nodes: Iterable[Node]) -> Iterator[Crowd]:
    """
    Where more than a share of the nodes is stuck.

    :param silent: nodes whose agents do not answer: a dead switch makes some silent and others stuck.
    """
    sizes = Counter(place for node in nodes for place in _places(node))
    quiet = Counter(place for node in silent for place in _places(node))
    faults: dict[IPv4Address | None, Counter[Fault]] = {}
    for node, fault in stuck:
        for place in _places(node):
            faults.setdefault(place, Counter())[fault] += 1
    for place, found in faults.items():
        unwell = found.total() + quiet[place]
        if unwell >= FEWEST and unwell > SHARE * sizes[place]:
            yield Crowd(place, found.most_common(1)[0][0], unwell, sizes[place])


def _places(node: Node) -> tuple[IPv4Address | None, ...]:
    return (node.port.switch, None) if node.port is not None else ()


# The hand


class Recovery:
    """
    Looks after all nodes, again and again.

    :param label: what people call a switch.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        book: Operations,
        casebook: Casebook,
        nodes: Nodes,
        intents: Intents,
        events: IEventSink,
        label: Callable[[IPv4Address], str] = str,
        settings: RecoverySettings | None = None,
    ) -> None:
        self.settings = settings or RecoverySettings()
        self._clock = clock
        self._book = book
        self._casebook = casebook
        self._nodes = nodes
        self._intents = intents
        self._events = events
        self._label = label
        self._watched_since = clock.seconds()
        self._held_back: set[IPv4Address | None] = set()
        self._refused: dict[MACAddress, float] = {}

    async def look(self) -> None:
        """Look at all nodes once, and begin with those whose turn it is."""
        if not self.settings.enabled:
            return
        nodes = [node for node in self._nodes.nodes() if node.port is not None]
        statuses = {node.mac: self._nodes.status(node.mac) for node in nodes}
        silent = [node for node in nodes if statuses[node.mac].phase is Phase.SILENT]
        stuck = list(self._stuck(nodes, statuses))
        found = list(crowds([(node, fault) for node, fault in stuck], silent, nodes))
        self._tell(found)
        closed = {crowd.switch for crowd in found}
        for node, _ in stuck:
            status = statuses[node.mac]
            if closed.isdisjoint(_places(node)) and self._is_overdue(status, GRACE_SECONDS) and self._may_begin(node):
                await self._recover(node)

    def _stuck(self, nodes: Iterable[Node], statuses: dict[MACAddress, NodeStatus]) -> Iterator[tuple[Node, Fault]]:
        for node in nodes:
            status = statuses[node.mac]
            if status.phase in LEFT_ALONE or not self._is_overdue(status):
                continue
            fault = self._casebook.why(node.mac).fault
            if fault in CURABLE:
                yield node, fault

    def _is_overdue(self, status: NodeStatus, grace_seconds: float = 0.0) -> bool:
        return is_overdue(
            status,
            self._clock.seconds() - grace_seconds,
            watched_since=self._watched_since,
            is_installing=self._intents.current(status.mac) is not None,
        )

    def _tell(self, found: Iterable[Crowd]) -> None:
        """Each crowd once, until it is gone."""
        now = {crowd.switch: crowd for crowd in found}
        for place, crowd in now.items():
            if place not in self._held_back:
                where = self._label(crowd.switch) if crowd.switch is not None else "all switches"
                held = RecoveryHeldBack(where=where, stuck=crowd.stuck, nodes=crowd.nodes, fault=crowd.fault.value)
                self._events.emit(held)
        self._held_back = set(now)

    def _may_begin(self, node: Node) -> bool:
        assert node.port is not None
        now = self._clock.seconds()
        if self._book.operation_of(node.mac) is not None or self._refused.get(node.mac, now) > now:
            return False
        running = [
            port.switch for one in self._book.operations() if one.who == WHO and not one.is_final for port in one.ports
        ]
        return len(running) < self.settings.at_once and running.count(node.port.switch) < AT_ONCE_ON_SWITCH

    async def _recover(self, node: Node) -> None:
        """Ask its switch first: one that does not answer switches nobody; a port without power is another trouble."""
        events, now = self._casebook.events_of(node.mac), self._clock.seconds()
        if is_spent(events, self.settings.tries, now):
            self._leave(node, events, now)
            return
        verdict = await self._casebook.look(node.mac)
        power = self._casebook.evidence(self._nodes.status(node.mac)).power
        if verdict.fault not in CURABLE or power is None or power.delivering is False:
            return
        try:
            await self._begin(node, verdict, attempts(events, now) + 1)
        except (BadTargets, OperationRefused, StoreFailed) as refused:
            self._refused[node.mac] = self._clock.seconds() + REFUSED_SECONDS
            self._log.info("recovery leaves {name} alone: {why}", name=node.name, why=str(refused))

    async def _begin(self, node: Node, verdict: Verdict, attempt: int) -> None:
        plan = await self._book.plan(Action.RESTART, [str(node.mac)])
        if not self._may_begin(node):
            return
        operation = await self._book.begin(plan, who=WHO, source=WHO, yes=True, tries=1)
        begun = RecoveryBegun(
            mac=node.mac,
            operation=operation.id,
            attempt=attempt,
            of=self.settings.tries,
            reason=verdict.sentence,
        )
        self._events.emit(begun)

    def _leave(self, node: Node, events: Iterable[Recorded], now: float) -> None:
        """Say it once, and only of a node that we have cycled."""
        ours = [one for one in events if isinstance(one.event, RecoveryBegun | RecoveryEnded)]
        if ours and isinstance(ours[-1].event, RecoveryBegun):
            sentence = self._casebook.why(node.mac).sentence
            self._events.emit(RecoveryEnded(mac=node.mac, attempts=attempts(events, now), reason=sentence))
