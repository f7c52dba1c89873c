"""
What every event sink promises: the log and its fake alike.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from piman.fleet.arrivals import Arrivals
from piman.fleet.eventlog import EventLog
from piman.fleet.events import BootOrdered, ClockSet, Event, Recorded
from piman.fleet.interfaces import IEventObserver, IEventSink
from piman.fleet.nodes import NodeRegistry
from piman.fleet.state.history import HistoryStore
from piman.fleet.state.journal import JournalWriter
from piman.testing.fakes import CapturedEvents
from tests.fleet_support import MAC


class EventSinkMixin:
    """The contract of :class:`IEventSink`."""

    def make(self) -> tuple[Any, list[Event]]:
        """A sink and the list in which its events arrive."""
        raise NotImplementedError

    def test_interface(self) -> None:
        """It provides the interface."""
        sink, _ = self.make()
        verifyObject(IEventSink, sink)

    def test_order(self) -> None:
        """Events arrive at once, all of them, in the order of their emission, also equal ones."""
        sink, arrived = self.make()
        story = [BootOrdered(mac=MAC), ClockSet(), BootOrdered(mac=MAC)]
        for event in story:
            self.assertIsNone(sink.emit(event))
        self.assertEqual(arrived, story)


class CapturedEventsTests(EventSinkMixin, SynchronousTestCase):
    """The fake keeps the contract."""

    def make(self) -> tuple[Any, list[Event]]:
        """A fake."""
        sink = CapturedEvents()
        return sink, sink.events

    def test_of(self) -> None:
        """The events of one class can be picked out."""
        sink, _ = self.make()
        sink.emit(ClockSet())
        sink.emit(BootOrdered(mac=MAC))
        self.assertEqual(sink.of(BootOrdered), [BootOrdered(mac=MAC)])


class EventLogTests(EventSinkMixin, SynchronousTestCase):
    """The log keeps the contract."""

    def make(self) -> tuple[Any, list[Event]]:
        """A log with one observer."""
        arrived: list[Event] = []

        @implementer(IEventObserver)
        class Observer:
            def observe(self, recorded: Recorded) -> None:
                arrived.append(recorded.event)

        return EventLog(Clock(), [Observer()]), arrived


class ObserverTests(SynchronousTestCase):
    """Who is told of events."""

    def test_interface(self) -> None:
        """Every observer of the fleet provides the interface."""
        for kind in (NodeRegistry, HistoryStore, JournalWriter, Arrivals):
            verifyClass(IEventObserver, kind)
