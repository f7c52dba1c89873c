# -*- test-case-name: tests.test_fleet_turns -*-
"""
Whose turn it is, over all operations: what is in flight, what was learned of it, and how many more there is room for.

How windows grow and shrink: :mod:`.admission`
"""

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.fleet.operations import admission
from piman.fleet.operations.orders import Action, Operation, Step, TargetReport
from piman.fleet.operations.pace import Pace
from piman.fleet.operations.power import PowerPolicy


@attrs.frozen
class Begun:
    """A target that is at work."""

    action: Action
    report: TargetReport
    is_through: bool
    """Whether its node is past what the manager bears."""


class Turns:
    """
    Admission control.

    :param policy: how power is switched, as of now.
    :param is_crowded: whether boards wait for each other on the line to us, or for us.
    :ivar window: how many nodes may be in flight; :attr:`image_window`: of these, how many may be installed.
    :ivar pace: how fast nodes are.
    """

    def __init__(
        self, clock: IReactorTime, *, policy: Callable[[], PowerPolicy], is_crowded: Callable[[], bool]
    ) -> None:
        self.window = admission.Window()
        self.image_window = admission.Window(size=admission.FIRST_IMAGE_WINDOW)
        self.pace = Pace()
        self._clock = clock
        self._policy = policy
        self._is_crowded = is_crowded
        self._throughput = admission.Throughput()

    def room(self, action: Action, begun: Sequence[Begun]) -> int:
        """How many more may begin."""
        busy = [one.action for one in begun if not one.is_through]
        room = self.window.room - len(busy)
        if self._is_crowded():
            most = max(admission.SMALLEST_WINDOW, int(admission.GAIN * self._throughput.filling))
            self.window = admission.crowded(self.window, max(most, len(busy)))
            room = min(room, most - len(busy))
        if action is Action.REINSTALL:
            room = min(room, self.image_window.room - busy.count(Action.REINSTALL))
        return room

    def of(self, operation: Operation, waiting: Sequence[int], begun: Sequence[Begun]) -> list[int]:
        """Whose turn is next, in order: of these targets of an operation, those whose switch can come back to them."""
        queued = Counter(
            _switch(one.report) for one in begun if one.report.step.may_be_dark or one.report.step is Step.WAITING
        )
        places = [(index, _switch(operation.reports[index])) for index in waiting]
        policy = self._policy()
        return admission.in_turn(places, queued, admission.longest_queue(policy.off_seconds, policy.stagger_seconds))

    def passed(self, action: Action, report: TargetReport) -> None:
        """A node is through what the manager bears."""
        if not report.stages:  # nobody was followed: nothing is learned of a port
            return
        now = self._clock.seconds()
        self.pace.passed(report.stages)
        if action is not Action.REINSTALL:
            self._throughput.passed(now - report.started, now)
        if not self._is_crowded():
            self.window = admission.succeeded(self.window)
        if action is Action.REINSTALL:
            self.image_window = admission.succeeded(self.image_window)

    def lost(self, action: Action, powered_at: float) -> None:
        """A node did not get through."""
        now = self._clock.seconds()
        self.window = admission.lost(self.window, powered_at, now)
        if action is Action.REINSTALL:
            self.image_window = admission.lost(self.image_window, powered_at, now)


def _switch(report: TargetReport) -> IPv4Address | None:
    return report.target.port.switch if report.target.port else None
