# -*- test-case-name: tests.test_fleet_operations -*-
"""
From the operator's words to a plan: which nodes, which ports, by which rule, and how long it will take.  Switches
nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address

import attrs
from twisted.internet.defer import Deferred

from piman.fleet.interfaces import INodeDirectory, PowerFailed
from piman.fleet.model import PowerBudget, SwitchPort
from piman.fleet.operations.orders import Action, TargetReport
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.targets import Atlas, Learned, Target, resolve, switches_to_ask
from piman.fleet.operations.watts import SwitchPower

TYPICAL_SECONDS = {Action.RESTART: 90.0, Action.REINSTALL: 300.0, Action.POWER_ON: 90.0, Action.POWER_OFF: 2.0}
"""What a node takes when all goes well: a Pi 4 with an SD card, a small image."""


class OperationRefused(Exception):
    """
    The order is not carried out, and nothing was changed.

    :ivar reason: why, a plain sentence.
    :ivar hint: what to do instead.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(f"{reason}; {hint}" if hint else reason)
        self.reason = reason
        self.hint = hint


@attrs.frozen(kw_only=True)
class Plan:
    """What would be done."""

    action: Action
    targets: tuple[TargetReport, ...]
    at_most: int = 0
    stop_after: int = 0
    image: str = ""
    notes: tuple[str, ...] = ()
    """What the operator should know before: which rule chose a port, what is not known."""
    expected_seconds: float = 0.0
    power: tuple[SwitchPower, ...] = ()
    """What the targets may draw, by switch, where switches tell; nothing for an order that gives no power."""
    needs_yes: bool = False
    """More targets than ``max_blast``."""


@attrs.frozen(kw_only=True)
class Wish:
    """An order without its targets."""

    action: Action
    image: str = ""
    at_most: int = 0
    stop_after: int = 0


class Planner:
    """
    Makes plans.

    :param atlas: what words can name, as of now.
    """

    def __init__(self, *, desk: PowerDesk, atlas: Callable[[], Atlas], nodes: INodeDirectory) -> None:
        self._desk = desk
        self._atlas = atlas
        self._nodes = nodes

    async def plan(self, wish: Wish, words: Sequence[str], max_blast: int) -> Plan:
        """
        What would be done.

        :param max_blast: more targets than this need a yes.
        :raises BadTargets: when the words name what cannot or must not be switched.
        :raises OperationRefused: for any other reason.
        """
        atlas = self._atlas()
        learned, notes = await self._ask(words, atlas)
        targets = resolve(words, atlas, learned)
        if wish.action is Action.REINSTALL:
            self._refuse_unmapped(targets)
        power: tuple[SwitchPower, ...] = ()
        if wish.action is not Action.POWER_OFF:
            power = await self._watts([target.port for target in targets if target.port is not None], notes)
        reports = tuple(TargetReport(target=target) for target in targets)
        return Plan(
            action=wish.action,
            targets=reports,
            at_most=wish.at_most,
            stop_after=wish.stop_after,
            image=wish.image,
            notes=tuple(notes),
            power=power,
            expected_seconds=self._expected(wish, reports),
            needs_yes=len(targets) > max_blast,
        )

    async def _ask(self, words: Sequence[str], atlas: Atlas) -> tuple[Learned, list[str]]:
        """What the switches in question have learned; one that does not tell is a note, no obstacle."""
        notes: list[str] = []
        found = {}
        addresses = sorted(switches_to_ask(words, atlas))
        asked = [Deferred.fromCoroutine(self._desk.learned(address)) for address in addresses]
        for address, answer in zip(addresses, asked, strict=True):
            try:
                found[address] = await answer
            except PowerFailed as failure:
                notes.append(f"the switch did not tell which boards it sees: {failure.reason}")
        return found, notes

    async def _watts(self, ports: Sequence[SwitchPort], notes: list[str]) -> tuple[SwitchPower, ...]:
        """What the ports may draw; a switch that does not tell is a note."""
        budgets: dict[IPv4Address, PowerBudget | None] = {}
        addresses = sorted({port.switch for port in ports})
        asked = [Deferred.fromCoroutine(self._desk.survey(address)) for address in addresses]
        for address, answer in zip(addresses, asked, strict=True):
            try:
                budgets[address] = await answer
            except PowerFailed as failure:
                notes.append(f"the switch did not tell what its ports draw: {failure.reason}")
        return self._desk.sums([port for port in ports if port.switch in budgets], budgets)

    def _refuse_unmapped(self, targets: Iterable[Target]) -> None:
        for target in targets:
            if target.mac is None or self._nodes.node(target.mac) is None:
                raise OperationRefused(
                    f"{target.name}: no configured node is known there, and only a node that is known can be installed",
                    "piman-ctl map shows which boards hang where, and the lines for hosts.csv",
                )

    def _expected(self, wish: Wish, reports: Sequence[TargetReport]) -> float:
        per_switch = Counter(report.target.port.switch for report in reports if report.target.port)
        turns = max(per_switch.values(), default=0) * self._desk.policy.stagger_seconds
        batches = -(-len(reports) // wish.at_most) if wish.at_most else 1
        off = self._desk.policy.off_seconds if wish.action.cycles else 0.0
        return batches * (off + TYPICAL_SECONDS[wish.action]) + turns
