"""
``restart`` of whole racks in virtual time: real boards' programs, the manager's real services, a switch in memory.
"""

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred

from piman.fleet.events import Installed, OperationEnded, PowerCycled
from piman.fleet.model import Phase
from piman.fleet.operations.book import OperationSettings
from piman.fleet.operations.orders import Action, Operation, Step, TargetReport
from piman.simulator.booting.journal import Step as BoardStep
from piman.simulator.pi import MODELS, Pi
from piman.simulator.wiring.faults import Faults
from piman.simulator.wiring.uplink import Uplink
from piman.testing.scenario import Scenario
from tests.scenario.support import ScenarioTestCase

CABLE_SECONDS = 3.0


class OperationTestCase(ScenarioTestCase):
    """Racks whose boards are all up, and from now on the operator's."""

    def rack_that_is_up(self, *kinds: str, seed: int = 1, **options: Any) -> Scenario:
        """Nobody but the manager cycles boards that hang."""
        scenario = self.rack(*kinds, seed=seed, **options)
        scenario.harness.start()
        self.assertTrue(scenario.run_until(lambda: all(pi.is_up for pi in scenario.pis)))
        scenario.harness.recovers = False
        return scenario

    def run_to_the_end(self, operation: Operation) -> Operation:
        """The operation when nothing is left to be done; the boards hear a moment later that they are up."""
        scenario = self.scenario
        self.assertTrue(scenario.run_until(lambda: scenario.now(operation).is_final), scenario.now(operation).counts)
        scenario.run_until(lambda: False, 1.0)
        return scenario.now(operation)

    def assert_back(self, ended: Operation) -> None:
        """Every report says so, every board is up, every port gives power, and the end was told once."""
        scenario = self.scenario
        self.assertEqual([report.step for report in ended.reports], [Step.DONE] * len(scenario.pis))
        self.assertTrue(all(scenario.switch.delivering(port) for port in scenario.switch.on))
        told = [(event.operation, event.done, event.failed) for event in scenario.events(OperationEnded)]
        self.assertEqual(told, [(ended.id, len(scenario.pis), 0)])
        self.assertEqual(len({event.intent for event in scenario.events(Installed)}), len(scenario.pis))
        self.assert_all_up(60.0)

    def assert_right(self, report: TargetReport, pi: Pi) -> None:
        """What is reported of a board is what the board experienced."""
        self.assertEqual(report.target.name, pi.board.hostname)
        self.assertEqual(len(self.scenario.events(PowerCycled, pi)), report.tries)
        phases = [phase for phase, _ in report.stages]
        self.assertEqual((phases[0], phases[-1]), (Phase.POWERED, Phase.UP))
        last_boot = next(time for step, time in reversed(pi.journal.steps) if step is BoardStep.FIRMWARE)
        up = next(time for step, time in reversed(pi.journal.steps) if step is BoardStep.UP)
        self.assertLessEqual(report.on_at, last_boot + 1.0)
        self.assertApproximates(report.finished, up, 1.0)
        self.assertTrue(report.started <= report.off_at < report.on_at < report.finished)


class RestartTests(OperationTestCase):
    """All boards at once."""

    def test_all(self) -> None:
        """Twelve boards of all kinds: each is cycled once and is back, and its report tells what it experienced."""
        scenario = self.rack_that_is_up(*MODELS * 3)
        boots = [pi.journal.boots for pi in scenario.pis]
        ended = self.run_to_the_end(scenario.order(Action.RESTART, "all"))
        for report, pi in zip(ended.reports, scenario.pis, strict=True):
            self.assert_right(report, pi)
            self.assertEqual(report.tries, 1)
        self.assertEqual([pi.journal.boots for pi in scenario.pis], [count + 1 for count in boots])
        self.assert_back(ended)

    def test_hung_rom(self) -> None:
        """A mask ROM that hears no OFFER hangs for good: its power is cycled once more, and nobody else's."""
        scenario = self.rack_that_is_up(*MODELS * 3)
        hanging, line = scenario.pis[0], scenario.lines[0]
        line.faults = Faults(loss=1.0)
        operation = scenario.order(Action.RESTART, "all")
        self.assertTrue(scenario.run_until(lambda: hanging.journal.step is BoardStep.HUNG))
        line.faults = Faults()
        ended = self.run_to_the_end(operation)
        self.assertEqual([report.tries for report in ended.reports], [2] + [1] * 11)
        self.assertEqual(scenario.harness.cycles, 0)
        for report, pi in zip(ended.reports, scenario.pis, strict=True):
            self.assert_right(report, pi)
        self.assert_back(ended)

    def test_hung_rom_among_many(self) -> None:
        """Where enough others have passed, a hung ROM is found out long before the longest boot would be over."""
        scenario = self.rack_that_is_up(*MODELS * 6)
        hanging, line = scenario.pis[0], scenario.lines[0]
        line.faults = Faults(loss=1.0)
        operation = scenario.order(Action.RESTART, "all")
        self.assertTrue(scenario.run_until(lambda: hanging.journal.step is BoardStep.HUNG))
        line.faults = Faults()
        first = scenario.now(operation).reports[0]
        self.assertTrue(scenario.run_until(lambda: scenario.now(operation).reports[0].tries == 2))
        self.assertLess(scenario.clock.seconds() - first.on_at, 45.0)
        ended = self.run_to_the_end(operation)
        self.assertEqual([report.tries for report in ended.reports], [2] + [1] * 23)
        self.assert_back(ended)

    def test_power_cut(self) -> None:
        """Boards whose cable is pulled in the middle of the boot begin anew, and are followed to the end of that."""
        scenario = self.rack_that_is_up(*MODELS * 3)
        operation = scenario.order(Action.RESTART, "all")
        lucky = set(scenario.pis[4:])

        def unlucky() -> Pi | None:
            steps = BoardStep.LOADING, BoardStep.KERNEL
            return next((pi for pi in scenario.pis if pi not in lucky and pi.journal.step in steps), None)

        while len(lucky) < len(scenario.pis):
            self.assertTrue(scenario.run_until(lambda: unlucky() is not None))
            pi = unlucky()
            assert pi is not None
            scenario.pull_cable(pi, CABLE_SECONDS)
            lucky.add(pi)
        ended = self.run_to_the_end(operation)
        self.assertEqual([report.tries for report in ended.reports], [1] * 12)
        self.assertEqual([pi.journal.boots for pi in scenario.pis], [3] * 4 + [2] * 8)
        self.assert_back(ended)

    def test_dead_board(self) -> None:
        """A board that never asks again is given up after three power cycles, with its port on; the others are back."""
        scenario = self.rack_that_is_up(*MODELS)
        scenario.lines[3].faults = Faults(loss=1.0)
        ended = self.run_to_the_end(scenario.order(Action.RESTART, "all"))
        self.assertEqual([report.step for report in ended.reports], [Step.DONE] * 3 + [Step.FAILED])
        self.assertEqual(ended.reports[3].tries, 3)
        self.assertIn("after 3 power cycles", ended.reports[3].reason)
        self.assertTrue(scenario.switch.delivering(4))
        self.assertEqual(len(scenario.events(PowerCycled, scenario.pis[3])), 3)
        scenario.finish()


class AdmissionTests(OperationTestCase):
    """All boards of a rack behind a line that carries 60 datagrams a second and keeps 12 waiting."""

    def restarted(self, *, admission: bool) -> tuple[Operation, int]:
        """The operation in the end, and how many datagrams the line dropped."""
        settings = OperationSettings(admission=admission, max_blast=48)
        scenario = self.rack_that_is_up(*MODELS * 12, settings=settings)
        line = Uplink(scenario.clock, 60.0, 12)
        for one in scenario.lines:
            one.uplink = line
        ended = self.run_to_the_end(scenario.order(Action.RESTART, "all"))
        self.assertEqual([report.step for report in ended.reports], [Step.DONE] * 48)
        scenario.finish()
        return ended, line.dropped

    def test_full_line(self) -> None:
        """With admission control it is over sooner, fewer datagrams are dropped and no board hangs."""
        chosen, few = self.restarted(admission=True)
        rushed, many = self.restarted(admission=False)
        self.assertLess(chosen.finished - chosen.created, 0.8 * (rushed.finished - rushed.created))
        self.assertLess(few, many / 3)
        cycles = [sum(report.tries for report in each.reports) for each in (chosen, rushed)]
        self.assertEqual(cycles[0], 48)
        self.assertGreater(cycles[1], 48)


class KillTests(OperationTestCase):
    """SIGKILL of the manager at every step, and a new start."""

    def dying_at(self, scenario: Scenario, save: int) -> None:
        """From this write on the manager waits for ever for its disk: what was written last is there."""
        store, written = scenario.operation_store.save_operation, 0

        def save_operation(*arguments: object) -> "Deferred[None]":
            nonlocal written
            written += 1
            if written > save:
                return Deferred()
            done = store(*arguments)  # type: ignore[arg-type]
            return done if written < save else Deferred()

        scenario.operation_store.save_operation = save_operation  # type: ignore[method-assign, assignment]
        self._is_dead = lambda: written >= save
        self._revive = lambda: setattr(scenario.operation_store, "save_operation", store)

    def die_at_each_write(self, action: Action, *kinds: str) -> "Iterator[tuple[int, Operation]]":
        """
        A rack for each write of an operation: the manager dies after it, another one starts and goes on.

        The operation as it is in the end; the last rack is the one whose manager lives through it.
        """
        self.met: set[Step] = set()
        for save in range(1, 200):
            scenario = self.rack_that_is_up(*kinds, seed=save)
            self.dying_at(scenario, save)
            scenario.ordering(action, "all")
            assert scenario.manager is not None
            (operation,) = scenario.manager.operations.operations()
            self.assertTrue(
                scenario.run_until(lambda: self._is_dead() or scenario.now(operation).is_final)  # noqa: B023
            )
            if not self._is_dead():
                yield save, self.run_to_the_end(operation)
                return
            self.met |= {report.step for report in scenario.now(operation).reports}
            scenario.kill_manager()
            self._revive()
            scenario.run_until(lambda: False, (0.0, 2.0, 20.0)[save % 3])
            scenario.start_manager()
            yield save, self.run_to_the_end(operation)
        self.fail("it should have come to its end by itself")

    def test_restart(self) -> None:
        """
        Whichever step was the last on disk: afterwards every port gives power, both boards are up and were not
        installed anew, and the operation ends with both done.
        """
        for save, ended in self.die_at_each_write(Action.RESTART, "3B", "4B"):
            found = [(report.step, report.tries <= 2) for report in ended.reports]
            self.assertEqual(found, [(Step.DONE, True)] * 2, (save, ended.reports))
            self.assertTrue(all(self.scenario.switch.on.values()), save)
            self.assertEqual([pi.card.formats for pi in self.scenario.pis], [1, 1], save)
            self.assert_all_up(600.0)
        in_flight = {Step.SWITCHING_OFF, Step.OFF, Step.SWITCHING_ON, Step.FOLLOWING}
        self.assertGreaterEqual(self.met, {Step.WAITING, Step.DONE} | in_flight)

    def test_reinstall(self) -> None:
        """
        The same for an installation: afterwards the board is up, every intent was completed once, and the operation
        says that it is done.
        """
        for save, ended in self.die_at_each_write(Action.REINSTALL, "5"):
            self.assertEqual([report.step for report in ended.reports], [Step.DONE], (save, ended.reports))
            self.assertTrue(all(self.scenario.switch.on.values()), save)
            (pi,) = self.scenario.pis
            installed = [event.intent for event in self.scenario.events(Installed)]
            self.assertEqual((len(installed), len(set(installed))), (2, 2), save)
            self.assertIn(ended.reports[0].intent, installed)
            self.assertEqual(pi.card.formats, 2, save)
            self.assert_all_up(600.0)
        self.assertIn(Step.FOLLOWING, self.met)
