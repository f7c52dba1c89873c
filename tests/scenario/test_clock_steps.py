"""
Somebody sets the clock of the manager's computer while boards boot and are installed.
"""

from random import Random

from piman.fleet.events import AddressRefused, ClockStepped, ImageInterrupted, IntentClosed, LeaseRenewed
from piman.fleet.model import IntentOrigin, MACAddress
from piman.simulator.booting.journal import Step
from piman.testing.scenario import Scenario
from tests.scenario.support import ScenarioTestCase

HOUR = 3600.0
SAID_WITHIN_SECONDS = 6.0
WRITTEN_WITHIN_SECONDS = 20.0
"""A look at the clock, and then the housekeeping of the leases."""


def story(scenario: Scenario) -> list[tuple[object, ...]]:
    """What happened to each board and when, without tokens and digests of chance."""
    return [
        (recorded.time, type(recorded.event).__name__, recorded.event.mac)
        for recorded in scenario.recorded
        if not isinstance(recorded.event, ClockStepped)
    ]


class SteppedClockTests(ScenarioTestCase):
    """The clock jumps by an hour."""

    def stepped(self, seed: int, *steps: tuple[float, float]) -> Scenario:
        """A run in which the clock is stepped, after each pause by so much."""
        scenario = self.rack(seed=seed, pooled=bool(seed % 2), version=1 if seed % 5 == 0 else 2)
        scenario.harness.start()
        for pause, seconds in steps:
            scenario.run_until(lambda: False, pause)
            scenario.step_clock(seconds)
        self.assert_all_up(300.0)
        return scenario

    def test_nothing_changes(self) -> None:
        """Whenever the clock steps, the same happens to the same boards at the same moments as if it had not."""
        random = Random(11)
        for seed in range(12):
            untouched = story(self.stepped(seed))
            self.assertGreater(len(untouched), 40)
            pauses = random.uniform(0.5, 30.0), random.uniform(SAID_WITHIN_SECONDS, 30.0)
            for first in (-HOUR, HOUR):
                scenario = self.stepped(seed, (pauses[0], first), (pauses[1], -first))
                self.assertEqual(story(scenario), untouched)
                self.assertEqual(scenario.events(ClockStepped)[0].seconds, first)
                for kind in (ImageInterrupted, IntentClosed, AddressRefused):
                    self.assertEqual(scenario.events(kind), [])

    def test_while_imaging(self) -> None:
        """In the middle of an installation: no conversation is cut, the intent is fulfilled, no board starts again."""
        for seconds in (-HOUR, HOUR):
            self.rack("4B", "5").harness.start()
            pis = self.scenario.pis
            self.assertTrue(self.scenario.run_until(lambda: self.are_imaging(2), 300.0))
            self.scenario.step_clock(seconds)
            self.assert_all_up(300.0)
            self.assertEqual([pi.journal.boots for pi in pis], [1, 1])
            self.assertEqual(self.scenario.events(ImageInterrupted), [])

    def are_imaging(self, count: int) -> bool:
        """Whether so many boards fetch their image right now."""
        return sum(pi.journal.step is Step.IMAGING for pi in self.scenario.pis) == count

    def test_said_once(self) -> None:
        """Each step is one event, soon after it."""
        scenario = self.rack("4B")
        for seconds in (-HOUR, HOUR):
            scenario.step_clock(seconds)
            scenario.run_until(lambda: False, SAID_WITHIN_SECONDS)
        self.assertEqual([event.seconds for event in scenario.events(ClockStepped)], [-HOUR, HOUR])
        scenario.harness.start()
        self.assert_all_up()

    def test_leases_live_on(self) -> None:
        """Boards that are up keep and renew their leases through steps, and the manager's death soon after."""
        scenario = self.rack("4B", "5")
        scenario.harness.start()
        scenario.run_until(lambda: all(pi.is_up for pi in scenario.pis), 300.0)
        for seconds in (HOUR, -HOUR, -HOUR, HOUR):
            scenario.step_clock(seconds)
            scenario.run_until(lambda: False, WRITTEN_WITHIN_SECONDS)
            scenario.kill_manager()
            scenario.start_manager()
            manager = scenario.manager
            assert manager is not None
            held = {lease.mac: lease.address for lease in manager.leases.leases()}
            told = {MACAddress(pi.board.mac): pi.journal.told[-1].address for pi in scenario.pis}
            self.assertEqual(held, told)
            for lease in manager.leases.leases():
                self.assertLessEqual(lease.expires, manager.host.seconds() + manager.leases.terms.lease_seconds)
            scenario.run_until(lambda: False, 400.0)
        self.assertGreater(len(scenario.events(LeaseRenewed)), 4)
        self.assertEqual(scenario.events(AddressRefused), [])
        self.assert_all_up()

    def test_intent_waits(self) -> None:
        """The operator's wish to install does not expire because the clock was set forward."""
        scenario = self.rack("4B")
        assert scenario.manager is not None
        scenario.manager.intents.open_intent(MACAddress(scenario.boards[0].mac), IntentOrigin.OPERATOR, "default")
        scenario.step_clock(2 * HOUR)
        scenario.run_until(lambda: False, 60.0)
        self.assertEqual(len(scenario.manager.intents.living()), 1)
        scenario.harness.start()
        self.assert_all_up()
        self.assertEqual(len(scenario.intents), 1)
