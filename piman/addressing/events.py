# -*- test-case-name: tests.test_dhcp -*-
"""
Tells the operator what a DHCP exchange was, and the same thing only now and then.
"""

from ipaddress import IPv4Address
from typing import Any

from twisted.internet.interfaces import IReactorTime

from piman.addressing.decisions import Client, DHCPSettings, RequestState, chosen_server, request_state
from piman.addressing.repetitions import Repetitions
from piman.fleet import events
from piman.fleet.interfaces import IEventSink
from piman.fleet.model import Lease
from piman.fleet.state.leases import Claim, Standing
from piman.fleet.state.pool import Pool
from piman.fleet.throttle import Throttle
from piman.wire.dhcp import Message, MessageType

REPEATED_SECONDS = 60.0
"""The window in which events of one kind of one board are counted."""
TOLD = 10
"""So many of them are stored: no board that boots has more of a kind in a window, however often it is restarted."""
TOLD_OF_WAITING = 1
"""The same for what a waiting board provokes every few seconds."""
NODES = 65_536
OTHERS = 16_384
"""So many windows at once, for the operator's nodes and, apart from them, for boards that anybody can invent."""


class DHCPEvents:
    """Emits the events of DHCP."""

    def __init__(self, clock: IReactorTime, sink: IEventSink, settings: DHCPSettings) -> None:
        self._emit = sink.emit
        self._server = settings.server_address
        self._strangers = Throttle(clock, settings.stranger_seconds)
        self._foreigners = Throttle(clock, settings.foreign_seconds)
        self._of_nodes = Repetitions(clock, sink, REPEATED_SECONDS, NODES)
        self._of_others = Repetitions(clock, sink, REPEATED_SECONDS, OTHERS)

    def _tell(self, client: Client, event: events.Event, limit: int = TOLD) -> None:
        (self._of_others if client.node is None else self._of_nodes).tell(event, limit)

    def settle(self, *, is_over: bool = False) -> None:
        """
        Tell how many events were not stored.

        :param is_over: nothing happens any more; else only windows that are over count.
        """
        for repetitions in (self._of_nodes, self._of_others):
            repetitions.settle_all() if is_over else repetitions.settle()

    def turned_away(self, message: Message, client: Client) -> None:
        """A board that we do not serve asked us, or nobody in particular, for an address."""
        if message.message_type not in (None, MessageType.DISCOVER, MessageType.REQUEST):
            return
        if chosen_server(message) not in (None, self._server):
            return
        if (self._strangers if client.is_pi else self._foreigners).passes(client.mac):
            self._emit(events.StrangerSeen(**_board(client)))

    def offered(self, client: Client, address: IPv4Address) -> None:
        """An OFFER left."""
        self._tell(client, events.AddressOffered(address=address, **_board(client)))

    def not_offered(self, client: Client, claim: Claim, pool: Pool | None) -> None:
        """There was no address to offer; a pool that is still being looked at is not exhausted."""
        if claim.standing is Standing.HELD and claim.address and claim.holder:
            held = events.AddressHeld(mac=client.mac, address=claim.address, holder=claim.holder)
            self._tell(client, held, TOLD_OF_WAITING)
        elif claim.standing is Standing.NONE and not (pool and pool.has_doubts):
            exhausted = events.PoolExhausted(mac=client.mac, pool=pool.name if pool else "no pool")
            self._tell(client, exhausted, TOLD_OF_WAITING)

    def acknowledged(self, message: Message, client: Client, lease: Lease) -> None:
        """An ACK left."""
        if request_state(message) is RequestState.RENEWING:
            renewed = events.LeaseRenewed(
                mac=client.mac, address=lease.address, stage=client.stage, expires=lease.expires
            )
            self._tell(client, renewed)
        else:
            self._tell(client, events.AddressLeased(address=lease.address, expires=lease.expires, **_board(client)))

    def refused(self, client: Client, address: IPv4Address, reason: str) -> None:
        """A NAK left."""
        self._tell(client, events.AddressRefused(mac=client.mac, address=address, reason=reason))

    def went_elsewhere(self, client: Client, server: IPv4Address | None) -> None:
        """The client took another server's offer; of strangers that is no news."""
        if client.node is not None and server is not None:
            self._tell(client, events.OtherServerChosen(mac=client.mac, server=server), TOLD_OF_WAITING)

    def declined(self, client: Client, address: IPv4Address) -> None:
        """The client found somebody else on its address."""
        self._tell(client, events.AddressDeclined(mac=client.mac, address=address))

    def released(self, client: Client, address: IPv4Address) -> None:
        """The client has no more use for its address."""
        self._tell(client, events.AddressReleased(mac=client.mac, address=address))


def _board(client: Client) -> dict[str, Any]:
    return {
        "mac": client.mac,
        "stage": client.stage,
        "serial": client.board.serial,
        "model": client.board.model,
    }
