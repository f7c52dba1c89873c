"""
What every lease store and intent store promises: the one on disk and its fake alike.
"""

import sqlite3
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import IImageChoiceStore, IIntentStore, ILeaseStore, IOperationStore, StoreFailed
from piman.fleet.model import (
    ImageChoice,
    Intent,
    IntentOrigin,
    IntentState,
    Lease,
    LeaseState,
    Phase,
    Scope,
    Stage,
    SwitchPort,
)
from piman.fleet.operations.orders import Action, Operation, Step, TargetReport
from piman.fleet.operations.targets import Target
from piman.fleet.state.store import StateStore
from piman.fleet.walltime import WallTime, WallTimedImageChoices, WallTimedIntents, WallTimedLeases, WallTimedOperations
from piman.testing.fakes import MemoryImageChoiceStore, MemoryIntentStore, MemoryLeaseStore, MemoryOperationStore
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC, ThreadedClock

LEASE = Lease(address=ADDRESS, mac=MAC, state=LeaseState.BOUND, expires=600.5, stage=Stage.EEPROM)
OTHER_LEASE = Lease(address=IPv4Address("172.30.4.7"), mac=OTHER_MAC, state=LeaseState.OFFERED, expires=1e9)
INTENT = Intent(id="a" * 32, mac=MAC, origin=IntentOrigin.OPERATOR, opened=5.25, serial="89eb9bb9", token="secret")
LATER_INTENT = Intent(id="0" * 32, mac=OTHER_MAC, origin=IntentOrigin.NODE, opened=6.0, reason="caf\u00e9 \udc80")
NODE_CHOICE = ImageChoice(
    scope=Scope.NODE, name=str(MAC), image="lite", who="ada", source="control socket", chosen=1.5e9
)
TAG_CHOICE = ImageChoice(scope=Scope.TAG, name="kiosks", image="kiosk", who="caf\u00e9")
DEFAULT_CHOICE = ImageChoice(scope=Scope.DEFAULT, image="lite")
OPERATION = Operation(
    id="0a1b2c3d",
    action=Action.REINSTALL,
    who="ada",
    source="control socket",
    created=5.0,
    at_most=2,
    image="default",
    reports=(
        TargetReport(target=Target(port=SwitchPort(ADDRESS, 2), mac=MAC, name="pi2", rule="its entry under ports")),
        TargetReport(
            target=Target(port=SwitchPort(ADDRESS, 3)),
            step=Step.FAILED,
            started=6.0,
            off_at=7.5,
            on_at=9.0,
            finished=99.0,
            tries=3,
            dark=True,
            stages=((Phase.POWERED, 9.0), (Phase.OFFERED, 12.0)),
            reason="caf\u00e9",
            remedy="none",
        ),
        TargetReport(target=Target(port=None, mac=OTHER_MAC), step=Step.SWITCHING_OFF, intent="a" * 32),
    ),
)


class _Contract:
    """How a contract gets at its subject; a mixin, so that trial runs it only for real subjects."""

    def make(self) -> Any:
        """A new store, empty."""
        raise NotImplementedError

    def reopened(self) -> Any:
        """What a later process finds."""
        raise NotImplementedError

    def settled(self, deferred: "Deferred[Any]") -> Any:
        """The result of the Deferred."""
        raise NotImplementedError

    def break_down(self) -> Callable[[], object]:
        """Make writing fail; returns what repairs it."""
        raise NotImplementedError


class LeaseStoreMixin(_Contract):
    """The contract of :class:`ILeaseStore`."""

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(ILeaseStore, self.make())

    def test_new(self) -> None:
        """A store that was begun just now says so; what a later process finds is not new."""
        store = self.make()
        self.assertIs(store.is_new, True)
        self.settled(store.commit([LEASE]))
        self.assertIs(self.reopened().is_new, False)

    def test_round_trip(self) -> None:
        """What was committed is what a later process loads, to the last field."""
        store = self.make()
        self.settled(store.commit([LEASE, OTHER_LEASE]))
        self.assertEqual(self.reopened().load_leases(), [OTHER_LEASE, LEASE])

    def test_newest_wins(self) -> None:
        """There is one row for each address; the newest wins, also within one commit."""
        store = self.make()
        newer = attrs.evolve(LEASE, mac=OTHER_MAC, expires=700.0)
        newest = attrs.evolve(LEASE, state=LeaseState.RELEASED, expires=0.0)
        self.settled(store.commit([LEASE]))
        self.settled(store.commit([newer, newest]))
        self.assertEqual(self.reopened().load_leases(), [newest])

    def test_nothing(self) -> None:
        """Committing nothing succeeds, and an empty store has no leases."""
        store = self.make()
        self.assertIsNone(self.settled(store.commit([])))
        self.assertEqual(store.load_leases(), [])

    def test_failure(self) -> None:
        """What cannot be written fails with StoreFailed, is not there, and the next commit works again."""
        store = self.make()
        repair = self.break_down()
        self.assertRaises(StoreFailed, self.settled, store.commit([LEASE]))
        repair()
        self.settled(store.commit([OTHER_LEASE]))
        self.assertEqual(self.reopened().load_leases(), [OTHER_LEASE])


class IntentStoreMixin(_Contract):
    """The contract of :class:`IIntentStore`."""

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(IIntentStore, self.make())

    def test_round_trip(self) -> None:
        """Intents that are not final are loaded, oldest first, to the last field."""
        store = self.make()
        self.settled(store.save_intent(LATER_INTENT))
        self.settled(store.save_intent(INTENT))
        self.assertEqual(self.reopened().load_intents(), [INTENT, LATER_INTENT])

    def test_replaced(self) -> None:
        """A later save of the same intent replaces the earlier one."""
        store = self.make()
        delivered = attrs.evolve(INTENT, state=IntentState.DELIVERED, attempts=2, digest="d" * 64)
        self.settled(store.save_intent(INTENT))
        self.settled(store.save_intent(delivered))
        self.assertEqual(self.reopened().load_intents(), [delivered])

    def test_final(self) -> None:
        """A final intent is not loaded any more."""
        store = self.make()
        for state in IntentState:
            self.settled(store.save_intent(attrs.evolve(INTENT, id=state.value, state=state)))
        found = {intent.state for intent in self.reopened().load_intents()}
        self.assertEqual(found, {IntentState.OPEN, IntentState.ORDERED, IntentState.DELIVERED})

    def test_recalled(self) -> None:
        """One intent is found by its id, final or not; an unknown id is None."""
        store = self.make()
        done = attrs.evolve(INTENT, state=IntentState.FULFILLED)
        self.settled(store.save_intent(done))
        later = self.reopened()
        self.assertEqual((later.load_intent(done.id), later.load_intent("f" * 32)), (done, None))

    def test_failure(self) -> None:
        """What cannot be written fails with StoreFailed, is not there, and the next save works again."""
        store = self.make()
        repair = self.break_down()
        self.assertRaises(StoreFailed, self.settled, store.save_intent(INTENT))
        repair()
        self.settled(store.save_intent(LATER_INTENT))
        self.assertEqual(self.reopened().load_intents(), [LATER_INTENT])


class ImageChoiceStoreMixin(_Contract):
    """The contract of :class:`IImageChoiceStore`."""

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(IImageChoiceStore, self.make())

    def test_round_trip(self) -> None:
        """Choices come back to the last field, in the order of scopes and names."""
        store = self.make()
        self.settled(store.save_image_choices([TAG_CHOICE, NODE_CHOICE], []))
        self.settled(store.save_image_choices([DEFAULT_CHOICE], []))
        self.assertEqual(self.reopened().load_image_choices(), [DEFAULT_CHOICE, NODE_CHOICE, TAG_CHOICE])

    def test_replaced(self) -> None:
        """There is one choice for each key: the newest."""
        store = self.make()
        newer = attrs.evolve(TAG_CHOICE, image="other", who="bob")
        self.settled(store.save_image_choices([TAG_CHOICE], []))
        self.settled(store.save_image_choices([newer], []))
        self.assertEqual(self.reopened().load_image_choices(), [newer])

    def test_withdrawn(self) -> None:
        """What is withdrawn is gone; withdrawing what is not there is no mistake."""
        store = self.make()
        self.settled(store.save_image_choices([TAG_CHOICE, NODE_CHOICE], []))
        self.settled(store.save_image_choices([DEFAULT_CHOICE], [TAG_CHOICE]))
        self.settled(store.save_image_choices([], [TAG_CHOICE]))
        self.assertEqual(self.reopened().load_image_choices(), [DEFAULT_CHOICE, NODE_CHOICE])

    def test_failure(self) -> None:
        """What cannot be written fails with StoreFailed, is not there, and the next save works again."""
        store = self.make()
        repair = self.break_down()
        self.assertRaises(StoreFailed, self.settled, store.save_image_choices([TAG_CHOICE], []))
        repair()
        self.settled(store.save_image_choices([NODE_CHOICE], []))
        self.assertEqual(self.reopened().load_image_choices(), [NODE_CHOICE])


class OperationStoreMixin(_Contract):
    """The contract of :class:`IOperationStore`."""

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(IOperationStore, self.make())

    def test_round_trip(self) -> None:
        """An operation with all its reports comes back to the last field."""
        store = self.make()
        self.settled(store.save_operation(OPERATION, range(3)))
        self.assertEqual(self.reopened().load_operations(0), [OPERATION])

    def test_one_report(self) -> None:
        """Saving one report leaves the others as they were, the head of the operation is the newest."""
        store = self.make()
        self.settled(store.save_operation(OPERATION, range(3)))
        later = attrs.evolve(
            OPERATION.with_report(0, reason="not saved").with_report(2, step=Step.OFF), cancelled_by="bob"
        )
        self.settled(store.save_operation(later, [2]))
        self.assertEqual(
            self.reopened().load_operations(0),
            [attrs.evolve(OPERATION.with_report(2, step=Step.OFF), cancelled_by="bob")],
        )

    def test_final(self) -> None:
        """All that are not final are loaded, and the newest others, oldest first."""
        store = self.make()
        for number in range(5):
            ended = attrs.evolve(OPERATION, id=f"done{number}", created=10.0 + number)
            for index in range(3):
                ended = ended.with_report(index, step=Step.DONE)
            self.settled(store.save_operation(ended, range(3)))
        self.settled(store.save_operation(OPERATION, range(3)))
        found = [operation.id for operation in self.reopened().load_operations(2)]
        self.assertEqual(found, [OPERATION.id, "done3", "done4"])

    def test_failure(self) -> None:
        """What cannot be written fails with StoreFailed and is not there."""
        store = self.make()
        repair = self.break_down()
        self.assertRaises(StoreFailed, self.settled, store.save_operation(OPERATION, range(3)))
        repair()
        self.assertEqual(self.reopened().load_operations(9), [])


class _Memory(_Contract):
    """A fake: its later process is itself."""

    store: Any

    def reopened(self) -> Any:
        """The same store."""
        return self.store

    def settled(self, deferred: "Deferred[Any]") -> Any:
        """Fakes are done at once."""
        failures: list[Any] = []
        deferred.addErrback(failures.append)
        for failure in failures:
            failure.raiseException()
        return self.successResultOf(deferred)

    def break_down(self) -> Callable[[], object]:
        """As on a full disk."""
        self.store.failure = StoreFailed("no space")
        return lambda: setattr(self.store, "failure", None)


class MemoryLeaseStoreTests(_Memory, LeaseStoreMixin, SynchronousTestCase):
    """The fake keeps the contract of lease stores."""

    def make(self) -> Any:
        """A fake."""
        self.store = MemoryLeaseStore()
        return self.store

    def test_held(self) -> None:
        """Commits that are held wait for the flush, which succeeds or fails for all of them."""
        store = self.make()
        store.held = True
        first, second = store.commit([LEASE]), store.commit([OTHER_LEASE])
        self.assertNoResult(first)
        store.flush()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(store.load_leases(), [OTHER_LEASE, LEASE])
        third = store.commit([LEASE])
        store.failure = StoreFailed("no space")
        store.flush()
        self.failureResultOf(third, StoreFailed)


class MemoryIntentStoreTests(_Memory, IntentStoreMixin, SynchronousTestCase):
    """The fake keeps the contract of intent stores."""

    def make(self) -> Any:
        """A fake."""
        self.store = MemoryIntentStore()
        return self.store


class MemoryOperationStoreTests(_Memory, OperationStoreMixin, SynchronousTestCase):
    """The fake keeps the contract of operation stores."""

    def make(self) -> Any:
        """A fake."""
        self.store = MemoryOperationStore()
        return self.store


class MemoryImageChoiceStoreTests(_Memory, ImageChoiceStoreMixin, SynchronousTestCase):
    """The fake keeps the contract of stores of choices."""

    def make(self) -> Any:
        """A fake."""
        self.store = MemoryImageChoiceStore()
        return self.store


class _WallTimed(_Memory):
    """The translation to the host's time, on a host whose clock was set forward by an hour, before a fake."""

    translate: ClassVar[Any]
    fake: ClassVar[Any]

    def make(self) -> Any:
        """A fake behind the translation."""
        self.store = self.fake()
        return self.reopened()

    def reopened(self) -> Any:
        """A translation by the clocks of another moment of the same process."""
        return self.translate(self.store, WallTime(Clock(), lambda: 3600.0))


class WallTimedLeaseStoreTests(_WallTimed, LeaseStoreMixin, SynchronousTestCase):
    """It keeps the contract of lease stores."""

    translate = WallTimedLeases
    fake = MemoryLeaseStore


class WallTimedIntentStoreTests(_WallTimed, IntentStoreMixin, SynchronousTestCase):
    """It keeps the contract of intent stores."""

    translate = WallTimedIntents
    fake = MemoryIntentStore


class WallTimedOperationStoreTests(_WallTimed, OperationStoreMixin, SynchronousTestCase):
    """It keeps the contract of operation stores."""

    translate = WallTimedOperations
    fake = MemoryOperationStore


class WallTimedImageChoiceStoreTests(_WallTimed, ImageChoiceStoreMixin, SynchronousTestCase):
    """It keeps the contract of stores of choices."""

    translate = WallTimedImageChoices
    fake = MemoryImageChoiceStore


class _OnDisk(_Contract):
    """The real one, in a file."""

    def make(self) -> StateStore:
        """A store in a new file."""
        self.path = Path(self.mktemp()) / "state.db"
        return self._opened()

    def _opened(self) -> StateStore:
        self.clock = ThreadedClock()
        self.store = StateStore(self.path, reactor=self.clock)
        self.assertIsNone(self.store.open())
        self.addCleanup(lambda clock, store: clock.wait(store.close()), self.clock, self.store)
        return self.store

    def reopened(self) -> StateStore:
        """What a store finds that opens the file after this one was closed."""
        self.clock.wait(self.store.close())
        return self._opened()

    def settled(self, deferred: "Deferred[Any]") -> Any:
        """Wait for the writer thread."""
        return self.clock.wait(deferred)

    def break_down(self) -> Callable[[], object]:
        """Another process holds the write lock, and the store is told not to wait for it."""
        self.clock.wait(self.store.database.submit(lambda file: file.execute("PRAGMA busy_timeout = 0") and None))
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        return other.close


class StateStoreLeaseTests(_OnDisk, LeaseStoreMixin, SynchronousTestCase):
    """The file keeps the contract of lease stores."""


class StateStoreIntentTests(_OnDisk, IntentStoreMixin, SynchronousTestCase):
    """The file keeps the contract of intent stores."""


class StateStoreOperationTests(_OnDisk, OperationStoreMixin, SynchronousTestCase):
    """The file keeps the contract of operation stores."""


class StateStoreImageChoiceTests(_OnDisk, ImageChoiceStoreMixin, SynchronousTestCase):
    """The file keeps the contract of stores of choices."""
