# -*- test-case-name: tests.test_dhcp -*-
"""
Tells the operator what a DHCP exchange was, and the same thing only now and then.
"""

from ipaddress import IPv4Address
from typing import Any

from twisted.internet.interfaces import IReactorTime

from piman.addressing.decisions import Client, DHCPSettings, RequestState, chosen_server, request_state
from piman.fleet import events
from piman.fleet.interfaces import IEventSink
from piman.fleet.leases import Claim, Standing
from piman.fleet.model import Lease, MACAddress
from piman.fleet.pool import Pool
from piman.fleet.throttle import Throttle
from piman.wire.dhcp import Message, MessageType

REPEATED_SECONDS = 60.0
"""What a waiting board provokes every few seconds is an event so often at most."""


class DHCPEvents:
    """Emits the events of DHCP."""

    def __init__(self, clock: IReactorTime, sink: IEventSink, settings: DHCPSettings) -> None:
        self._emit = sink.emit
        self._server = settings.server_address
        self._strangers = Throttle(clock, settings.stranger_seconds)
        self._foreigners = Throttle(clock, settings.foreign_seconds)
        self._repeated = Throttle(clock, REPEATED_SECONDS, capacity=65_536)

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
        self._emit(events.AddressOffered(address=address, **_board(client)))

    def not_offered(self, client: Client, claim: Claim, pool: Pool | None) -> None:
        """There was no address to offer; a pool that is still being looked at is not exhausted."""
        if claim.standing is Standing.HELD and claim.address and claim.holder:
            if self._repeated.passes((client.mac, claim.holder)):
                self._emit(events.AddressHeld(mac=client.mac, address=claim.address, holder=claim.holder))
        elif claim.standing is Standing.NONE and not (pool and pool.has_doubts) and self._repeated.passes(client.mac):
            self._emit(events.PoolExhausted(mac=client.mac, pool=pool.name if pool else "no pool"))

    def acknowledged(self, message: Message, client: Client, lease: Lease) -> None:
        """An ACK left."""
        if request_state(message) is RequestState.RENEWING:
            renewed = events.LeaseRenewed(
                mac=client.mac, address=lease.address, stage=client.stage, expires=lease.expires
            )
            self._emit(renewed)
        else:
            self._emit(events.AddressLeased(address=lease.address, expires=lease.expires, **_board(client)))

    def refused(self, mac: MACAddress, address: IPv4Address, reason: str) -> None:
        """A NAK left."""
        self._emit(events.AddressRefused(mac=mac, address=address, reason=reason))

    def went_elsewhere(self, client: Client, server: IPv4Address | None) -> None:
        """The client took another server's offer; of strangers that is no news."""
        if client.node is not None and server is not None and self._repeated.passes((client.mac, server)):
            self._emit(events.OtherServerChosen(mac=client.mac, server=server))

    def declined(self, mac: MACAddress, address: IPv4Address) -> None:
        """The client found somebody else on its address."""
        self._emit(events.AddressDeclined(mac=mac, address=address))

    def released(self, mac: MACAddress, address: IPv4Address) -> None:
        """The client has no more use for its address."""
        self._emit(events.AddressReleased(mac=mac, address=address))


def _board(client: Client) -> dict[str, Any]:
    return {
        "mac": client.mac,
        "stage": client.stage,
        "serial": client.board.serial,
        "model": client.board.model,
    }
