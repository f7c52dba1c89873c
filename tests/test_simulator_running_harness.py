"""
The hand at the power switch.
"""

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.journal import STEPS, Journal, Step
from piman.simulator.pi import Pi
from piman.simulator.running.harness import Harness, PowerCuts
from piman.simulator.running.plan import places
from tests.simulator_support import BenchNetwork


class HarnessTests(SynchronousTestCase):
    """Boards that find no server."""

    def harness(self, count: int, model: str = "3B+", **options: object) -> Harness:
        """A hand and so many boards."""
        self.clock = Clock()
        pis = [
            Pi(
                place.board,
                clock=self.clock,
                network=BenchNetwork(self.clock),
                journal=Journal(),
                random=Random(number),
            )
            for number, place in enumerate(places(count, (model,), 0.0))
        ]
        made = Harness(pis, clock=self.clock, random=Random(1), **options)  # type: ignore[arg-type]
        self.addCleanup(made.stop)
        return made

    def steps(self, harness: Harness) -> list[Step]:
        """Where the boards are."""
        return [pi.journal.step for pi in harness.pis]

    def test_powers_on(self) -> None:
        """All boards are powered on, one after the other if that is wanted."""
        harness = self.harness(3, stagger_seconds=2.0)
        harness.start()
        self.clock.advance(0.0)
        self.assertEqual(self.steps(harness), [Step.FIRMWARE, Step.DARK, Step.DARK])
        self.clock.pump([2.0] * 2)
        self.assertEqual(self.steps(harness), [Step.FIRMWARE] * 3)

    def test_bounded(self) -> None:
        """Only so many boot at once; the next one has its turn when one is up."""
        harness = self.harness(3, at_once=1)
        harness.start()
        self.clock.advance(0.0)
        self.assertEqual(self.steps(harness), [Step.FIRMWARE, Step.DARK, Step.DARK])
        harness.pis[0].journal.enter(Step.UP, 1.0)
        self.clock.advance(0.0)
        self.assertEqual(self.steps(harness), [Step.UP, Step.FIRMWARE, Step.DARK])

    def test_power_cycles_the_hung(self) -> None:
        """A board that hangs is off for a while and then boots again, each time it hangs, and is counted."""
        harness = self.harness(1)
        harness.start()
        self.clock.pump([0.5] * 240)
        pi = harness.pis[0]
        self.assertEqual(harness.cycles, 2)
        self.assertEqual(pi.journal.boots, 3)
        self.assertEqual([step for step, _ in pi.journal.steps][:5],
                         [Step.FIRMWARE, Step.ADDRESS, Step.HUNG, Step.DARK, Step.FIRMWARE])  # fmt: skip

    def test_leaves_the_patient_alone(self) -> None:
        """A board that tries again by itself is not touched."""
        harness = self.harness(1, "4B")
        harness.start()
        self.clock.pump([0.5] * 600)
        self.assertEqual((harness.cycles, harness.pis[0].journal.boots), (0, 1))
        self.assertGreater(harness.pis[0].journal.retries, 2)

    def test_cuts_once(self) -> None:
        """A doomed board loses its power once, soon after the step began, and is powered on again."""
        harness = self.harness(4, power_cuts=PowerCuts(share=1.0, steps=(Step.ADDRESS,), within_seconds=1.0))
        harness.start()
        self.clock.pump([0.1] * 200)
        self.assertEqual(harness.cuts, 4)
        self.assertEqual([pi.journal.boots for pi in harness.pis], [2] * 4)
        for pi in harness.pis:
            began = dict(reversed(pi.journal.steps))
            self.assertTrue(0.0 <= began[Step.DARK] - began[Step.ADDRESS] <= 1.1)

    def test_share(self) -> None:
        """About the share of the boards is doomed, at steps of all kinds."""
        harness = self.harness(400, power_cuts=PowerCuts(share=0.5))
        self.assertTrue(160 < len(harness._doomed) < 240)
        self.assertEqual({step for step, _ in harness._doomed.values()}, set(STEPS))

    def test_leaves_the_hung_to_others(self) -> None:
        """Told so, it touches no board that hangs, not even one that it has noticed already."""
        harness = self.harness(1)
        harness.start()
        while harness.pis[0].journal.step is not Step.HUNG:
            self.clock.advance(0.5)
        harness.recovers = False
        self.clock.pump([0.5] * 240)
        self.assertEqual((harness.cycles, harness.pis[0].journal.boots), (0, 1))

    def test_hands(self) -> None:
        """Somebody else gives the power and takes it, when there is somebody."""
        done: list[str] = []

        class Hand:
            def power_on(self) -> None:
                done.append("on")

            def power_off(self) -> None:
                done.append("off")

        harness = self.harness(1, hands=[Hand()])
        harness.start()
        self.clock.advance(0.0)
        self.assertEqual((done, harness.pis[0].journal.boots), (["on"], 0))
        harness.pis[0].journal.enter(Step.HUNG, 1.0)
        self.clock.pump([5.0] * 3)
        self.assertEqual(done, ["on", "off", "on"])

    def test_all_up(self) -> None:
        """It says when the last board is up, once."""
        harness = self.harness(2)
        said: list[None] = []
        harness.all_up.addCallback(said.append)
        harness.pis[0].journal.enter(Step.UP, 1.0)
        self.assertEqual(said, [])
        harness.pis[1].journal.enter(Step.UP, 2.0)
        harness.pis[1].journal.enter(Step.DARK, 3.0)
        harness.pis[1].journal.enter(Step.UP, 4.0)
        self.assertEqual(said, [None])

    def test_stop(self) -> None:
        """After stop all boards are dark and nothing waits."""
        harness = self.harness(3, stagger_seconds=5.0)
        harness.start()
        self.clock.pump([1.0] * 60)
        harness.stop()
        self.assertEqual(self.steps(harness), [Step.DARK] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
