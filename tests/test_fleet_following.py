"""
When a node that was given power is back.
"""

import attrs
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import NodeStatus, Phase
from piman.fleet.operations.following import PATIENCE, PROOFS, Outcome, judge, restarted, stages
from piman.fleet.operations.orders import Action, TargetReport
from piman.fleet.operations.targets import Target
from tests.fleet_support import MAC, instances

OFF_AT, ON_AT = 1000.0, 1005.0
REPORT = TargetReport(target=Target(port=None, mac=MAC), off_at=OFF_AT, on_at=ON_AT)


def seen(*phases: tuple[Phase, float]) -> NodeStatus:
    """A node that went through these phases."""
    return NodeStatus(mac=MAC, phase=phases[-1][0], since=phases[-1][1], last_seen=phases[-1][1], timeline=phases)


class JudgeTests(SynchronousTestCase):
    """The judgement of one moment."""

    def outcome(
        self, status: NodeStatus, now: float, action: Action = Action.RESTART, installed: bool = False
    ) -> Outcome:
        """What it is."""
        return judge(REPORT, status, now, action=action, installed=installed).outcome

    def test_back(self) -> None:
        """Up, after it asked for an address."""
        status = seen((Phase.POWERED, 1005.0), (Phase.OFFERED, 1010.0), (Phase.UP, 1040.0))
        self.assertIs(self.outcome(status, 1041.0), Outcome.BACK)

    def test_up_is_no_proof(self) -> None:
        """An agent that answers says nothing: the node may never have stopped."""
        status = seen((Phase.OFFERED, 900.0), (Phase.UP, 1006.0))
        self.assertIs(self.outcome(status, 1020.0), Outcome.ON_ITS_WAY)
        self.assertIs(self.outcome(status, ON_AT + PATIENCE[Phase.POWERED]), Outcome.UNMOVED)

    def test_not_installed(self) -> None:
        """A reinstallation is done when the node is up and its card holds the image."""
        status = seen((Phase.OFFERED, 1010.0), (Phase.UP, 1040.0))
        self.assertIs(self.outcome(status, 1041.0, Action.REINSTALL), Outcome.ON_ITS_WAY)
        self.assertIs(self.outcome(status, 1041.0, Action.REINSTALL, installed=True), Outcome.BACK)

    def test_given_power_only(self) -> None:
        """A node that was up all the time needs no proof when nothing but power was ordered."""
        self.assertIs(self.outcome(seen((Phase.UP, 900.0)), 1006.0, Action.POWER_ON), Outcome.BACK)

    def test_each_phase_has_its_time(self) -> None:
        """A node is overdue when its phase has lasted for its time without a sign of life, and not a moment before."""
        for phase in PROOFS:
            status = seen((phase, 1010.0))
            overdue = 1010.0 + PATIENCE[phase]
            standing = judge(REPORT, status, overdue - 1, action=Action.RESTART, installed=False)
            self.assertEqual((standing.outcome, standing.again_at), (Outcome.ON_ITS_WAY, overdue), phase)
            self.assertIs(self.outcome(status, overdue), Outcome.OVERDUE, phase)
            alive = attrs.evolve(status, last_seen=overdue)
            self.assertIs(self.outcome(alive, overdue), Outcome.ON_ITS_WAY, phase)

    def test_old_story(self) -> None:
        """What happened before the power went is no proof and no stage."""
        status = seen((Phase.OFFERED, 900.0), (Phase.BOOTING, 990.0), (Phase.POWERED, 1005.0))
        self.assertFalse(restarted(REPORT, status))
        self.assertEqual(stages(REPORT, status), ((Phase.POWERED, 1005.0),))

    @given(instances(NodeStatus))
    def test_total(self, status: NodeStatus) -> None:
        """Any status gets a judgement, and one that is on its way is judged again later."""
        standing = judge(REPORT, status, 1100.0, action=Action.RESTART, installed=False)
        if standing.outcome is Outcome.ON_ITS_WAY:
            self.assertGreater(standing.again_at, 1100.0)

    def test_every_phase(self) -> None:
        """There is no phase without its time."""
        self.assertEqual(set(PATIENCE), set(Phase))
