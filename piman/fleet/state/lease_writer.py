# -*- test-case-name: tests.test_fleet_leases -*-
"""
From the table to the store, and only then to the board.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from piman.fleet.interfaces import ILeaseStore
from piman.fleet.model import Lease, MACAddress
from piman.fleet.state.leases import LeaseTable
from piman.fleet.throttle import Throttle

QUIET_SECONDS = 60.0
"""That leases are not on disk is logged at most once in this time."""


class LeaseWriter:
    """
    Puts on disk what the table changed.

    Of one board one binding is on its way and one waits, the newest: a slow disk does not make a queue.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, *, leases: LeaseTable, store: ILeaseStore) -> None:
        self._leases = leases
        self._store = store
        self._logged = Throttle(clock, QUIET_SECONDS)
        self._writing: dict[MACAddress, Callable[[], None] | None] = {}

    @property
    def remembers_nothing(self) -> bool:
        """Whether the store is new: boards may use addresses of which we know nothing."""
        return bool(self._store.is_new)

    def load(self) -> None:
        """Give the table what the store remembers."""
        self._leases.restore(self._store.load_leases())

    def commit(self, lease: Lease, then: Callable[[], None]) -> None:
        """Put the binding on disk, then do this; never when the disk fails, or it is somebody else's by then."""
        mac = lease.mac
        if mac in self._writing:
            self._writing[mac] = lambda: self.commit(lease, then)
            return
        current = self._leases.binding(lease.address)
        if current is None or current.mac != mac:
            return
        self._writing[mac] = None
        changes = {change.address: change for change in self._leases.take_changes()}
        changes[lease.address] = current
        written = self._write(list(changes.values()))
        written.addCallbacks(self._written, self._not_written, (lease, then), {}, (mac,), {})
        written.addErrback(lambda failure: self._log.failure("after a commit", failure))
        written.addBoth(lambda ignored: self._write_next(mac))

    def save_changes(self) -> "Deferred[None]":
        """Put on disk what nobody waits for; never fails, what fails is tried again with the next."""
        changes = self._leases.take_changes()
        return self._write(changes).addErrback(self._not_written, None) if changes else succeed(None)

    def _write(self, changes: Sequence[Lease]) -> "Deferred[None]":
        def keep(failure: Failure) -> Failure:
            self._leases.give_back(changes)
            return failure

        return maybeDeferred(self._store.commit, changes).addErrback(keep)

    def _written(self, ignored: None, lease: Lease, then: Callable[[], None]) -> None:
        if self._leases.holder_of(lease.address) == lease.mac:
            then()

    def _not_written(self, failure: Failure, mac: MACAddress | None) -> None:
        if self._logged.passes("store"):
            missed = "are written with the next" if mac is None else f"{mac} gets no answer"
            self._log.warn("leases are not on disk, {missed}: {why}", missed=missed, why=failure.getErrorMessage())

    def _write_next(self, mac: MACAddress) -> None:
        following = self._writing.pop(mac)
        if following:
            following()
