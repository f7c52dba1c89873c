# -*- test-case-name: tests.test_web_switchboard -*-
"""
How the switches are, for whoever looks: all asked at once, none waited for long, and not again for every page.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from piman.fleet.interfaces import IPowerSwitch, PowerFailed
from piman.fleet.model import PortPower, PowerBudget
from piman.fleet.operations.power import PowerDesk

Result = TypeVar("Result")
Default = TypeVar("Default")

WAIT_SECONDS = 5.0
"""A switch that has not answered by then is shown without an answer; its answer is there for the next who looks."""
FRESH_SECONDS = 10.0
"""An answer younger than this is shown again: a walk of the tables of a switch takes it up to a second."""


@attrs.frozen(kw_only=True)
class Answer:
    """What a switch said of itself."""

    reachable: bool | None = None
    """None: it has not answered yet."""
    reason: str = ""
    """Why it is not."""
    remedy: str = ""
    ports: tuple[PortPower, ...] = ()
    budget: PowerBudget | None = None


WAITING = Answer(reason=f"no answer within {WAIT_SECONDS:g} s; look again")


def within(
    clock: IReactorTime, seconds: float, wanted: "Deferred[Result]", otherwise: Default
) -> "Deferred[Result | Default]":
    """What is wanted, or something else when it takes longer; it is not stopped by that."""
    answered: Deferred[Result | Default] = Deferred()

    def finish(result: Result | Failure) -> None:
        if timer.active():
            timer.cancel()
            answered.callback(result)

    timer = clock.callLater(seconds, answered.callback, otherwise)
    wanted.addBoth(finish)
    return answered


@attrs.define
class _Asked:
    """The latest answer of a switch, and who waits for the next."""

    switch: IPowerSwitch
    answer: Answer = WAITING
    since: float = float("-inf")
    waiting: "list[Deferred[Answer]]" = attrs.field(factory=list)


class Switchboard:
    """Asks switches how they are."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, desk: PowerDesk) -> None:
        self._clock = clock
        self._desk = desk
        self._asked: dict[IPv4Address, _Asked] = {}

    async def answers(self, wait_seconds: float = WAIT_SECONDS) -> Mapping[IPv4Address, Answer]:
        """What each switch says of itself; an old answer when it is slow, :data:`WAITING` when there was none."""
        asked = {address: self._ask(address, switch, wait_seconds) for address, switch in self._desk.switches.items()}
        return {address: await answer for address, answer in asked.items()}

    def _ask(self, address: IPv4Address, switch: IPowerSwitch, wait_seconds: float) -> "Deferred[Answer]":
        known = self._asked.get(address)
        if known is None or known.switch is not switch:
            known = self._asked[address] = _Asked(switch)
        if self._clock.seconds() < known.since + FRESH_SECONDS:
            return succeed(known.answer)
        answered: Deferred[Answer] = Deferred()
        known.waiting.append(answered)
        if len(known.waiting) == 1:
            Deferred.fromCoroutine(_question(switch)).addBoth(self._tell, known)
        return within(self._clock, wait_seconds, answered, known.answer)

    def _tell(self, result: Answer | Failure, known: _Asked) -> None:
        if isinstance(result, Failure):
            self._log.failure("a power switch failed in a way that is no PowerFailed", result)
            result = Answer(reachable=False, reason=f"its plugin has a mistake: {result.getErrorMessage()}")
        known.answer, known.since = result, self._clock.seconds()
        waiting, known.waiting = known.waiting, []
        for answered in waiting:
            answered.callback(result)


async def _question(switch: IPowerSwitch) -> Answer:
    try:
        ports = await switch.ports()
        budget = await switch.budget()
    except PowerFailed as failure:
        return Answer(reachable=False, reason=failure.reason, remedy=failure.remedy)
    return Answer(reachable=True, ports=tuple(ports), budget=budget)
