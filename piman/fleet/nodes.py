# -*- test-case-name: tests.test_fleet_nodes -*-
"""
Who the operator's nodes are and what was seen of them: :class:`NodeRegistry`, the only writer of statuses.

How an event changes a status is decided by :func:`piman.fleet.progress.advance`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address

from twisted.logger import Logger
from zope.interface import implementer

from piman.fleet.events import Recorded
from piman.fleet.interfaces import IEventObserver, INodeDirectory
from piman.fleet.model import MACAddress, Node, NodeStatus, Phase, Slot
from piman.fleet.progress import advance

__all__ = ["STRANGERS", "NodeRegistry", "Watcher", "advance"]

STRANGERS = 4_096
"""Boards of which no file speaks and whose statuses are kept; the one unseen for longest goes first."""

Watcher = Callable[[NodeStatus], None]


@implementer(INodeDirectory, IEventObserver)
class NodeRegistry:
    """
    The operator's nodes, and what was seen of them and of strangers: the only writer of statuses.

    :ivar watchers: called with each status that changed; a failing one is logged and costs the others nothing.
    """

    _log = Logger()

    def __init__(
        self, nodes: Iterable[Node] = (), slots: Iterable[Slot] = (), statuses: Iterable[NodeStatus] = ()
    ) -> None:
        self.watchers: list[Watcher] = []
        self._nodes: dict[MACAddress, Node] = {}
        self._reserved: dict[IPv4Address, Node] = {}
        self._slots: tuple[Slot, ...] = ()
        self._statuses: dict[MACAddress, NodeStatus] = {}
        self._strangers: dict[MACAddress, NodeStatus] = {}
        self._by_serial: dict[str, set[MACAddress]] = {}
        self._counts: Counter[Phase] = Counter()
        self._changed: set[MACAddress] = set()
        self.replace_nodes(nodes, slots)
        self.restore(statuses)

    # What the operator wants

    def replace_nodes(self, nodes: Iterable[Node], slots: Iterable[Slot]) -> None:
        """Take the operator's files as they are now; what was seen stays. Of two entries the first counts."""
        known = self.statuses()
        self._nodes, self._reserved = {}, {}
        for node in nodes:
            self._nodes.setdefault(node.mac, node)
            if node.address is not None:
                self._reserved.setdefault(node.address, node)
        self._slots = tuple(slots)
        self._fill(known)

    def restore(self, statuses: Iterable[NodeStatus]) -> None:
        """Take what an earlier process saw; where this one has seen something newer, that stays."""
        merged = {status.mac: status for status in self.statuses()}
        for status in statuses:
            if status.last_event_id >= merged.get(status.mac, status).last_event_id:
                merged[status.mac] = status
        self._fill(merged.values())

    def _fill(self, statuses: Iterable[NodeStatus]) -> None:
        self._statuses, self._strangers, self._by_serial = {}, {}, {}
        self._counts = Counter({Phase.UNKNOWN: len(self._nodes)})
        for status in statuses:
            self._keep(status)

    def node(self, mac: MACAddress) -> Node | None:
        """The operator's entry for this board; None: a stranger."""
        return self._nodes.get(mac)

    def reserved_by(self, address: IPv4Address) -> Node | None:
        """The node to which the operator gave this address."""
        return self._reserved.get(address)

    def nodes(self) -> Iterable[Node]:
        """All of the operator's nodes, in the order of the files."""
        return tuple(self._nodes.values())

    def slots(self) -> tuple[Slot, ...]:
        """The places whose nodes nobody has named yet."""
        return self._slots

    # What was seen

    def with_serial(self, serial: str) -> Node | None:
        """The known node that was seen with this serial; None also when two nodes show the same one."""
        found = [node for mac in self._by_serial.get(serial, ()) if (node := self._nodes.get(mac)) is not None]
        return found[0] if len(found) == 1 else None

    def status(self, mac: MACAddress) -> NodeStatus:
        """What was seen of the board; an empty status when nothing was."""
        return self._statuses.get(mac) or self._strangers.get(mac) or NodeStatus(mac=mac)

    def statuses(self) -> list[NodeStatus]:
        """All that was seen, of the operator's nodes and then of strangers."""
        return [*self._statuses.values(), *self._strangers.values()]

    def strangers(self) -> list[NodeStatus]:
        """What was seen of boards that no file names, the least lately seen first."""
        return list(self._strangers.values())

    def counts(self) -> Mapping[Phase, int]:
        """How many of the operator's nodes are in each phase; every phase is there."""
        return {phase: self._counts[phase] for phase in Phase}

    def take_changed(self) -> list[NodeStatus]:
        """The statuses that changed since this was last called: what a snapshot has to write."""
        changed, self._changed = self._changed, set()
        return [self.status(mac) for mac in changed]

    def return_changed(self, statuses: Iterable[NodeStatus]) -> None:
        """These could not be written: take them, as they are by then, with the next ones."""
        self._changed.update(status.mac for status in statuses)

    def write_anew(self) -> None:
        """No snapshot of before holds any more."""
        self._changed.update(status.mac for status in self.statuses() if status.last_event_id)

    def observe(self, recorded: Recorded) -> None:
        """Fold the event into the status of its node."""
        mac = recorded.event.mac
        if mac is None:
            return
        before = self.status(mac)
        after = advance(before, recorded)
        if after is not before:
            self._keep(after)
            self._changed.add(mac)
            self._tell(after)

    def _keep(self, status: NodeStatus) -> None:
        before = self.status(status.mac)
        if before.serial != status.serial:
            self._forget_serial(before)
        if status.serial is not None:
            self._by_serial.setdefault(status.serial, set()).add(status.mac)
        if status.mac in self._nodes:
            self._counts[before.phase] -= 1
            self._counts[status.phase] += 1
            self._statuses[status.mac] = status
        else:
            self._keep_stranger(status)

    def _keep_stranger(self, status: NodeStatus) -> None:
        self._strangers.pop(status.mac, None)
        self._strangers[status.mac] = status
        if len(self._strangers) > STRANGERS:
            oldest = next(iter(self._strangers))
            self._forget_serial(self._strangers.pop(oldest))
            self._changed.discard(oldest)

    def _forget_serial(self, status: NodeStatus) -> None:
        holders = self._by_serial.get(status.serial or "", set())
        holders.discard(status.mac)
        if not holders:
            self._by_serial.pop(status.serial or "", None)

    def _tell(self, status: NodeStatus) -> None:
        for watcher in tuple(self.watchers):
            try:
                watcher(status)
            except Exception:
                self._log.failure("{watcher} failed at {mac}", watcher=watcher, mac=str(status.mac))
