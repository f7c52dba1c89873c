"""
Operations in virtual time: switches and nodes in memory, every step on disk before it is taken.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import events
from piman.fleet.casebook import Casebook
from piman.fleet.eventlog import EventLog
from piman.fleet.events import Event
from piman.fleet.interfaces import PowerRefused, PowerUnreachable, StoreFailed
from piman.fleet.model import IntentState, MACAddress, Node, Phase, Stage, SwitchPort
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations, OperationSettings
from piman.fleet.operations.orders import Action, Operation, Step
from piman.fleet.operations.planning import OperationRefused
from piman.fleet.operations.power import PowerDesk, PowerPolicy
from piman.fleet.operations.targets import Atlas, BadTargets, Place
from piman.fleet.state.intents import IntentBook
from piman.testing.fakes import MemoryIntentStore, MemoryOperationStore
from piman.testing.power import MemoryPowerSwitch

RACK = IPv4Address("172.30.4.254")
NAMES = [f"pi{number}" for number in range(1, 9)]
MACS = [MACAddress(bytes.fromhex("b827eb0000") + bytes([number])) for number in range(1, 9)]
NODES = tuple(
    Node(mac=mac, hostname=name, address=IPv4Address(f"172.30.4.{port}"), port=SwitchPort(RACK, port))
    for port, (mac, name) in enumerate(zip(MACS, NAMES, strict=True), start=1)
)
UP_SECONDS = 30.0
"""From power to an answering agent."""
RETRY_SECONDS = 2.0
Story = tuple[tuple[float, Callable[[MACAddress], None]], ...]


class Rack:
    """
    Eight nodes on one switch, and the manager's half that operates them.

    :ivar dead: ports whose node never asks for an address; counted down at each power-on when it is a number.
    """

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_750_000_000)
        self.switch = MemoryPowerSwitch(range(1, 11), changed=self._power_changed, label="rack-a")
        self.dead: dict[int, int] = {}
        self.formats = False
        self.recorded: list[Event] = []
        self.operation_store, self.intent_store = MemoryOperationStore(), MemoryIntentStore()
        self._settings = settings
        self._calls: dict[int, list[Any]] = {}
        self.is_alive = False
        self.start()

    def start(self) -> None:
        """A process with the files of the one before."""
        self.is_alive = True
        self.registry = NodeRegistry(NODES)
        self.log = EventLog(self.clock, first_id=len(self.recorded) + 1)
        self.intents = IntentBook(self.intent_store, self.clock, self.log)
        self.intents.load()
        places = (Place(address=RACK, label="rack-a", protected_ports=frozenset({10})),)
        self.casebook = Casebook(self.clock, nodes=self.registry)
        self.book = Operations(
            self.clock,
            desk=PowerDesk(self.clock, {RACK: self.switch}, PowerPolicy()),
            atlas=lambda: Atlas(places=places, nodes=NODES),
            nodes=self.registry,
            store=self.operation_store,
            intents=self.intents,
            events=self.log,
            explain=self.casebook.explain,
            is_stuck=self.casebook.is_stuck,
            settings=OperationSettings(**self._settings),
        )
        self.log.add_observer(self.registry)
        self.log.add_observer(self.casebook)
        self.log.add_observer(self.book)
        self.log.add_observer(self)
        self.book.load()

    def observe(self, recorded: events.Recorded) -> None:
        """Remember every event."""
        self.recorded.append(recorded.event)

    # Nodes

    def _power_changed(self, port: int, on: bool) -> None:
        for call in self._calls.pop(port, []):
            if call.active():
                call.cancel()
        if on and port <= len(MACS) and not self._is_dead(port):
            self._next(port, ((5, self._asks), (5, self._starts), (5, self._calls_home), (15, self._is_up)))

    def _next(self, port: int, story: Story) -> None:
        """After its first pause the first step of the story; without a manager the node asks again and again."""
        if story:
            self._calls[port] = [self.clock.callLater(story[0][0], self._live, port, story)]

    def _live(self, port: int, story: Story) -> None:
        if not self.is_alive:
            self._next(port, ((RETRY_SECONDS, story[0][1]), *story[1:]))
            return
        story[0][1](MACS[port - 1])
        self._next(port, story[1:])

    def _is_dead(self, port: int) -> bool:
        left = self.dead.get(port, 0)
        self.dead[port] = left - 1
        return left > 0

    def _asks(self, mac: MACAddress) -> None:
        self.log.emit(events.AddressOffered(mac=mac, address=IPv4Address("172.30.4.9"), stage=Stage.EEPROM))

    def _starts(self, mac: MACAddress) -> None:
        address = IPv4Address("172.30.4.9")
        self.log.emit(events.AddressLeased(mac=mac, address=address, stage=Stage.KERNEL, expires=0.0))

    def _calls_home(self, mac: MACAddress) -> None:
        """Its installer asks what to do: an open intent is ordered, delivered and fulfilled at once."""
        intent = self.intents.current(mac)
        if intent is None:
            self.log.emit(events.BootOrdered(mac=mac))
            return
        for step in (lambda it: self.intents.order(it, "digest"), self.intents.deliver, self.intents.fulfil):
            intent = result(step(intent))

    def _is_up(self, mac: MACAddress) -> None:
        self.log.emit(events.NodeUp(mac=mac, evidence="agent"))

    # The operator

    def order(self, action: Action, *words: str, yes: bool = False, **wishes: Any) -> Operation:
        """Plan and begin."""
        plan = result(Deferred.fromCoroutine(self.book.plan(action, words, **wishes)))
        begun = Deferred.fromCoroutine(self.book.begin(plan, who="ada", source="test", yes=yes))
        operation: Operation = result(begun)
        return operation

    def order_slowly(self, action: Action, *words: str) -> Operation:
        """The same, where beginning takes its time."""
        plan = result(Deferred.fromCoroutine(self.book.plan(action, words)))
        begun = Deferred.fromCoroutine(self.book.begin(plan, who="ada", source="test"))
        self.run(1)
        operation: Operation = result(begun)
        return operation

    def run(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(step)

    def kill(self) -> None:
        """SIGKILL: nothing that waited happens; the nodes do not care."""
        self.is_alive = False
        nodes = [call for calls in self._calls.values() for call in calls]
        for call in list(self.clock.getDelayedCalls()):
            if call not in nodes:
                call.cancel()

    def now(self, operation: Operation) -> Operation:
        """The operation as it is by now."""
        found = self.book.operation(operation.id)
        assert found is not None
        return found

    def all_on(self) -> bool:
        """Whether every port gives power."""
        return all(self.switch.delivering(port) for port in self.switch.on)


def result(deferred: "Deferred[Any]") -> Any:
    """What a Deferred that has fired gave."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    if not results:
        raise AssertionError("it has not fired")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


class _InRack(SynchronousTestCase):
    def setUp(self) -> None:
        """A rack whose nodes are well."""
        self.rack = Rack()

    def steps(self, operation: Operation) -> list[Step]:
        """How far it is with each target."""
        return [report.step for report in self.rack.now(operation).reports]


class SlowStore(MemoryOperationStore):
    """A store whose disk takes half a second."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def save_operation(self, operation: Operation, indexes: Sequence[int]) -> "Deferred[None]":
        """Keep it, and say so later."""
        return super().save_operation(operation, indexes).addCallback(lambda _: deferLater(self._clock, 0.5))


class RestartTests(_InRack):
    """``restart``."""

    def test_back(self) -> None:
        """Power is taken, then given; the report names the stages with their times, and the operation ends."""
        operation = self.rack.order(Action.RESTART, "rack-a", "2", "3")
        self.rack.run(60)
        ended = self.rack.now(operation)
        self.assertEqual(self.steps(operation), [Step.DONE, Step.DONE])
        self.assertEqual(
            [phase for phase, _ in ended.reports[0].stages],
            [Phase.POWERED, Phase.OFFERED, Phase.STARTING, Phase.BOOTING, Phase.UP],
        )
        self.assertApproximates(ended.reports[0].seconds, 5 + UP_SECONDS, 2)
        self.assertTrue(ended.finished)
        kinds = [type(event) for event in self.rack.recorded if event.mac in (None, MACS[1])]
        self.assertEqual(kinds[0], events.OperationStarted)
        self.assertEqual(kinds[-1], events.OperationEnded)
        self.assertLess(kinds.index(events.PowerRemoved), kinds.index(events.PowerCycled))

    def test_up_while_the_disk_writes(self) -> None:
        """A node that is up while its last stage is being written down is seen to be, at once."""
        self.rack.kill()
        self.rack.operation_store = SlowStore(self.rack.clock)
        self.rack.dead[2] = 99
        self.rack.start()
        operation = self.rack.order_slowly(Action.RESTART, "pi2")
        self.rack.run(15)
        self.assertEqual(self.steps(operation), [Step.FOLLOWING])
        self.rack._asks(MACS[1])
        self.rack._is_up(MACS[1])
        self.rack.run(5)
        report = self.rack.now(operation).reports[0]
        self.assertEqual((report.step, report.stages[-1][0]), (Step.DONE, Phase.UP))

    def test_end_told_once(self) -> None:
        """Two nodes are back in the same moment, while the disk writes: the end of the operation is told once."""
        self.rack.kill()
        self.rack.operation_store = SlowStore(self.rack.clock)
        self.rack.dead |= {2: 99, 3: 99}
        self.rack.start()
        operation = self.rack.order_slowly(Action.RESTART, "rack-a", "2", "3")
        self.rack.run(15)
        for happens in (self.rack._asks, self.rack._is_up):
            happens(MACS[1])
            happens(MACS[2])
        self.rack.run(5)
        self.assertEqual(self.steps(operation), [Step.DONE, Step.DONE])
        ends = [event for event in self.rack.recorded if isinstance(event, events.OperationEnded)]
        self.assertEqual(len(ends), 1)

    def test_dark_long_enough(self) -> None:
        """Between off and on lie the seconds of the policy, and ports of one switch are given power one by one."""
        self.rack.order(Action.RESTART, "rack-a", "1-3")
        self.rack.run(60)
        cycled = [event for event in self.rack.recorded if isinstance(event, events.PowerCycled)]
        self.assertEqual(len(cycled), 3)
        self.assertGreaterEqual(min(event.dark_seconds for event in cycled), 5.0)
        self.assertGreaterEqual(max(event.dark_seconds for event in cycled), 7.0)

    def test_cycled_again(self) -> None:
        """A node that does not ask for an address is cycled once more, and the report counts it."""
        self.rack.dead[2] = 1
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(180)
        report = self.rack.now(operation).reports[0]
        self.assertEqual((report.step, report.tries), (Step.DONE, 2))

    def test_asks_for_ever(self) -> None:
        """A board that asks for an address again and again and takes none is given up like one that is silent."""

        def ask() -> None:
            self.rack._asks(MACS[1])
            self.rack.clock.callLater(7, ask)

        self.rack.dead[2] = 100
        operation = self.rack.order(Action.RESTART, "rack-a", "2")
        self.rack.run(10)
        ask()
        self.rack.run(55)
        self.assertEqual(self.steps(operation), [Step.FOLLOWING])
        self.rack.run(600)
        [report] = self.rack.now(operation).reports
        self.assertEqual((report.step, report.tries), (Step.FAILED, self.rack.book.settings.tries))
        self.assertIn("and did not take it", report.reason)
        self.assertIn("DHCP snooping", report.remedy)

    def test_given_up(self) -> None:
        """After the third cycle the node is given up with a reason; its port is on, others are done."""
        self.rack.dead[2] = 99
        operation = self.rack.order(Action.RESTART, "pi2", "pi3")
        self.rack.run(400)
        report = self.rack.now(operation).reports[0]
        self.assertEqual((report.step, report.tries), (Step.FAILED, 3))
        self.assertIn("after 3 power cycles", report.reason)
        self.assertEqual(self.steps(operation)[1], Step.DONE)
        self.assertTrue(self.rack.all_on())

    def test_second_supply(self) -> None:
        """A node that runs on while its port is off was not restarted, and that is what is said."""
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.dead[2] = 99
        self.rack.run(10)
        self.rack._is_up(MACS[1])
        self.rack.run(120)
        report = self.rack.now(operation).reports[0]
        self.assertEqual(report.step, Step.FAILED)
        self.assertIn("never stopped running", report.reason)

    def test_deaf_port(self) -> None:
        """A switch that accepts the order and does nothing: failed, the port named, and it was ordered on again."""
        self.rack.switch.deaf.add(2)
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(120)
        report = self.rack.now(operation).reports[0]
        self.assertEqual(report.step, Step.FAILED)
        self.assertIn("port 2", report.reason)
        self.assertTrue(report.remedy)
        self.assertEqual(self.rack.switch.orders[-1], ("on", 2))

    def test_goes_on_delivering(self) -> None:
        """A port that says off and delivers is found out, and left on."""
        self.rack.switch.stuck.add(2)
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(120)
        self.assertIn("goes on delivering", self.rack.now(operation).reports[0].reason)
        self.assertTrue(self.rack.switch.on[2])

    def test_unreachable_between_off_and_on(self) -> None:
        """A switch that dies while a port is off: the report says so, and power comes as soon as it answers again."""
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(3)
        self.rack.switch.failure = PowerUnreachable("rack-a does not answer.", "Look after it.")
        self.rack.run(300)
        report = self.rack.now(operation).reports[0]
        self.assertEqual((report.step, report.dark), (Step.FAILED, True))
        self.assertIn("switched on as soon as", report.reason)
        self.rack.switch.failure = None
        self.rack.run(70)
        self.assertTrue(self.rack.all_on())
        self.assertFalse(self.rack.now(operation).reports[0].dark)

    def test_refused(self) -> None:
        """A switch that refuses and has done nothing: failed at once, the port is not called dark nor ordered on."""
        refused = PowerRefused("rack-a port 2: we may only read there.", "Give piman a community that may write.")
        refused.nothing_done = True
        self.rack.switch.failure = refused
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(1)
        report = self.rack.now(operation).reports[0]
        self.assertEqual((report.step, report.reason, report.dark), (Step.FAILED, refused.reason, False))
        self.assertEqual(self.rack.switch.orders, [("off", 2)])

    def test_refused_after_a_restart_of_the_manager(self) -> None:
        """What an earlier process has done of it nobody knows: then the port is ordered on all the same."""
        self.rack.switch.failure = PowerUnreachable("rack-a does not answer.", "Look after it.")
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(2)
        self.assertEqual(self.steps(operation), [Step.SWITCHING_OFF])
        self.rack.kill()
        refused = PowerRefused("rack-a port 2: we may only read there.", "Give piman a community that may write.")
        refused.nothing_done = True
        self.rack.switch.failure = refused
        self.rack.switch.orders.clear()
        self.rack.start()
        self.rack.book.resume()
        self.rack.run(5)
        report = self.rack.now(operation).reports[0]
        self.assertEqual((report.step, report.dark), (Step.FAILED, True))
        self.assertEqual(self.rack.switch.orders[:2], [("off", 2), ("on", 2)])

    def test_dark_port_after_a_restart_of_the_manager(self) -> None:
        """A port left dark by an unreachable switch is switched on by the next process, too."""
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(3)
        self.rack.switch.failure = PowerUnreachable("rack-a does not answer.", "Look after it.")
        self.rack.run(300)
        self.rack.kill()
        self.rack.switch.failure = None
        self.rack.start()
        self.rack.book.resume()
        self.rack.run(5)
        self.assertTrue(self.rack.all_on())
        self.assertEqual(self.steps(operation), [Step.FAILED])

    def test_unmapped_port(self) -> None:
        """A port that leads to nobody is switched; whatever the switch sees there afterwards is followed."""
        operation = self.rack.order(Action.RESTART, "rack-a", "9")
        self.rack.run(10)
        stranger = MACAddress.parse("b8:27:eb:00:00:99")
        self.rack.switch.macs[9] = {stranger}
        self.rack.log.emit(events.StrangerSeen(mac=stranger, stage=Stage.ROM))
        self.rack.run(20)
        self.assertEqual(self.rack.now(operation).reports[0].target.mac, stranger)

    def test_unmapped_and_empty(self) -> None:
        """Where no board appears the port was switched, and the answer says that nothing could be followed."""
        operation = self.rack.order(Action.RESTART, "rack-a", "9")
        self.rack.run(90)
        report = self.rack.now(operation).reports[0]
        self.assertEqual(report.step, Step.DONE)
        self.assertIn("no board is known there", report.reason)


class ReinstallTests(_InRack):
    """``reinstall``."""

    def test_installed_once(self) -> None:
        """The intent is on disk before the power goes; done means installed and up."""
        operation = self.rack.order(Action.REINSTALL, "pi2")
        (intent,) = self.rack.intent_store.intents.values()
        self.assertEqual(intent.state, IntentState.OPEN)
        self.assertEqual(self.rack.switch.orders, [("off", 2)])
        self.rack.run(60)
        self.assertEqual(self.steps(operation), [Step.DONE])
        self.assertEqual(sum(isinstance(event, events.Installed) for event in self.rack.recorded), 1)

    def test_power_fails(self) -> None:
        """When the power cannot be cycled the intent ends too: nothing is formatted by surprise later."""
        self.rack.switch.deaf.add(2)
        self.rack.order(Action.REINSTALL, "pi2")
        self.rack.run(120)
        (intent,) = self.rack.intent_store.intents.values()
        self.assertEqual(intent.state, IntentState.FAILED)

    def test_installation_fails(self) -> None:
        """An intent that fails while the node is followed is the target's failure, with its reason."""
        operation = self.rack.order(Action.REINSTALL, "pi2")
        self.rack.run(8)
        intent = self.rack.intents.current(MACS[1])
        assert intent is not None
        result(self.rack.intents.fail(intent, "the card is too small"))
        self.rack.run(1)
        report = self.rack.now(operation).reports[0]
        self.assertEqual(report.step, Step.FAILED)
        self.assertIn("the card is too small", report.reason)

    def test_unknown_board(self) -> None:
        """Only a configured node can be installed; nothing is switched otherwise."""
        with self.assertRaisesRegex(OperationRefused, "no configured node"):
            self.rack.order(Action.REINSTALL, "rack-a", "9")
        self.assertEqual(self.rack.switch.orders, [])


class PowerTests(_InRack):
    """``power-on`` and ``power-off``."""

    def test_off_stays_off(self) -> None:
        """Off is done when the port delivers nothing, and no later process switches it on."""
        operation = self.rack.order(Action.POWER_OFF, "pi2")
        self.rack.run(3)
        self.assertEqual(self.steps(operation), [Step.DONE])
        self.rack.kill()
        self.rack.start()
        self.rack.book.resume()
        self.rack.run(60)
        self.assertFalse(self.rack.switch.on[2])
        self.assertEqual(self.rack.registry.status(MACS[1]).phase, Phase.UNKNOWN)

    def test_on(self) -> None:
        """On is done when the node is up."""
        self.rack.order(Action.POWER_OFF, "pi2")
        self.rack.run(3)
        operation = self.rack.order(Action.POWER_ON, "pi2")
        self.rack.run(10)
        self.assertEqual(self.steps(operation), [Step.FOLLOWING])
        self.rack.run(30)
        self.assertEqual(self.steps(operation), [Step.DONE])

    def test_on_already(self) -> None:
        """A port that has power is done at once, and says so."""
        operation = self.rack.order(Action.POWER_ON, "pi2")
        self.rack.run(1)
        self.assertIn("had power already", self.rack.now(operation).reports[0].reason)


class RefusalTests(_InRack):
    """What is not begun."""

    def test_too_many(self) -> None:
        """More nodes than max_blast need a yes; nothing is switched before."""
        rack = Rack(max_blast=3)
        with self.assertRaisesRegex(OperationRefused, "max_blast"):
            rack.order(Action.RESTART, "all")
        self.assertEqual(rack.switch.orders, [])
        self.assertEqual(len(rack.order(Action.RESTART, "all", yes=True).reports), 8)

    def test_busy(self) -> None:
        """A node that is in an operation is in no second one; the answer names the first."""
        operation = self.rack.order(Action.RESTART, "pi2")
        with self.assertRaisesRegex(OperationRefused, operation.id):
            self.rack.order(Action.POWER_OFF, "pi1", "pi2")
        self.assertEqual(len(self.rack.book.operations()), 1)

    def test_bad_words(self) -> None:
        """Words that name nothing cost nothing."""
        with self.assertRaises(BadTargets):
            self.rack.order(Action.RESTART, "pi99")
        with self.assertRaises(BadTargets):
            self.rack.order(Action.RESTART, "rack-a", "10")
        self.assertEqual(self.rack.switch.orders, [])

    def test_full_disk(self) -> None:
        """What cannot be written is not begun."""
        self.rack.operation_store.failure = StoreFailed("no space")
        with self.assertRaises(StoreFailed):
            self.rack.order(Action.RESTART, "pi2")
        self.assertEqual((self.rack.switch.orders, self.rack.book.operations()), ([], []))

    def test_disk_fills_up(self) -> None:
        """A step that cannot be written is not taken: the target fails, its power stays on."""
        operation = self.rack.order(Action.RESTART, "pi1", at_most=1)
        self.rack.run(60)
        waiting = self.rack.order(Action.RESTART, "pi2", "pi3", at_most=1)
        self.rack.run(2)
        self.rack.operation_store.failure = StoreFailed("no space")
        self.rack.run(200)
        self.assertEqual(self.steps(operation), [Step.DONE])
        self.assertEqual(self.steps(waiting)[1], Step.FAILED)
        self.assertNotIn(("off", 3), self.rack.switch.orders)
        self.assertTrue(self.rack.all_on())


class RollingTests(_InRack):
    """``--at-most`` and ``--stop-after``."""

    def test_at_most(self) -> None:
        """Never are more than so many targets at work."""
        operation = self.rack.order(Action.RESTART, "all", at_most=2)
        most = 0
        while not self.rack.now(operation).is_final:
            self.rack.run(1)
            most = max(most, sum(report.step.is_in_flight for report in self.rack.now(operation).reports))
        self.assertEqual(most, 2)
        self.assertEqual(set(self.steps(operation)), {Step.DONE})

    def test_stop_after(self) -> None:
        """After so many failures nothing more is begun; what had begun is brought to its end."""
        self.rack.dead[1] = 99
        operation = self.rack.order(Action.RESTART, "all", at_most=1, stop_after=1)
        self.rack.run(400)
        self.assertEqual(self.steps(operation), [Step.FAILED] + [Step.CANCELLED] * 7)
        self.assertTrue(self.rack.all_on())

    def test_cancel(self) -> None:
        """Cancelled: what waits is not begun, what is off comes on again, and the operation ends."""
        operation = self.rack.order(Action.RESTART, "all", at_most=2)
        self.rack.run(3)
        result(Deferred.fromCoroutine(self.rack.book.cancel(operation.id, who="bob", source="test")))
        self.rack.run(60)
        self.assertEqual(self.steps(operation), [Step.DONE] * 2 + [Step.CANCELLED] * 6)
        self.assertTrue(self.rack.all_on())
        self.assertEqual(self.rack.now(operation).cancelled_by, "bob")

    def test_cancelled_when_it_is_on_disk(self) -> None:
        """A disk that takes no cancellation: it is refused, told to nobody, and what waited is begun in its turn."""
        operation = self.rack.order(Action.RESTART, "all", at_most=2)
        self.rack.operation_store.failure = StoreFailed("disk full")
        with self.assertRaises(StoreFailed):
            result(Deferred.fromCoroutine(self.rack.book.cancel(operation.id, who="bob", source="test")))
        self.rack.operation_store.failure = None
        self.assertEqual(self.rack.now(operation).cancelled_by, "")
        self.rack.run(300)
        self.assertEqual(set(self.steps(operation)), {Step.DONE})
        self.assertEqual([one for one in self.rack.recorded if isinstance(one, events.OperationCancelled)], [])

    def test_cancellation_is_told_before_the_end(self) -> None:
        """An order of which nothing has begun is over by its cancellation: that is told first, then its end."""
        self.rack.book.turns.window = attrs.evolve(self.rack.book.turns.window, size=0.0)
        operation = self.rack.order(Action.RESTART, "pi1")
        result(Deferred.fromCoroutine(self.rack.book.cancel(operation.id, who="bob", source="test")))
        kinds = [type(one) for one in self.rack.recorded]
        self.assertEqual(kinds[-2:], [events.OperationCancelled, events.OperationEnded])

    def test_window(self) -> None:
        """With no limit of the operator's the manager's own window counts, over all operations."""
        self.rack.book.turns.window = attrs.evolve(self.rack.book.turns.window, size=3.0)
        first, second = self.rack.order(Action.RESTART, "pi1", "pi2"), self.rack.order(Action.RESTART, "pi3", "pi4")
        self.assertEqual(self.steps(first) + self.steps(second), [Step.SWITCHING_OFF] * 3 + [Step.WAITING])
        self.rack.run(120)
        self.assertEqual(set(self.steps(first) + self.steps(second)), {Step.DONE})


    def test_nobody_is_dark_for_long(self) -> None:
        """Of many nodes on one switch no more are off than it can give power to when their time has come."""
        operation = self.rack.order(Action.RESTART, "all")
        self.assertEqual(self.steps(operation), [Step.SWITCHING_OFF] * 7 + [Step.WAITING])
        self.rack.run(120)
        self.assertEqual(set(self.steps(operation)), {Step.DONE})
        dark = [report.on_at - report.off_at for report in self.rack.now(operation).reports]
        self.assertLess(max(dark), 5 + 7)

    def test_without_admission(self) -> None:
        """Where it is switched off, all targets have their turn at once; the operator's own limit still counts."""
        self.rack = Rack(admission=False)
        self.rack.book.turns.window = attrs.evolve(self.rack.book.turns.window, size=3.0)
        first = self.rack.order(Action.RESTART, "pi1", "pi2", "pi3", "pi4")
        second = self.rack.order(Action.RESTART, "pi5", "pi6", at_most=1)
        self.assertEqual(self.steps(first), [Step.SWITCHING_OFF] * 4)
        self.assertEqual(self.steps(second), [Step.SWITCHING_OFF, Step.WAITING])


class WattsTests(_InRack):
    """Power that a switch has, and has not."""

    def on_at(self, operation: Operation) -> list[float]:
        """When ports were given power, in order; the first at 0."""
        times = sorted(report.on_at for report in self.rack.now(operation).reports)
        return [round(time - times[0]) for time in times]

    def all_off(self) -> None:
        """Eight ports are off: of none is known what hangs there, so each may draw 15.4 W."""
        for port in range(1, 9):
            self.rack.switch.on[port] = False

    def test_plan(self) -> None:
        """A plan tells what the targets may draw and what their switch gives; one that gives no power tells nothing."""
        (power,) = result(Deferred.fromCoroutine(self.rack.book.plan(Action.RESTART, ["pi1", "pi2"]))).power
        self.assertEqual((power.ports, power.watts, power.used_watts, power.total_watts), (2, 12.0, 40.0, 154.0))
        plan = result(Deferred.fromCoroutine(self.rack.book.plan(Action.POWER_OFF, ["pi1", "pi2"])))
        self.assertEqual(plan.power, ())

    def test_as_many_as_there_is_power_for(self) -> None:
        """
        45 W: two ports at a time, which may draw 15.4 W each; the next ones when it shows that these draw 4 W.

        Two more ports of the switch are on and draw 8 W.
        """
        self.all_off()
        self.rack.switch.total_watts = 45.0
        operation = self.rack.order(Action.POWER_ON, "pi1", "pi2", "pi3", "pi4")
        self.rack.run(120)
        self.assertEqual(self.steps(operation), [Step.DONE] * 4)
        first, second, third, fourth = self.on_at(operation)
        self.assertEqual((first, second), (0, 1))
        self.assertGreaterEqual(third, 5)
        self.assertGreater(fourth, third)

    def test_no_limit(self) -> None:
        """With power enough only the stagger counts, and each port is ordered on once."""
        self.all_off()
        operation = self.rack.order(Action.POWER_ON, "pi1", "pi2", "pi3", "pi4")
        self.rack.run(120)
        self.assertEqual(self.on_at(operation), [0, 1, 2, 3])
        self.assertEqual(self.rack.switch.orders, [("on", port) for port in (1, 2, 3, 4)])

    def test_spent(self) -> None:
        """A port for which there is no power at all is not switched on, and the report tells the figures."""
        self.all_off()
        self.rack.switch.total_watts = 20.0
        operation = self.rack.order(Action.POWER_ON, "pi1")
        self.rack.run(60)
        (report,) = self.rack.now(operation).reports
        self.assertEqual(report.step, Step.FAILED)
        self.assertIn("may draw 15.4 W, and its switch gives 8.0 of 20.0 W already", report.reason)
        self.assertTrue(report.remedy)
        self.assertFalse(self.rack.switch.on[1])

    def test_never_left_dark(self) -> None:
        """What had power gets it back, whatever the budget says: a restart leaves nobody dark for an estimate."""
        self.rack.switch.total_watts = 20.0
        operation = self.rack.order(Action.RESTART, "pi1", "pi2", "pi3")
        self.rack.run(180)
        self.assertEqual(self.steps(operation), [Step.DONE] * 3)
        self.assertTrue(self.rack.all_on())


class WindowTests(_InRack):
    """How many are begun, and what is learned of it."""

    def test_failure_makes_no_room(self) -> None:
        """A target that fails frees its place and does not count as one that got through."""
        self.rack.switch.deaf.add(2)
        before = self.rack.book.turns.window
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(120)
        self.assertEqual(self.steps(operation), [Step.FAILED])
        self.assertEqual(self.rack.book.turns.window, before)

    def test_not_before_it_is_on_disk(self) -> None:
        """An order whose record is on its way to the disk is not begun, whatever frees a place meanwhile."""
        saving: Deferred[None] = Deferred()
        save = self.rack.operation_store.save_operation
        self.rack.operation_store.save_operation = lambda operation, indexes: saving  # type: ignore[method-assign]
        plan = result(Deferred.fromCoroutine(self.rack.book.plan(Action.RESTART, ["pi2"])))
        begun = Deferred.fromCoroutine(self.rack.book.begin(plan, who="ada", source="test"))
        self.rack.book.admit()
        self.assertEqual(self.rack.switch.orders, [])
        self.assertFalse(self.rack.book._runs)
        self.rack.operation_store.save_operation = save  # type: ignore[method-assign]
        saving.callback(None)
        result(begun)
        self.assertEqual(self.rack.switch.orders, [("off", 2)])


class KillTests(_InRack):
    """The manager dies at any step, and another one goes on."""

    def restart_after(self, action: Action, seconds: float, seen: set[Step]) -> Rack:
        """A rack whose manager was killed so long after the order; adds the steps that were on disk then."""
        rack = Rack()
        rack.order(action, "pi2", "pi3")
        rack.run(seconds)
        rack.kill()
        seen.update(report.step for one in rack.operation_store.operations.values() for report in one.reports)
        rack.run(20)
        rack.start()
        rack.book.resume()
        return rack

    def test_at_every_step(self) -> None:
        """Wherever it was: afterwards all ports are on, all nodes done, and nobody was installed twice."""
        for action in (Action.RESTART, Action.REINSTALL):
            seen: set[Step] = set()
            for moment in range(0, 160):
                rack = self.restart_after(action, moment / 4, seen)
                rack.run(400, step=1.0)
                operation = rack.book.operations()[0]
                self.assertTrue(rack.all_on(), (action, moment))
                self.assertTrue(operation.is_final, (action, moment))
                self.assertEqual({report.step for report in operation.reports}, {Step.DONE}, (action, moment))
                intents = list(rack.intent_store.intents.values())
                installed = [event for event in rack.recorded if isinstance(event, events.Installed)]
                self.assertEqual(len(intents), len({event.intent for event in installed}), (action, moment))
                self.assertEqual(len(installed), 2 if action is Action.REINSTALL else 0, (action, moment))
            self.assertLessEqual({Step.SWITCHING_OFF, Step.OFF, Step.SWITCHING_ON, Step.FOLLOWING}, seen)

    def test_start_not_seen(self) -> None:
        """A node that came back while no manager looked is done, and the report says what was not seen."""
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(6)
        self.rack.dead[2] = 99
        self.rack.kill()
        for call in self.rack._calls.pop(2):
            call.cancel()
        self.rack.start()
        self.rack.book.resume()
        self.rack.run(30)
        self.rack._is_up(MACS[1])
        self.rack.run(90)
        report = self.rack.now(operation).reports[0]
        self.assertEqual((report.step, report.tries), (Step.DONE, 1))
        self.assertIn("its start was not seen", report.reason)

    def test_stop(self) -> None:
        """An orderly stop lets go of everything and leaves no timer; the next process goes on."""
        operation = self.rack.order(Action.RESTART, "pi2")
        self.rack.run(3)
        result(Deferred.fromCoroutine(self.rack.book.stop()))
        nodes = [call for calls in self.rack._calls.values() for call in calls]
        self.assertEqual([call for call in self.rack.clock.getDelayedCalls() if call not in nodes], [])
        self.rack.start()
        self.rack.book.resume()
        self.rack.run(60)
        self.assertEqual(self.steps(operation), [Step.DONE])
