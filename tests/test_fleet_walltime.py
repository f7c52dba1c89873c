"""
Two clocks: what is kept in the process's time, what is stored in the host's, and what is said of a step.
"""

from ipaddress import IPv4Address
from typing import Any, get_args, get_origin, get_type_hints

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import model
from piman.fleet.clock_steps import LOOK_SECONDS, STEP_SECONDS, ClockSteps
from piman.fleet.events import AddressLeased, BootOrdered, ClockStepped, Recorded, event_classes
from piman.fleet.model import (
    Intent,
    IntentOrigin,
    Lease,
    LeaseState,
    Moment,
    NodeStatus,
    Phase,
    Stage,
    SwitchPort,
)
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations import orders
from piman.fleet.operations.book import Operations
from piman.fleet.operations.orders import Action, Operation, Step, TargetReport
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.targets import Atlas, Target
from piman.fleet.state.intents import IntentBook
from piman.fleet.state.lease_writer import LeaseWriter
from piman.fleet.state.leases import LONGEST_SECONDS, LeaseTable
from piman.fleet.state.records import as_plain, from_plain
from piman.fleet.walltime import NOISE_SECONDS, WallTime, WallTimedIntents, WallTimedLeases, WallTimedOperations, moved
from piman.testing.fakes import (
    CapturedEvents,
    MemoryDirectory,
    MemoryIntentStore,
    MemoryLeaseStore,
    MemoryOperationStore,
)
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC

START = 1_750_000_000.0
HOUR = 3600.0

STATUS = NodeStatus(
    mac=MAC,
    phase=Phase.LEASED,
    since=20.0,
    last_seen=21.0,
    timeline=((Phase.OFFERED, 19.0), (Phase.LEASED, 20.0)),
    detail="has an address",
)
LEASE = Lease(address=ADDRESS, mac=MAC, state=LeaseState.BOUND, expires=600.0, stage=Stage.ROM)
INTENT = Intent(id="a" * 32, mac=MAC, origin=IntentOrigin.OPERATOR, opened=5.0, changed=7.0)
REPORT = TargetReport(
    target=Target(port=SwitchPort(ADDRESS, 2), mac=MAC), off_at=3.0, on_at=8.0, stages=((Phase.OFFERED, 9.0),)
)
OPERATION = Operation(id="0a1b2c3d", action=Action.RESTART, created=2.0, reports=(REPORT,))


class TwoClocks:
    """The process's clock, and the host's, which can be stepped."""

    def __init__(self, beginning: float = START) -> None:
        self.process = Clock()
        self.process.advance(beginning)
        self.ahead = 0.0
        self.wall = WallTime(self.process, lambda: self.process.seconds() + self.ahead)

    def restarted(self) -> "TwoClocks":
        """The clocks of the next process: it begins with the host's time."""
        return TwoClocks(self.wall.now())


class MovedTests(SynchronousTestCase):
    """All moments of a value, and nothing else."""

    def test_status(self) -> None:
        """Moments in fields and in tuples are moved; a moment that never was stays."""
        expected = attrs.evolve(
            STATUS, since=120.0, last_seen=121.0, timeline=((Phase.OFFERED, 119.0), (Phase.LEASED, 120.0))
        )
        self.assertEqual(moved(STATUS, 100.0), expected)
        self.assertEqual(expected.boot_started, 0.0)

    def test_operation(self) -> None:
        """Reports inside an operation are moved with it."""
        expected = attrs.evolve(
            OPERATION,
            created=102.0,
            reports=(attrs.evolve(REPORT, off_at=103.0, on_at=108.0, stages=((Phase.OFFERED, 109.0),)),),
        )
        self.assertEqual(moved(OPERATION, 100.0), expected)

    def test_event(self) -> None:
        """The stamp of an event and the moments in the event itself are moved; intervals are not."""
        leased = AddressLeased(mac=MAC, address=ADDRESS, stage=Stage.ROM, expires=700.0)
        recorded = moved(Recorded(id=1, time=100.0, event=leased), -50.0)
        self.assertEqual(recorded, Recorded(id=1, time=50.0, event=attrs.evolve(leased, expires=650.0)))
        stepped = Recorded(id=2, time=100.0, event=ClockStepped(seconds=8.0))
        self.assertEqual(moved(stepped, 1.0), attrs.evolve(stepped, time=101.0))

    def test_same_object(self) -> None:
        """What holds no moments, or is not moved at all, costs no copy."""
        event = BootOrdered(mac=MAC)
        self.assertIs(moved(event, 5.0), event)
        self.assertIs(moved(STATUS, 0.0), STATUS)

    @given(st.sampled_from([STATUS, LEASE, INTENT, OPERATION]), st.integers(-(10**6), 10**6))
    def test_there_and_back(self, value: Any, seconds: int) -> None:
        """Moving back undoes moving."""
        far = moved(moved(value, 1e9), float(seconds))
        self.assertEqual(moved(moved(far, -float(seconds)), -1e9), value)

    def test_every_moment_is_marked(self) -> None:
        """No plain float of a stored class is a moment: each is one of those that are known to be something else."""
        kinds = [one for module in (model, orders) for one in vars(module).values() if attrs.has(one)]
        kinds += [Recorded, *event_classes().values()]
        plain = {
            f"{kind.__name__}.{name}"
            for kind in kinds
            for name, annotation in get_type_hints(kind, include_extras=True).items()
            if _has_float(annotation)
        }
        lasting = {name for name in plain if name.endswith("seconds")}
        measured = {"InstallerReported.fraction", "PortPower.watts", "PowerBudget.total_watts"}
        self.assertEqual(plain - lasting, measured | {"PowerBudget.used_watts"})
        self.assertGreater(len(lasting), 2)

    def test_records(self) -> None:
        """A moment is written and read like any number."""
        self.assertEqual(from_plain(NodeStatus, as_plain(STATUS)), STATUS)


def _has_float(annotation: Any) -> bool:
    if annotation == Moment or get_origin(annotation) is type:
        return False
    return annotation is float or any(_has_float(one) for one in get_args(annotation))


class WallTimeTests(SynchronousTestCase):
    """The border."""

    def test_no_step(self) -> None:
        """While nobody steps the clock, values pass as they are, though the two clocks are never read at once."""
        clocks = TwoClocks()
        clocks.ahead = NOISE_SECONDS / 2
        self.assertIs(clocks.wall.to_wall(STATUS), STATUS)
        self.assertEqual(clocks.wall.ahead, 0.0)

    def test_step(self) -> None:
        """After a step values are translated by all of it, there and back, and back again when it is undone."""
        clocks = TwoClocks()
        for step in (-HOUR, HOUR, 0.25):
            clocks.ahead = step
            self.assertEqual(clocks.wall.to_wall(LEASE).expires, 600.0 + step)
            self.assertEqual(clocks.wall.from_wall(clocks.wall.to_wall(LEASE)), LEASE)
            self.assertEqual(clocks.wall.moment_to_wall(600.0), 600.0 + step)
        clocks.ahead = 0.0
        self.assertIs(clocks.wall.to_wall(LEASE), LEASE)

    def test_steady(self) -> None:
        """Reading noise does not make two translations differ."""
        clocks = TwoClocks()
        clocks.ahead = HOUR
        first = clocks.wall.ahead
        clocks.ahead = HOUR + NOISE_SECONDS / 2
        self.assertEqual(clocks.wall.ahead, first)

    def test_one_clock(self) -> None:
        """Without a host's clock there is but one."""
        clock = Clock()
        clock.advance(7.0)
        self.assertEqual((WallTime(clock).now(), WallTime(clock).ahead), (7.0, 0.0))


class StoresTests(SynchronousTestCase):
    """What is on disk is the host's time, so that the next process finds the same moments."""

    def test_leases(self) -> None:
        """A lease has as long to go after a restart as before it, whatever was done to the clock."""
        for step in (-HOUR, HOUR, 40 * 365 * 24 * HOUR):
            clocks, store = TwoClocks(), MemoryLeaseStore()
            table = LeaseTable(clocks.process, nodes=MemoryDirectory())
            writer = LeaseWriter(clocks.process, leases=table, store=WallTimedLeases(store, clocks.wall))
            clocks.ahead = step
            writer.commit(table.bind(MAC, ADDRESS, stage=Stage.EEPROM), lambda: None)
            self.assertEqual(store.leases[ADDRESS].expires, START + step + 600.0)
            clocks.process.advance(200.0)
            later = clocks.restarted()
            table = LeaseTable(later.process, nodes=MemoryDirectory())
            LeaseWriter(later.process, leases=table, store=WallTimedLeases(store, later.wall)).load()
            later.process.advance(399.0)
            self.assertEqual(table.holder_of(ADDRESS), MAC)
            later.process.advance(2.0)
            self.assertIsNone(table.holder_of(ADDRESS))

    def test_lease_of_another_age(self) -> None:
        """A computer that starts in 1970 does not keep the leases of its last run for half a century."""
        clocks = TwoClocks(beginning=100.0)
        table = LeaseTable(clocks.process, nodes=MemoryDirectory())
        longest = attrs.evolve(LEASE, address=IPv4Address("172.30.4.9"), mac=OTHER_MAC, expires=100.0 + LONGEST_SECONDS)
        table.restore([attrs.evolve(LEASE, expires=START), longest])
        self.assertEqual(table.holder_of(ADDRESS), MAC)
        clocks.process.advance(901.0)
        self.assertIsNone(table.holder_of(ADDRESS))
        self.assertEqual(table.holder_of(longest.address), OTHER_MAC)

    def test_intents(self) -> None:
        """An operator's intent waits for an hour of time that passes, and for the rest of it after a restart."""
        for step in (-HOUR, HOUR):
            clocks, store, events = TwoClocks(), MemoryIntentStore(), CapturedEvents()
            book = IntentBook(WallTimedIntents(store, clocks.wall), clocks.process, events)
            book.open_intent(MAC, IntentOrigin.OPERATOR, "default")
            clocks.ahead = step
            clocks.process.advance(1800.0)
            self.assertEqual(len(book.living()), 1)
            book.open_intent(MAC, IntentOrigin.NODE, "default")
            [stored] = store.intents.values()
            self.assertEqual(stored.opened, START + step)
            self.assertEqual(WallTimedIntents(store, clocks.wall).load_intent(stored.id), book.current(MAC))
            self.assertIsNone(WallTimedIntents(store, clocks.wall).load_intent("b" * 32))
            later = clocks.restarted()
            book = IntentBook(WallTimedIntents(store, later.wall), later.process, events)
            book.load()
            later.process.advance(1799.0)
            self.assertEqual(len(book.living()), 1)
            later.process.advance(2.0)
            self.assertEqual(book.living(), ())

    def test_operations(self) -> None:
        """An operation and its reports are stored in the host's time and come back in the process's."""
        clocks, store = TwoClocks(), MemoryOperationStore()
        clocks.ahead = HOUR
        outside = WallTimedOperations(store, clocks.wall)
        outside.save_operation(OPERATION, [0])
        self.assertEqual(store.operations[OPERATION.id].reports[0].off_at, 3.0 + HOUR)
        self.assertEqual(outside.load_operations(5), [OPERATION])
        done = OPERATION.with_report(0, step=Step.DONE, finished=50.0)
        outside.save_operation(done, [0])
        self.assertEqual(outside.load_operations(5), [done])


def _fail() -> None:
    raise ZeroDivisionError


class ClockStepsTests(SynchronousTestCase):
    """What is said of a step."""

    def setUp(self) -> None:
        """Somebody looks."""
        self.clocks, self.events = TwoClocks(), CapturedEvents()
        self.steps = ClockSteps(self.clocks.process, self.clocks.wall, self.events)
        self.steps.begin()

    def after(self, ahead: float) -> list[float]:
        """What was said once the host's clock is so much before the process's."""
        self.events.events.clear()
        self.clocks.ahead = ahead
        for _ in range(3):
            self.clocks.process.advance(LOOK_SECONDS)
        return [event.seconds for event in self.events.events if isinstance(event, ClockStepped)]

    def test_steps(self) -> None:
        """Each step is said once, by how much it was; no step, or a small one, is not."""
        for ahead, said in ((0.0, []), (-HOUR, [-HOUR]), (STEP_SECONDS - HOUR, []), (HOUR, [2 * HOUR]), (0.0, [-HOUR])):
            self.assertEqual(self.after(ahead), said)

    def test_small_steps_add_up(self) -> None:
        """Small steps are said when they come to a large one."""
        self.assertEqual([self.after(2.0 * number) for number in range(1, 4)], [[], [4.0], []])

    def test_written_anew(self) -> None:
        """What is on disk from before a step is written anew, so that the next process understands it."""
        leases, intents, operations = MemoryLeaseStore(), MemoryIntentStore(), MemoryOperationStore()
        table = LeaseTable(self.clocks.process, nodes=MemoryDirectory())
        writer = LeaseWriter(self.clocks.process, leases=table, store=WallTimedLeases(leases, self.clocks.wall))
        writer.commit(table.bind(MAC, ADDRESS, stage=Stage.EEPROM), lambda: None)
        book = IntentBook(WallTimedIntents(intents, self.clocks.wall), self.clocks.process, self.events)
        book.open_intent(MAC, IntentOrigin.OPERATOR, "default")
        registry = NodeRegistry()
        registry.restore([attrs.evolve(STATUS, last_event_id=7)])
        orders = self.book_of_operations(WallTimedOperations(operations, self.clocks.wall), book, registry)
        parts = (_fail, table.write_anew, book.write_anew, registry.write_anew, orders.write_anew)
        steps = ClockSteps(self.clocks.process, self.clocks.wall, self.events, write_anew=parts)
        steps.begin()
        self.clocks.process.advance(HOUR / 10)
        self.assertEqual(registry.take_changed(), [])
        self.clocks.ahead = -HOUR
        self.clocks.process.advance(LOOK_SECONDS)
        writer.save_changes()
        self.assertEqual(leases.leases[ADDRESS].expires, START + 600.0 - HOUR)
        self.assertEqual([intent.opened for intent in intents.intents.values()], [START - HOUR])
        self.assertEqual([status.mac for status in registry.take_changed()], [MAC])
        self.assertEqual(operations.operations[OPERATION.id].created, 2.0 - HOUR)
        self.assertEqual(operations.operations[OPERATION.id].reports[0].off_at, 3.0 - HOUR)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def book_of_operations(
        self, store: WallTimedOperations, intents: IntentBook, nodes: NodeRegistry
    ) -> Operations:
        """With one operation of an earlier process, which nobody goes on with."""
        store.save_operation(OPERATION, [0])
        found = Operations(
            self.clocks.process,
            desk=PowerDesk(self.clocks.process, {}),
            atlas=lambda: Atlas((), ()),
            nodes=nodes,
            store=store,
            intents=intents,
            events=self.events,
        )
        found.load()
        return found

    def test_end(self) -> None:
        """Nothing is left over, ended twice or not."""
        self.steps.end()
        self.steps.end()
        self.assertEqual(self.clocks.process.getDelayedCalls(), [])
