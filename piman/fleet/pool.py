# -*- test-case-name: tests.test_fleet_leases -*-
"""
The addresses that may be given to boards without a reservation, in the order in which they are given.

Free ones come first, those whose lease has expired after them, the one expired for longest first.  An address lies in
exactly one place: free, probed, timed (leased until), set aside, or out (offered just now).  Every step costs the same
however large the pool is.

With a probe, addresses are looked at before they are needed, so that no answer ever waits for the looking.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address

PROBED_SECONDS = 600.0
"""After this a probe says nothing any more."""


class Pool:
    """
    A range of addresses.

    :param excluded: addresses in the range that are never given.
    :param only_probed: give no address that was not found silent: for a manager that has lost its memory.
    """

    def __init__(
        self,
        first: IPv4Address,
        last: IPv4Address,
        *,
        excluded: frozenset[IPv4Address] = frozenset(),
        only_probed: bool = False,
    ) -> None:
        self.name = f"{first}-{last}"
        self.only_probed = only_probed
        self._first, self._last = int(first), int(last)
        self._excluded = excluded
        every = (IPv4Address(number) for number in range(self._first, self._last + 1))
        self._free: OrderedDict[IPv4Address, None] = OrderedDict.fromkeys(a for a in every if a not in excluded)
        self._probed: OrderedDict[IPv4Address, float] = OrderedDict()
        self._timed: dict[IPv4Address, float] = {}
        self._timers: list[tuple[float, int]] = []
        self._aside: dict[IPv4Address, None] = {}

    def __contains__(self, address: IPv4Address) -> bool:
        return self._first <= int(address) <= self._last and address not in self._excluded

    def take(self, now: float, is_ours: Callable[[IPv4Address], bool]) -> IPv4Address | None:
        """
        The next address, which is out from now on; None when there is none.

        :param is_ours: whether an address may be given from the pool; if not it is set aside.
        """
        while (address := self._next(now)) is not None:
            if is_ours(address):
                return address
            self._aside[address] = None
        return None

    def _next(self, now: float) -> IPv4Address | None:
        self._doubt_old_probes(now)
        if self._probed:
            return self._probed.popitem(last=False)[0]
        if self.only_probed or not (self._free or self._ripen(now)):
            return None
        return self._free.popitem(last=False)[0]

    def _ripen(self, now: float) -> bool:
        """Free the address whose lease expired first; whether there was one."""
        while self._timers and self._timers[0][0] <= now:
            expires, number = heapq.heappop(self._timers)
            address = IPv4Address(number)
            if self._timed.get(address) == expires:
                del self._timed[address]
                self._free[address] = None
                return True
        return False

    def remove(self, address: IPv4Address) -> None:
        """The address is out: somebody has it for himself."""
        self._free.pop(address, None)
        self._probed.pop(address, None)
        self._timed.pop(address, None)
        self._aside.pop(address, None)

    def put_back(self, address: IPv4Address, expires: float | None) -> None:
        """The address is not out any more; it is free after ``expires``, or at once and before others if None."""
        if address not in self:
            return
        self.remove(address)
        if expires is None:
            self._free[address] = None
            self._free.move_to_end(address, last=False)
            return
        self._timed[address] = expires
        heapq.heappush(self._timers, (expires, int(address)))
        if len(self._timers) > 64 + 2 * len(self._timed):  # renewals leave dead timers behind
            self._timers = [(expires, int(address)) for address, expires in self._timed.items()]
            heapq.heapify(self._timers)

    def reconsider(self) -> None:
        """Whose the addresses are has changed: look again at those set aside."""
        aside, self._aside = self._aside, {}
        self._free.update(aside)

    # Probing

    def to_probe(self, now: float, wanted: int) -> list[IPv4Address]:
        """Addresses to look at, so that ``wanted`` ones are known to be silent."""
        self._doubt_old_probes(now)
        missing = max(0, wanted - len(self._probed))
        while len(self._free) < missing and self._ripen(now):
            pass
        return [address for address, _ in zip(self._free, range(missing), strict=False)]

    def probed(self, address: IPv4Address, now: float) -> None:
        """Nobody answered there."""
        if address in self._free:
            del self._free[address]
            self._probed[address] = now

    def _doubt_old_probes(self, now: float) -> None:
        while self._probed:
            address, probed_at = next(iter(self._probed.items()))
            if now - probed_at <= PROBED_SECONDS:
                return
            del self._probed[address]
            self._free[address] = None

    def is_probed(self, address: IPv4Address) -> bool:
        """Whether the address waits to be given and nobody answered there."""
        return address in self._probed

    def is_free(self, address: IPv4Address) -> bool:
        """Whether the address waits to be given."""
        return address in self._free or address in self._probed
