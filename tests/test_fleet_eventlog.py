"""
The event log: numbers, order, and observers that fail.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from piman.fleet.eventlog import QUIET_SECONDS, EventLog
from piman.fleet.events import BootOrdered, ClockSet, NodeRecovered, Recorded
from piman.fleet.interfaces import IEventObserver, IEventSink
from tests.fleet_support import MAC


@implementer(IEventObserver)
class Keeper:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.recorded: list[Recorded] = []

    def observe(self, recorded: Recorded) -> None:
        """Keep it."""
        self.recorded.append(recorded)

    @property
    def ids(self) -> list[int]:
        """The numbers, in the order of their coming."""
        return [recorded.id for recorded in self.recorded]


@implementer(IEventObserver)
class Broken:
    """Fails at everything."""

    def observe(self, recorded: Recorded) -> None:
        """Fail."""
        raise RuntimeError("broken observer")


@implementer(IEventObserver)
class Echo:
    """Answers each BootOrdered with a ClockSet."""

    def __init__(self) -> None:
        self.sink: IEventSink | None = None

    def observe(self, recorded: Recorded) -> None:
        """Emit while the event at hand is still being delivered."""
        if isinstance(recorded.event, BootOrdered) and self.sink is not None:
            self.sink.emit(ClockSet())


class StampTests(SynchronousTestCase):
    """What the log adds to an event."""

    def test_number_and_time(self) -> None:
        """Each event gets the next number and the time of the clock."""
        clock, keeper = Clock(), Keeper()
        log = EventLog(clock, [keeper], first_id=7)
        log.emit(BootOrdered(mac=MAC))
        clock.advance(1.5)
        log.emit(NodeRecovered(mac=MAC))
        self.assertEqual(
            keeper.recorded,
            [
                Recorded(id=7, time=0.0, event=BootOrdered(mac=MAC)),
                Recorded(id=8, time=1.5, event=NodeRecovered(mac=MAC)),
            ],
        )
        self.assertEqual(log.last_id, 8)

    def test_continue(self) -> None:
        """The numbers go on after those of the process before, and never go back."""
        keeper = Keeper()
        log = EventLog(Clock(), [keeper])
        for last in (41, 3):
            log.continue_after(last)
            log.emit(BootOrdered())
        self.assertEqual(keeper.ids, [42, 43])


class DeliveryTests(SynchronousTestCase):
    """Who is told what, and when."""

    def test_order(self) -> None:
        """What an observer emits comes after the event at hand, for the observers before it and after it alike."""
        early, echo, late = Keeper(), Echo(), Keeper()
        log = EventLog(Clock(), [early, echo, late])
        echo.sink = log
        log.emit(BootOrdered())
        log.emit(NodeRecovered())
        self.assertEqual(early.recorded, late.recorded)
        self.assertEqual([type(r.event) for r in late.recorded], [BootOrdered, ClockSet, NodeRecovered])
        self.assertEqual(late.ids, [1, 2, 3])

    def test_added_and_removed(self) -> None:
        """An observer is told from when it was added until it is removed; removing it twice is harmless."""
        log, keeper = EventLog(Clock()), Keeper()
        log.emit(BootOrdered())
        log.add_observer(keeper)
        log.emit(BootOrdered())
        log.remove_observer(keeper)
        log.remove_observer(keeper)
        log.emit(BootOrdered())
        self.assertEqual(keeper.ids, [2])


class FailureTests(SynchronousTestCase):
    """An observer that fails."""

    def setUp(self) -> None:
        """A broken observer before a sound one."""
        self.clock, self.keeper = Clock(), Keeper()
        self.log = EventLog(self.clock, [Broken(), self.keeper])

    def logged(self) -> int:
        """How many failures were logged since this was last asked."""
        return len(self.flushLoggedErrors(RuntimeError))

    def test_isolated(self) -> None:
        """The others get the event, and the one who emits never notices."""
        self.log.emit(BootOrdered())
        self.assertEqual(self.keeper.ids, [1])
        self.assertEqual(self.logged(), 1)

    def test_logged_once_a_minute(self) -> None:
        """A flood of events makes one trace a minute."""
        for _ in range(100):
            self.log.emit(BootOrdered())
        self.assertEqual(self.logged(), 1)
        self.clock.advance(QUIET_SECONDS)
        self.log.emit(BootOrdered())
        self.assertEqual(self.logged(), 1)
        self.assertEqual(len(self.keeper.recorded), 101)

    def test_logged_by_class(self) -> None:
        """Failing at another class of events, or another observer's failing, is another trouble."""
        self.log.emit(BootOrdered())
        self.log.emit(NodeRecovered())
        self.log.add_observer(Broken())
        self.log.emit(BootOrdered())
        self.assertEqual(self.logged(), 3)
