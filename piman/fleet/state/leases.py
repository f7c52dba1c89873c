# -*- test-case-name: tests.test_fleet_leases -*-
"""
Who holds which address until when.

A table in memory, keyed by hardware address and by address, never by transaction or client id (docs/decisions/
identity.md).  No address is ever held by two boards: a new owner waits until the old one has been refused, has
released it, has moved on or has expired.  What must survive is collected for :class:`ILeaseStore`; the table itself
never touches a disk.

1. RFC 2131, 4.3.1: which address to offer; 4.3.2: which request is right
"""

from collections import OrderedDict
from collections.abc import Iterable
from enum import Enum
from ipaddress import IPv4Address

import attrs
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from piman.fleet.interfaces import IAddressBook, INodeDirectory
from piman.fleet.model import Lease, LeaseState, MACAddress, Stage
from piman.fleet.state.pool import Pool

_LIVE = (LeaseState.OFFERED, LeaseState.BOUND)
LONGEST_SECONDS = 31_536_000.0
"""No lease that the settings allow is longer; one that is was made when the host had another idea of the time."""
TOUCH_SECONDS = 60.0
"""Less is not worth a write to the store."""
_KEPT = (LeaseState.DECLINED, LeaseState.OCCUPIED)
"""Somebody was there: after its time the address is looked at before it is given."""
_NOBODY = MACAddress(bytes(6))


@attrs.frozen(kw_only=True)
class LeaseTerms:
    """For how long."""

    lease_seconds: float = 600.0
    unrequested_seconds: float = 900.0
    """At least so long an OFFER to a boot ROM is a lease: such a board never asks again."""
    hold_seconds: float = 60.0
    """An OFFER to anybody else waits so long for its REQUEST."""
    quarantine_seconds: float = 3600.0
    """An address on which somebody else answered is left alone for so long."""
    declined_by_one: int = 3
    """So many addresses are left alone because the same board declined them; one more ends the oldest quarantine."""


class Standing(Enum):
    """How a board stands to an address."""

    MINE = "mine"
    """It may have the address."""
    HELD = "held"
    """The address is meant for it, but another board still has it."""
    WRONG = "wrong"
    """It must not use the address."""
    UNKNOWN = "unknown"
    """We know nothing of this board and this address: another server may."""
    NONE = "none"
    """There is no address for it."""


@attrs.frozen
class Claim:
    """A board and an address."""

    standing: Standing
    address: IPv4Address | None = None
    holder: MACAddress | None = None
    """Who has the address, if another board does."""


@implementer(IAddressBook)
class LeaseTable:
    """
    The bindings and offers of all boards.

    :param pool: addresses for boards without a reservation.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        nodes: INodeDirectory,
        pool: Pool | None = None,
        terms: LeaseTerms | None = None,
    ) -> None:
        self.pool = pool
        self.terms = terms or LeaseTerms()
        self._clock = clock
        self._nodes = nodes
        self._leases: dict[IPv4Address, Lease] = {}
        self._of_board: dict[MACAddress, dict[IPv4Address, None]] = {}
        self._holds: OrderedDict[IPv4Address, Lease] = OrderedDict()
        self._hold_of: dict[MACAddress, IPv4Address] = {}
        self._unasked: OrderedDict[IPv4Address, None] = OrderedDict()
        self._changed: dict[IPv4Address, Lease] = {}
        self._can_probe = False

    # The address book

    def holder_of(self, address: IPv4Address) -> MACAddress | None:
        """The board with a live binding or offer of the address."""
        found = self._live(address)
        return found.mac if found else None

    def address_of(self, mac: MACAddress) -> IPv4Address | None:
        """The live address of a board: its newest binding, else what it was offered."""
        for address in reversed(self._of_board.get(mac, {})):
            if self._is_live(self._leases[address]):
                return address
        held = self._hold_of.get(mac)
        return held if held is not None and self.holder_of(held) == mac else None

    def touch(self, address: IPv4Address) -> None:
        """
        The holder is at work: its lease lives on.

        Boot ROMs never ask again, and neither do boot loaders nor the kernel's ``ip=dhcp``, which never renew.
        """
        lease = self._leases.get(address)
        if lease is None or not self._is_live(lease):
            return
        expires = self._clock.seconds() + self._unrequested_seconds
        if expires - lease.expires >= TOUCH_SECONDS:
            self._record(attrs.evolve(lease, expires=expires))

    def binding(self, address: IPv4Address) -> Lease | None:
        """The live binding of the address; None also when it is only offered to somebody who has not asked yet."""
        lease = self._leases.get(address)
        return lease if self._is_live(lease) else None

    def leases(self) -> list[Lease]:
        """All bindings that are live, in no order."""
        return [lease for lease in self._leases.values() if self._is_live(lease)]

    # What the store remembers

    def restore(self, leases: Iterable[Lease]) -> None:
        """Take the bindings of an earlier process."""
        now = self._clock.seconds()
        for lease in sorted(leases, key=lambda lease: lease.expires):
            is_sane = lease.expires <= now + LONGEST_SECONDS
            self._record(lease if is_sane else attrs.evolve(lease, expires=now + self._unrequested_seconds))
        self._changed.clear()

    def take_changes(self) -> list[Lease]:
        """What has to go to the store since this was last called."""
        changed, self._changed = self._changed, {}
        return list(changed.values())

    def give_back(self, leases: Iterable[Lease]) -> None:
        """The store failed: these have to go there later."""
        for lease in leases:
            self._changed.setdefault(lease.address, lease)

    def write_anew(self) -> None:
        """What the store has of live bindings, and of addresses left alone, does not hold any more."""
        now = self._clock.seconds()
        self.give_back(lease for lease in self._leases.values() if lease.expires > now)

    # The operator's files changed

    def nodes_changed(self) -> None:
        """The operator's reservations are others now."""
        if self.pool:
            self.pool.reconsider()

    def replace_pool(self, pool: Pool | None) -> None:
        """The operator's pool is another one now; leases outside of it run out, for they are not renewed."""
        old, self.pool = self.pool, pool
        if pool is None:
            self._unasked.clear()
            return
        pool.can_probe = self._can_probe
        pool.succeed(old)
        for lease in self._leases.values():
            if lease.expires > self._clock.seconds():
                self._put_back(lease.address)
        for address in self._holds:
            pool.remove(address)
            if address not in pool:
                self._unasked.pop(address, None)

    # What a board may have

    def offer(self, mac: MACAddress, requested: IPv4Address | None = None, *, restarted: bool = False) -> Claim:
        """
        An address for a board that has none, held for it until it asks.

        :param requested: what it would like (option 50).
        :param restarted: its firmware asks, so it cannot be using any address.
        """
        self._forget_old_holds()
        node = self._nodes.node(mac)
        if node is not None and node.address is not None:
            return self._offer_reserved(mac, node.address, restarted)
        address = self._from_pool(mac, requested)
        if address is None:
            return Claim(Standing.NONE)
        self._hold(mac, address)
        return Claim(Standing.MINE, address)

    def _offer_reserved(self, mac: MACAddress, address: IPv4Address, restarted: bool) -> Claim:
        if restarted:
            self._give_up_others(mac, address)
        holder = self._lease_holder(address)
        if holder not in (None, mac):
            return Claim(Standing.HELD, address, holder)
        self._hold(mac, address)
        return Claim(Standing.MINE, address)

    def _from_pool(self, mac: MACAddress, requested: IPv4Address | None) -> IPv4Address | None:
        """
        RFC 2131, 4.3.1: the current address, else the previous one, else the requested one, else a new one.

        New are, in this order: free ones, expired ones, what others were offered and have not asked for.
        """
        if self.pool is None:
            return None
        held = self._hold_of.get(mac)
        mine = [*reversed(self._of_board.get(mac, {})), *([held] if held is not None else [])]
        mine = [address for address in mine if not self._was_declined(address)]
        mine.sort(key=lambda address: not self._is_live(self._leases.get(address)))
        for address in mine:
            if self._may_have(mac, address):
                return address
        if requested is not None and self._may_have(mac, requested) and self._is_free(requested):
            return requested
        found = self.pool.take(self._clock.seconds(), lambda address: self._may_have(mac, address))
        return found or self._unrequested(mac)

    def _was_declined(self, address: IPv4Address) -> bool:
        """Whether its last board found somebody else there: it has no reason to want it back."""
        lease = self._leases.get(address)
        return lease is not None and lease.state is LeaseState.DECLINED and address not in self._holds

    def _unrequested(self, mac: MACAddress) -> IPv4Address | None:
        """The oldest offer that nobody has asked for yet."""
        for address in self._unasked:
            is_taken = self._lease_holder(address) is not None or self._is_kept_from(mac, address)
            if not is_taken and self._unreserved(mac, address):
                return address
        return None

    def claim(self, mac: MACAddress, address: IPv4Address, *, selecting: bool = False) -> Claim:
        """
        Whether a board may use the address that it names.

        :param selecting: it answers an offer of ours, so the address is right if it is still free.
        """
        node = self._nodes.node(mac)
        if node is not None and node.address is not None:
            return self._claim_reserved(mac, address, node.address)
        holder = self.holder_of(address)
        if holder not in (None, mac):
            return Claim(Standing.WRONG, address, holder)
        has_record = selecting or holder == mac or mac in self._of_board
        if not has_record:
            return Claim(Standing.UNKNOWN, address)
        was_mine = holder == mac or address in self._of_board.get(mac, {})
        right = self._may_have(mac, address) and (was_mine or (selecting and self._is_free(address)))
        return Claim(Standing.MINE if right else Standing.WRONG, address)

    def _claim_reserved(self, mac: MACAddress, address: IPv4Address, reserved: IPv4Address) -> Claim:
        if address != reserved:
            return Claim(Standing.WRONG, address)
        holder = self._lease_holder(reserved)
        if holder not in (None, mac):
            return Claim(Standing.HELD, address, holder)
        return Claim(Standing.MINE, address)

    # What happens to addresses

    def bind(self, mac: MACAddress, address: IPv4Address, *, stage: Stage, requested: bool = True) -> Lease:
        """
        The address is the board's; every other one that it had is free.

        :param requested: it has asked; else it never will, and the offer is the lease.
        :raises ValueError: when another board has the address: a claim must come first.
        """
        if self._lease_holder(address) not in (None, mac):
            raise ValueError(f"{address} is held by {self._lease_holder(address)}")
        self._give_up_others(mac, address)
        now = self._clock.seconds()
        before = self._leases.get(address)
        if requested:
            state, expires = LeaseState.BOUND, now + self.terms.lease_seconds
        else:
            state, expires = LeaseState.OFFERED, now + self._unrequested_seconds
            if before is not None and self._is_live(before):
                expires = max(expires, before.expires)
        self._drop_hold(mac)
        self._drop_hold_at(address)
        lease = Lease(address=address, mac=mac, state=state, expires=expires, stage=stage)
        self._record(lease)
        return lease

    def withdraw(self, mac: MACAddress) -> None:
        """The board has taken another server's offer."""
        self._drop_hold(mac)

    def refuse(self, mac: MACAddress, address: IPv4Address) -> None:
        """The board was told not to use the address (DHCPNAK)."""
        self.release(mac, address)

    def release(self, mac: MACAddress, address: IPv4Address) -> bool:
        """The board has no more use for the address; whether it had it."""
        if self.holder_of(address) != mac:
            return False
        if self._hold_of.get(mac) == address:
            self._drop_hold(mac)
        if self._lease_holder(address) == mac:
            self._end(self._leases[address])
        return True

    def decline(self, mac: MACAddress, address: IPv4Address) -> bool:
        """The board found somebody else on the address; whether it was the board's to decline."""
        if self.holder_of(address) != mac:
            return False
        self._drop_hold_at(address)
        expires = self._clock.seconds() + self.terms.quarantine_seconds
        self._record(Lease(address=address, mac=mac, state=LeaseState.DECLINED, expires=expires))
        self._limit_declined(mac)
        return True

    def _limit_declined(self, mac: MACAddress) -> None:
        """
        One board that declines whatever it gets must not take the pool away from the others.

        RFC 2131, 4.3.3: "The server MUST mark the network address as not available": the newest ones are.
        """
        declined = [lease for address in self._of_board[mac] if self._is_declined(lease := self._leases[address])]
        for lease in declined[: -self.terms.declined_by_one]:
            self._record(attrs.evolve(lease, expires=self._clock.seconds()))

    def _is_declined(self, lease: Lease) -> bool:
        return lease.state is LeaseState.DECLINED and lease.expires > self._clock.seconds()

    # Probes

    def expect_probes(self, *, doubt_all: bool) -> None:
        """
        From now on somebody looks at the addresses of the pool.

        :param doubt_all: no lease of before is known, so none is given before it was looked at.
        """
        self._can_probe = True
        if self.pool:
            self.pool.can_probe = True
            if doubt_all:
                self.pool.doubt_all()

    def to_probe(self, wanted: int) -> list[IPv4Address]:
        """Addresses of the pool to look at; see :meth:`Pool.to_probe`."""
        if self.pool is None:
            return []
        return self.pool.to_probe(self._clock.seconds(), wanted, lambda address: self._unreserved(_NOBODY, address))

    def silent(self, address: IPv4Address) -> None:
        """A probe was not answered."""
        if self.pool:
            self.pool.probed(address, self._clock.seconds())

    def occupied(self, address: IPv4Address, mac: MACAddress) -> bool:
        """
        A probe was answered: for a while the address is for nobody but who answered.

        :returns: whether that is news; it is not when the board has a right to the address, or somebody a lease.
        """
        if self.pool is None or address not in self.pool or self._nodes.reserved_by(address) is not None:
            return False
        if self.holder_of(address) == mac or self._lease_holder(address) is not None:
            return False
        self._drop_hold_at(address)
        expires = self._clock.seconds() + self.terms.quarantine_seconds
        self._record(Lease(address=address, mac=mac, state=LeaseState.OCCUPIED, expires=expires))
        return True

    # The two tables

    @property
    def _unrequested_seconds(self) -> float:
        return max(self.terms.lease_seconds, self.terms.unrequested_seconds)

    def _is_live(self, lease: Lease | None) -> bool:
        return lease is not None and lease.state in _LIVE and lease.expires > self._clock.seconds()

    def _live(self, address: IPv4Address) -> Lease | None:
        lease = self._leases.get(address)
        if self._is_live(lease):
            return lease
        hold = self._holds.get(address)
        return hold if self._is_live(hold) else None

    def _lease_holder(self, address: IPv4Address) -> MACAddress | None:
        """Who has more than an offer in memory."""
        lease = self._leases.get(address)
        return lease.mac if lease is not None and self._is_live(lease) else None

    def _is_kept_from(self, mac: MACAddress, address: IPv4Address) -> bool:
        """Whether somebody else was seen on the pool's address lately, or somebody has to look first."""
        assert self.pool is not None
        lease = self._leases.get(address)
        if lease is not None and lease.state in _KEPT and lease.expires > self._clock.seconds():
            return lease.state is LeaseState.DECLINED or lease.mac != mac
        return self.pool.is_doubted(address)

    def _is_free(self, address: IPv4Address) -> bool:
        """Whether nobody has it, as far as is known."""
        return self._live(address) is None

    def _may_have(self, mac: MACAddress, address: IPv4Address) -> bool:
        """Whether the pool may give it to this board."""
        if self.pool is None or address not in self.pool or self._is_kept_from(mac, address):
            return False
        return self.holder_of(address) in (None, mac) and self._unreserved(mac, address)

    def _unreserved(self, mac: MACAddress, address: IPv4Address) -> bool:
        owner = self._nodes.reserved_by(address)
        return owner is None or owner.mac == mac

    def _record(self, lease: Lease) -> None:
        before = self._leases.get(lease.address)
        if before is not None:
            self._forget_owner(before)
        self._leases[lease.address] = lease
        self._of_board.setdefault(lease.mac, {})[lease.address] = None
        self._changed[lease.address] = lease
        self._put_back(lease.address)

    def _put_back(self, address: IPv4Address) -> None:
        """Nobody is offered the address any more: the pool has it back when its lease ends."""
        if self.pool is None or address in self._holds:
            return
        lease = self._leases.get(address)
        if lease is None:
            self.pool.put_back(address, None)
        else:
            self.pool.put_back(address, lease.expires, is_suspect=lease.state in _KEPT)

    def _forget_owner(self, lease: Lease) -> None:
        addresses = self._of_board.get(lease.mac, {})
        addresses.pop(lease.address, None)
        if not addresses:
            self._of_board.pop(lease.mac, None)

    def _end(self, lease: Lease) -> None:
        self._record(attrs.evolve(lease, state=LeaseState.RELEASED, expires=self._clock.seconds()))

    def _give_up_others(self, mac: MACAddress, address: IPv4Address) -> None:
        for other in list(self._of_board.get(mac, {})):
            if other != address and self._is_live(self._leases[other]):
                self._end(self._leases[other])

    def _hold(self, mac: MACAddress, address: IPv4Address) -> None:
        """Keep an offered address for its board; a hold of the same board, and one of another board there, end."""
        self._drop_hold(mac)
        self._drop_hold_at(address)
        expires = self._clock.seconds() + self.terms.hold_seconds
        self._holds[address] = Lease(address=address, mac=mac, state=LeaseState.OFFERED, expires=expires)
        self._hold_of[mac] = address
        if self.pool and address in self.pool:
            self.pool.remove(address)
            if self._lease_holder(address) is None and self._unreserved(_NOBODY, address):
                self._unasked[address] = None

    def _drop_hold(self, mac: MACAddress) -> None:
        address = self._hold_of.get(mac)
        if address is not None:
            self._drop_hold_at(address)

    def _drop_hold_at(self, address: IPv4Address) -> None:
        hold = self._holds.pop(address, None)
        if hold is None:
            return
        del self._hold_of[hold.mac]
        self._unasked.pop(address, None)
        self._put_back(address)

    def _forget_old_holds(self) -> None:
        while self._holds:
            hold = next(iter(self._holds.values()))
            if self._is_live(hold):
                return
            self._drop_hold(hold.mac)
