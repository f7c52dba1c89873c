"""
The hardware under a virtual board's programs.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.journal import Journal, Step
from piman.simulator.booting.machine import FIRST_PORT, Program
from piman.simulator.wiring.surroundings import Datagram, Received
from tests.simulator_support import ADDRESS, Bench

SOURCE = ("172.30.4.1", 67)


class ProgramTests(SynchronousTestCase):
    """Generators that wait for events and times."""

    def test_wakes_in_time(self) -> None:
        """A program gets None when the time that it yielded has come, not before."""
        bench = Bench()
        woken: list[float] = []

        def program() -> Program[None]:
            for pause in (5.0, 1.0, 3.0):
                self.assertIsNone((yield bench.machine.now() + pause))
                woken.append(bench.clock.seconds())

        bench.run(program())
        bench.clock.pump([0.5] * 20)
        self.assertEqual(woken, [5.0, 6.0, 9.0])

    def test_later_deadline(self) -> None:
        """An event moves the deadline to a later time without a new timer, and the program is still woken then."""
        bench = Bench()
        got: list[Any] = []

        def program() -> Program[None]:
            for deadline in (2.0, 10.0):
                got.append((yield deadline))

        bench.run(program())
        bench.clock.advance(1.0)
        bench.machine.deliver(Datagram(b"x", SOURCE))
        self.assertEqual(len(bench.clock.getDelayedCalls()), 1)
        bench.clock.advance(8.0)
        self.assertEqual(got, [Datagram(b"x", SOURCE)])
        bench.clock.advance(1.0)
        self.assertEqual(got, [Datagram(b"x", SOURCE), None])

    def test_power_cut(self) -> None:
        """Without power there is no timer, no socket and no program; streams vanish without a word."""
        bench = Bench()

        def program() -> Program[None]:
            bench.machine.udp_socket(ADDRESS)
            yield from bench.machine.connect(ADDRESS, SOURCE, 15.0)

        bench.run(program())
        bench.machine.stop()
        self.assertEqual(bench.clock.getDelayedCalls(), [])
        self.assertFalse(bench.socket.is_open)
        self.assertFalse(bench.stream.has_power)
        self.assertFalse(bench.machine.is_running)
        bench.machine.deliver(Datagram(b"too late", SOURCE))
        self.assertFalse(bench.has_ended)

    def test_mistake(self) -> None:
        """An exception in a program is logged and counted, and stops only this board."""
        bench = Bench()

        def program() -> Program[None]:
            yield bench.machine.now() + 1.0
            raise KeyError("our mistake")

        bench.machine.start(program())
        bench.clock.advance(1.0)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(bench.journal.mistakes, 1)
        self.assertFalse(bench.machine.is_running)

    def test_scaled(self) -> None:
        """Pauses that nobody can observe are scaled, protocol waits are not."""
        bench = Bench(speed=10.0)
        bench.run(bench.machine.pause(20.0))
        bench.clock.advance(2.0)
        self.assertTrue(bench.has_ended)
        bench.run(bench.machine.wait(4.0))
        bench.clock.advance(3.9)
        self.assertFalse(bench.has_ended)
        bench.clock.advance(0.1)
        self.assertTrue(bench.has_ended)

    def test_source_ports(self) -> None:
        """Each request has the next source port, from 49152 on."""
        bench = Bench()
        for _ in range(3):
            bench.machine.udp_socket(ADDRESS)
        self.assertEqual([socket.at[1] - FIRST_PORT for socket in bench.network.sockets], [0, 1, 2])
        self.assertEqual(FIRST_PORT, 49_152)

    def test_diverted(self) -> None:
        """While a program is busy elsewhere, what happens on another stream goes aside and is not lost."""
        bench = Bench()
        aside: list[Any] = []

        def program() -> Program[None]:
            stream = yield from bench.machine.connect(ADDRESS, SOURCE, 15.0)
            assert stream is not None
            with bench.machine.diverted(stream, aside.append):
                yield from bench.machine.wait(5.0)
            self.assertIsInstance((yield None), Received)

        bench.run(program())
        bench.stream.open()
        bench.stream.receive(b"early")
        bench.clock.advance(5.0)
        bench.stream.receive(b"late")
        self.assertEqual([event.data for event in aside], [b"early"])
        self.assertTrue(bench.has_ended)


class JournalTests(SynchronousTestCase):
    """What a board writes down."""

    def test_last_boot_counts(self) -> None:
        """The time in steps is that of the last boot, steps taken twice added up."""
        journal = Journal()
        story = [
            (Step.FIRMWARE, 0.0),
            (Step.ADDRESS, 50.0),
            (Step.DARK, 60.0),
            (Step.FIRMWARE, 70.0),
            (Step.ADDRESS, 71.0),
            (Step.LOADING, 73.0),
            (Step.ADDRESS, 74.0),
            (Step.UP, 77.0),
        ]
        for step, time in story:
            journal.enter(step, time)
        self.assertEqual(
            journal.seconds_in_steps(), {Step.FIRMWARE: 1.0, Step.ADDRESS: 5.0, Step.LOADING: 1.0}
        )

    def test_same_step(self) -> None:
        """To go on in the same step is no news."""
        told: list[Step] = []
        journal = Journal(watch=lambda journal: told.append(journal.step))
        for time in (1.0, 2.0):
            journal.enter(Step.LOADING, time)
        self.assertEqual((told, journal.since), ([Step.LOADING], 1.0))
