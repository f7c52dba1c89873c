# -*- test-case-name: tests.test_fleet_leases -*-
"""
The addresses that may be given to boards without a reservation, in the order in which they are given.

Free ones come first, those whose lease has expired after them, the one expired for longest first.  An address lies in
exactly one place: free, probed, doubted, timed (leased until), set aside, or out (offered just now).  Every step costs
the same however large the pool is.

With a probe, addresses are looked at before they are needed, so that no answer ever waits for the looking; those in
doubt are given only after they were found silent (docs/decisions/pool-probes.md).
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address
from itertools import islice

PROBED_SECONDS = 600.0
"""After this a probe says nothing any more."""


class Pool:
    """
    A range of addresses.

    :ivar can_probe: somebody looks at addresses; only then is any ever in doubt.
    :param excluded: addresses in the range that are never given.
    """

    def __init__(
        self,
        first: IPv4Address,
        last: IPv4Address,
        *,
        excluded: frozenset[IPv4Address] = frozenset(),
    ) -> None:
        self.name = f"{first}-{last}"
        self.can_probe = False
        self._first, self._last = int(first), int(last)
        self._excluded = excluded
        every = (IPv4Address(number) for number in range(self._first, self._last + 1))
        self._free: OrderedDict[IPv4Address, None] = OrderedDict.fromkeys(a for a in every if a not in excluded)
        self._probed: OrderedDict[IPv4Address, float] = OrderedDict()
        self._doubted: OrderedDict[IPv4Address, None] = OrderedDict()
        self._suspects: set[IPv4Address] = set()
        self._timed: dict[IPv4Address, float] = {}
        self._timers: list[tuple[float, int]] = []
        self._aside: dict[IPv4Address, None] = {}

    def __len__(self) -> int:
        return self._last - self._first + 1 - sum(self._first <= int(each) <= self._last for each in self._excluded)

    def free(self, now: float) -> int:
        """How many addresses nobody has; those that are to be looked at first are among them."""
        expired = sum(expires <= now for expires in self._timed.values())
        return len(self._free) + len(self._probed) + len(self._doubted) + expired

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
        while not self._free:
            if not self._ripen(now):
                return None
        return self._free.popitem(last=False)[0]

    def _ripen(self, now: float) -> bool:
        """Free, or doubt, the address whose lease expired first; whether there was one."""
        while self._timers and self._timers[0][0] <= now:
            expires, number = heapq.heappop(self._timers)
            address = IPv4Address(number)
            if self._timed.get(address) == expires:
                del self._timed[address]
                self._place(address, is_doubted=address in self._suspects)
                return True
        return False

    def _place(self, address: IPv4Address, *, is_doubted: bool) -> None:
        """The address waits to be given, or to be looked at first."""
        self._suspects.discard(address)
        (self._doubted if is_doubted and self.can_probe else self._free)[address] = None

    def remove(self, address: IPv4Address) -> None:
        """The address is out: somebody has it for himself."""
        self._free.pop(address, None)
        self._probed.pop(address, None)
        self._doubted.pop(address, None)
        self._timed.pop(address, None)
        self._aside.pop(address, None)
        self._suspects.discard(address)

    def put_back(self, address: IPv4Address, expires: float | None, *, is_suspect: bool = False) -> None:
        """
        The address is not out any more; it is free after ``expires``, or at once and before others if None.

        :param is_suspect: after ``expires`` it is in doubt.
        """
        if address not in self:
            return
        self.remove(address)
        if expires is None:
            self._free[address] = None
            self._free.move_to_end(address, last=False)
            return
        if is_suspect:
            self._suspects.add(address)
        self._timed[address] = expires
        heapq.heappush(self._timers, (expires, int(address)))
        if len(self._timers) > 64 + 2 * len(self._timed):  # renewals leave dead timers behind
            self._timers = [(expires, int(address)) for address, expires in self._timed.items()]
            heapq.heapify(self._timers)

    def reconsider(self) -> None:
        """Whose the addresses are has changed: look again at those set aside."""
        aside, self._aside = self._aside, {}
        for address in aside:
            self._place(address, is_doubted=True)

    def succeed(self, old: "Pool | None") -> None:
        """Take the place of another pool: what was known of its free addresses is known, others are in doubt."""
        for address in list(self._free):
            if old is not None and address in old._probed:
                del self._free[address]
                self._probed[address] = old._probed[address]
            elif old is None or address not in old or old.is_doubted(address):
                del self._free[address]
                self._place(address, is_doubted=True)

    # Probing

    def doubt_all(self) -> None:
        """Who has which address was forgotten: look at each one before it is given."""
        waiting = [*self._probed, *self._free]
        self._probed.clear()
        self._free.clear()
        for address in waiting:
            self._place(address, is_doubted=True)

    def to_probe(self, now: float, wanted: int, is_ours: Callable[[IPv4Address], bool]) -> list[IPv4Address]:
        """
        Addresses to look at: those in doubt, and others so that ``wanted`` ones are known to be silent.

        :param is_ours: as for :meth:`take`.
        """
        self._doubt_old_probes(now)
        while self._ripen(now):
            pass
        found = self._some(self._doubted, wanted, is_ours)
        return found + self._some(self._free, wanted - len(self._probed) - len(found), is_ours)

    def _some(
        self, place: "OrderedDict[IPv4Address, None]", wanted: int, is_ours: Callable[[IPv4Address], bool]
    ) -> list[IPv4Address]:
        """The first ones there that may be given; those that may not are set aside on the way."""
        found: list[IPv4Address] = []
        for address in list(islice(place, 2 * max(0, wanted))):
            if len(found) == wanted:
                break
            if is_ours(address):
                found.append(address)
            else:
                del place[address]
                self._aside[address] = None
        return found

    def probed(self, address: IPv4Address, now: float) -> None:
        """Nobody answered there."""
        for place in (self._free, self._doubted):
            if address in place:
                del place[address]
                self._probed[address] = now

    def _doubt_old_probes(self, now: float) -> None:
        while self._probed:
            address, probed_at = next(iter(self._probed.items()))
            if now - probed_at <= PROBED_SECONDS:
                return
            del self._probed[address]
            self._free[address] = None

    @property
    def has_doubts(self) -> bool:
        """Whether addresses wait for nothing else than to be looked at."""
        return bool(self._doubted)

    def is_doubted(self, address: IPv4Address) -> bool:
        """Whether the address must be looked at before it may be given."""
        return address in self._doubted or (self.can_probe and address in self._suspects)

    def is_waiting(self, address: IPv4Address) -> bool:
        """Whether nobody has the address: it waits to be given or to be looked at."""
        return address in self._free or address in self._probed or address in self._doubted
