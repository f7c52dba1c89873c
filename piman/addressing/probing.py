# -*- test-case-name: tests.test_addressing_probing -*-
"""
Looks at addresses of the pool before anybody wants them, so that no answer ever waits for the looking.

What it cannot do it says once; the pool is then served without (docs/decisions/pool-probes.md).
"""

from ipaddress import IPv4Address
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from piman.fleet.events import AddressOccupied
from piman.fleet.interfaces import IEventSink
from piman.fleet.model import MACAddress
from piman.fleet.state.leases import LeaseTable
from piman.fleet.throttle import Throttle
from piman.udp import LinkLayerUnavailable

PROBED_ADDRESSES = 64
"""How many addresses are asked for at once, and are known to be silent before anybody wants one."""

COMPLAINT_SECONDS = 600.0
"""So often at most it is said that probes do not get out."""


class Prober(Protocol):
    """Asks the link who has an address: :class:`piman.host.arp.ARPProber`."""

    def open(self) -> None:
        """Take the socket; LinkLayerUnavailable says why not."""

    def close(self) -> None:
        """Let go of it."""

    def ask(self, address: IPv4Address) -> "Deferred[MACAddress | None]":
        """Who answers for the address, None: nobody; fails with OSError when the question did not get out."""


class PoolProber:
    """
    Keeps some addresses of the pool known to be silent, and looks at those in doubt.

    :param prober: None: nothing is looked at, and nothing is said of that.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, *, leases: LeaseTable, prober: Prober | None, events: IEventSink
    ) -> None:
        self._leases = leases
        self._prober = prober
        self._events = events
        self._looking: dict[IPv4Address, Deferred[Any]] = {}
        self._complaints = Throttle(clock, COMPLAINT_SECONDS)
        self._is_open = False
        self._refusal = ""

    def open(self) -> None:
        """Take the socket while we may."""
        if self._prober is None:
            return
        try:
            self._prober.open()
            self._is_open = True
        except LinkLayerUnavailable as reason:
            self._refusal = str(reason)

    def start(self, *, remembers_nothing: bool) -> None:
        """
        The leases of before are in the table.

        :param remembers_nothing: there are none: every address is in doubt.
        """
        if self._is_open:
            self._leases.expect_probes(doubt_all=remembers_nothing)
        elif self._refusal and remembers_nothing:
            self._refusal += "; state.db is new, so addresses that boards still use may be given again"

    def look(self) -> None:
        """Begin to look at as many addresses as are missing."""
        if not self._is_open:
            self._warn_once()
            return
        for address in self._leases.to_probe(PROBED_ADDRESSES):
            if address not in self._looking:
                self._look_at(address)

    def _warn_once(self) -> None:
        if self._refusal and self._leases.pool:
            refusal, self._refusal = self._refusal, ""
            self._log.warn("nobody looks at the addresses of the pool before they are given: {why}", why=refusal)

    def _look_at(self, address: IPv4Address) -> None:
        assert self._prober is not None
        asked = self._looking[address] = maybeDeferred(self._prober.ask, address)
        asked.addCallback(self._seen, address).addErrback(self._failed).addCallback(self._looked, address)

    def _seen(self, holder: MACAddress | None, address: IPv4Address) -> bool:
        if holder is None:
            self._leases.silent(address)
        elif self._leases.occupied(address, holder):
            self._events.emit(AddressOccupied(address=address, holder=holder))
        return True

    def _failed(self, failure: Failure) -> bool:
        if failure.check(OSError):
            if self._complaints.passes("probe"):
                self._log.warn("addresses of the pool cannot be looked at: {why}", why=failure.getErrorMessage())
        elif not failure.check(CancelledError):
            self._log.failure("a probe failed", failure)
        return False

    def _looked(self, is_done: bool, address: IPv4Address) -> None:
        """One less; after the last one it is the turn of the next ones in doubt, unless that failed."""
        del self._looking[address]
        pool = self._leases.pool
        if is_done and not self._looking and pool and pool.has_doubts:
            self.look()

    def stop(self) -> None:
        """Ask nobody any more."""
        self._is_open = False
        for asked in list(self._looking.values()):
            asked.cancel()
        if self._prober is not None:
            self._prober.close()
