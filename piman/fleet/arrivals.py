# -*- test-case-name: tests.test_fleet_arrivals -*-
"""
Decides that a node without an agent is up when its installed system asks for an address.

A node with an agent is up when the agent answers, which is the monitor's business.  An image with a fixed address
never asks: of such a node the hello service says that it is up, a minute after it was told to boot and has gone.
"""

from collections.abc import Callable

from zope.interface import implementer

from piman.fleet.events import AddressLeased, EventRepeated, LeaseRenewed, NodeUp, Recorded
from piman.fleet.interfaces import IEventObserver, IEventSink, INodeDirectory
from piman.fleet.model import MACAddress, Phase, Stage


@implementer(IEventObserver)
class Arrivals:
    """
    Emits :class:`NodeUp` for nodes without an agent.  An observer to be told after the registry.

    :param has_agent: whether the monitor will say when this node is up.
    """

    def __init__(
        self,
        *,
        nodes: INodeDirectory,
        events: IEventSink,
        has_agent: Callable[[MACAddress], bool] = lambda mac: False,
    ) -> None:
        self._nodes = nodes
        self._events = events
        self._has_agent = has_agent

    def observe(self, recorded: Recorded) -> None:
        """Look whether the event shows a node that is up."""
        event, is_repeated = recorded.event, False
        if isinstance(event, EventRepeated):
            event, is_repeated = event.event, True
        if isinstance(event, AddressLeased | LeaseRenewed) and event.stage is Stage.OS and event.mac is not None:
            self._arrived(event.mac, is_repeated)

    def _arrived(self, mac: MACAddress, is_repeated: bool) -> None:
        """What comes of an event that is too frequent to be stored is not stored either."""
        is_known = self._nodes.node(mac) is not None
        if is_known and self._nodes.status(mac).phase is not Phase.UP and not self._has_agent(mac):
            up = NodeUp(mac=mac, evidence="address")
            self._events.emit(EventRepeated(mac=mac, event=up) if is_repeated else up)
