# -*- test-case-name: tests.test_fleet_arrivals -*-
"""
Decides that a node without an agent is up, for nobody else can say so.

It is up when its installed system asks for an address; or when it was told to boot its card and has called no
more for a minute: an image with a fixed address never asks.  A node with an agent is up when the agent answers,
which is the monitor's business.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from piman.fleet.events import AddressLeased, BootOrdered, Installed, LeaseRenewed, NodeUp, Recorded
from piman.fleet.interfaces import IEventObserver, IEventSink, INodeDirectory
from piman.fleet.model import MACAddress, Phase, Stage

QUIET_SECONDS = 60.0
"""How long a node that was told to boot must have been quiet."""


@implementer(IEventObserver)
class Arrivals:
    """
    Emits :class:`NodeUp` for nodes without an agent.  An observer to be told after the registry.

    :param has_agent: whether the monitor will say when this node is up.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        nodes: INodeDirectory,
        events: IEventSink,
        has_agent: Callable[[MACAddress], bool] = lambda mac: False,
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._events = events
        self._has_agent = has_agent
        self._waiting: dict[MACAddress, IDelayedCall] = {}

    def observe(self, recorded: Recorded) -> None:
        """Look whether the event shows a node that is up, or one that may be so in a minute."""
        event = recorded.event
        if event.mac is None:
            return
        if isinstance(event, AddressLeased | LeaseRenewed) and event.stage is Stage.OS:
            self._arrived(event.mac, "address")
        elif isinstance(event, BootOrdered | Installed):
            self._expect(event.mac)

    def close(self) -> None:
        """Expect nobody any more."""
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()

    def _expect(self, mac: MACAddress) -> None:
        if mac in self._waiting:
            self._waiting.pop(mac).cancel()
        self._waiting[mac] = self._clock.callLater(QUIET_SECONDS, self._look, mac)

    def _look(self, mac: MACAddress) -> None:
        """Whether it has really been quiet: what it says in the meantime moves ``last_seen``."""
        del self._waiting[mac]
        status = self._nodes.status(mac)
        if status.phase is not Phase.BOOTING:
            return
        if self._clock.seconds() - status.last_seen < QUIET_SECONDS:
            self._expect(mac)
        else:
            self._arrived(mac, "time")

    def _arrived(self, mac: MACAddress, evidence: str) -> None:
        is_known = self._nodes.node(mac) is not None
        if is_known and self._nodes.status(mac).phase is not Phase.UP and not self._has_agent(mac):
            self._events.emit(NodeUp(mac=mac, evidence=evidence))
