# -*- test-case-name: tests.test_simulator_running_harness -*-
"""
The hand at the power switch of a virtual rack.

It powers all boards on, power-cycles those that hang, as a PoE switch would, and cuts the power of a chosen share at
a random step of their boot.  Everything it does is counted.
"""

from collections.abc import Callable, Sequence
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from piman.simulator.booting.journal import STEPS, Journal, Step
from piman.simulator.pi import Pi
from piman.simulator.switch import Powered

NOTICE_SECONDS = 10.0
"""How long a board hangs before somebody notices."""
OFF_SECONDS = 5.0
"""How long a port stays off in a power cycle."""


@attrs.frozen(kw_only=True)
class PowerCuts:
    """
    Boards that lose their power once.

    :ivar share: of the boards.
    :ivar steps: at one of these, chosen at random.
    :ivar within_seconds: so long after the step began, at most.
    """

    share: float = 0.0
    steps: tuple[Step, ...] = STEPS
    within_seconds: float = 1.0


class Harness:
    """
    Powers boards and waits until all are up.

    :param hands: who gives power to each board and takes it, when it is not the board itself: the plugs of a switch.
    :param speed: nobody on the wire can observe how long a hand takes.
    :param stagger_seconds: between two boards at the beginning.
    :param at_once: at most so many boards boot at the same time; None: all.
    :ivar recovers: whether boards that hang are power-cycled; no: that is left to others.
    :ivar cycles: boards that hung and were power-cycled.
    :ivar cuts: boards whose power was cut on purpose.
    :ivar all_up: fires when every board is up.
    """

    def __init__(
        self,
        pis: Sequence[Pi],
        *,
        clock: IReactorTime,
        random: Random,
        speed: float = 1.0,
        stagger_seconds: float = 0.0,
        at_once: int | None = None,
        power_cuts: PowerCuts | None = None,
        hands: Sequence[Powered] | None = None,
    ) -> None:
        self.pis = tuple(pis)
        self.hands: tuple[Powered, ...] = tuple(pis if hands is None else hands)
        self.recovers = True
        self.cycles = 0
        self.cuts = 0
        self.all_up: Deferred[None] = Deferred()
        self.watchers: list[Callable[[Pi], None]] = []
        self._clock = clock
        self._random = random
        self._speed = speed
        self._stagger_seconds = stagger_seconds
        self._at_once = at_once or len(self.pis)
        self._waiting = list(reversed(range(len(self.pis))))
        self._booting: set[int] = set()
        self._calls: set[IDelayedCall] = set()
        self._doomed = self._choose(power_cuts or PowerCuts())
        for number, pi in enumerate(self.pis):
            pi.journal.watch = self._watch(number, pi)

    def _choose(self, cuts: PowerCuts) -> dict[int, tuple[Step, float]]:
        """Which board loses its power at which step, and how long after that began."""
        chosen = {}
        for number in range(len(self.pis)):
            if cuts.steps and self._random.random() < cuts.share:
                chosen[number] = self._random.choice(cuts.steps), self._random.uniform(0, cuts.within_seconds)
        return chosen

    def start(self) -> None:
        """Power on, one after the other."""
        self._admit()

    def stop(self) -> None:
        """Power off, all at once."""
        self._waiting.clear()
        self.watchers.clear()
        for call in tuple(self._calls):
            call.cancel()
        self._calls.clear()
        for hand in self.hands:
            hand.power_off()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def run() -> None:
            self._calls.discard(call)
            act()

        call = self._clock.callLater(seconds, run)
        self._calls.add(call)

    def _admit(self) -> None:
        """Power on the next boards, as many as may boot at once."""
        delay = 0.0
        while self._waiting and len(self._booting) < self._at_once:
            number = self._waiting.pop()
            self._booting.add(number)
            self._later(delay, self.hands[number].power_on)
            delay += self._stagger_seconds

    def _watch(self, number: int, pi: Pi) -> Callable[[Journal], None]:
        def changed(journal: Journal) -> None:
            doom = self._doomed.get(number)
            if doom is not None and doom[0] is journal.step:
                del self._doomed[number]
                self._later(doom[1], lambda: self._cut(number))
            if journal.step is Step.HUNG and self.recovers:
                self._later(NOTICE_SECONDS / self._speed, lambda: self._cycle(number))
            elif journal.step is Step.UP:
                self._arrived(number)
            for watcher in self.watchers:
                watcher(pi)

        return changed

    def _cut(self, number: int) -> None:
        """Too late for a board that is up by now: the rack may be done."""
        if not self.pis[number].is_up:
            self.cuts += 1
            self._off_and_on(number)

    def _cycle(self, number: int) -> None:
        if self.pis[number].journal.step is Step.HUNG and self.recovers:
            self.cycles += 1
            self._off_and_on(number)

    def _off_and_on(self, number: int) -> None:
        self.hands[number].power_off()
        self._later(OFF_SECONDS / self._speed, self.hands[number].power_on)

    def _arrived(self, number: int) -> None:
        self._booting.discard(number)
        self._admit()
        if not self._waiting and not self.all_up.called and all(pi.is_up for pi in self.pis):
            self.all_up.callback(None)
