"""
Tests for :mod:`piman.web.pages.boots`: stages of boots, from events.
"""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import events
from piman.fleet.events import Event, Recorded
from piman.fleet.model import Node, Phase
from piman.web.pages.boots import MOST_BOOTS, Boot, boots
from tests.fleet_support import any_event
from tests.pages_support import Wall, boot_of, mac_of

NODE: Node = Wall(1, 1).nodes[0]


def story(*happened: tuple[float, Event]) -> list[Recorded]:
    """Events at these times."""
    return [Recorded(id=number, time=time, event=event) for number, (time, event) in enumerate(happened, start=1)]


def boot_at(time: float, step: float = 2.0) -> Iterable[tuple[float, Event]]:
    """A whole boot that begins then."""
    return [(time + step * place, event) for place, (_, event) in enumerate(boot_of(NODE))]


class BootTests(SynchronousTestCase):
    """Boots of a node."""

    def boots(self, *happened: tuple[float, Event], now: float = 9000.0) -> list[Boot]:
        """Its boots."""
        return boots(NODE.mac, story(*happened), now)

    def test_whole(self) -> None:
        """A boot begins with its power, has all its stages side by side, and ends when the node is up."""
        (found,) = self.boots(*boot_at(100.0))
        self.assertEqual((found.began, found.outcome, found.seconds), (100.0, "up", 18.0))
        self.assertEqual(found.stages[0].phase, Phase.POWERED)
        self.assertEqual([stage.start for stage in found.stages], [2.0 * place for place in range(9)])
        self.assertEqual({stage.seconds for stage in found.stages}, {2.0})

    def test_going_on(self) -> None:
        """A boot that goes on has lasted until now."""
        (found,) = self.boots(*list(boot_at(100.0))[:4], now=110.0)
        self.assertEqual((found.outcome, found.seconds, found.stages[-1].seconds), ("going on", 10.0, 4.0))

    def test_broken_off(self) -> None:
        """A boot after which another one began has lasted until then; the newest comes first."""
        newer, older = self.boots(*list(boot_at(100.0))[:4], *boot_at(150.0))
        self.assertEqual((older.outcome, older.seconds, newer.outcome), ("broken off", 50.0, "up"))

    def test_off(self) -> None:
        """A boot ends when the power goes."""
        gone = events.PowerRemoved(mac=NODE.mac, port="", operation="")
        (found,) = self.boots(*list(boot_at(100.0))[:4], (120.0, gone))
        self.assertEqual((found.outcome, found.seconds), ("off", 20.0))

    def test_most(self) -> None:
        """Only the latest boots are told."""
        happened = [each for number in range(20) for each in boot_at(100.0 * (number + 1))]
        found = self.boots(*happened)
        self.assertEqual([boot.number for boot in found], [20 - place for place in range(MOST_BOOTS)])

    def test_nothing(self) -> None:
        """Of a node without events there is no boot."""
        self.assertEqual(self.boots(), [])

    @given(some.lists(any_event(), max_size=30))
    def test_anything(self, happened: list[Event]) -> None:
        """Whatever happens in whatever order: no stage is negative or outside its boot."""
        for mac in {each.mac for each in happened if each.mac} | {mac_of(1)}:
            for boot in boots(mac, story(*((10.0 * at, each) for at, each in enumerate(happened, 1))), 400.0):
                for stage in boot.stages:
                    self.assertGreaterEqual(stage.start, 0)
                    self.assertGreaterEqual(stage.seconds, 0)
                    self.assertLessEqual(stage.start + stage.seconds, boot.seconds)
