# -*- test-case-name: tests.test_fleet_power -*-
"""
Switching ports as an operator would with patience: one order after the other on each switch, tried again where that
helps, looked at until the power has really gone, and never two ports given power in the same moment.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

import attrs
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from piman.fleet.interfaces import IPowerSwitch, PowerFailed, PowerRefused
from piman.fleet.model import MACAddress, PortPower, PowerBudget, SwitchPort
from piman.fleet.operations.watts import Needs, Reservations, SwitchPower, is_enough, sums

Result = TypeVar("Result")
BUDGET_SECONDS = 1.0
"""Between two looks whether a switch has power left."""


@attrs.frozen(kw_only=True)
class PowerPolicy:
    """How patiently power is switched; seconds."""

    off_seconds: float = 5.0
    """A node stays without power so long: PoE splitters ride through a second (netboot reference 5.4)."""
    stagger_seconds: float = 1.0
    """Between two ports of one switch that are given power: inrush, and the load of the boots."""
    retries: Sequence[float] = (1.0, 3.0, 7.0)
    """Pauses before an order is given again that may succeed a little later."""
    on_retries: Sequence[float] = (1.0, 3.0, 7.0, 15.0, 30.0, 60.0)
    """The same when a node would stay dark otherwise."""
    looks: Sequence[float] = (0.2, 0.3, 0.5, 1.0, 1.0, 1.0, 1.0)
    """Pauses before each look whether a port that is off delivers no more: 5 s in all."""


class StillDelivering(PowerFailed):
    """The port was ordered off, says that it is, and delivers power all the same."""

    may_retry = True


class BudgetSpent(PowerFailed):
    """The switch has no power left for the port."""


class PowerDesk:
    """
    All switches.

    :param switches: by address; replaced as a whole when the configuration changes.
    """

    def __init__(
        self, clock: IReactorTime, switches: Mapping[IPv4Address, IPowerSwitch], policy: PowerPolicy | None = None
    ) -> None:
        self.switches = switches
        self.policy = policy or PowerPolicy()
        self._clock = clock
        self._queues: dict[IPv4Address, DeferredLock] = {}
        self._next_on: dict[IPv4Address, float] = {}
        self._needs = Needs()
        self._reservations = Reservations()

    # What operations ask for

    async def take_away(self, port: SwitchPort) -> PortPower:
        """
        Switch off, and wait until the port delivers nothing.

        :raises PowerFailed: with what the operator needs to know; the port may be on or off.
        """
        await self._ordered(port, lambda switch: switch.turn_off(port.port), self.policy.retries)
        return await self._wait_until_dark(port)

    async def give(self, port: SwitchPort, *, is_new: bool = False) -> None:
        """
        Switch on when it is this port's turn, and its switch has power for it.

        :param is_new: whether it had none before: then it gets none that the switch does not have.  What had power gets
            it back in any case, once those before it draw what they draw: no node is left dark for an estimate.
        :raises PowerFailed: after many attempts, or when the budget is spent.
        """
        await self._wait_for_turn(port.switch)
        await self._wait_for_budget(port, is_new=is_new)
        await self._ordered(port, lambda switch: switch.turn_on(port.port), self.policy.on_retries)

    async def survey(self, address: IPv4Address) -> PowerBudget | None:
        """
        See how all ports of a switch are, and remember what they may draw; its budget.

        :raises PowerFailed: when the switch does not say.
        """
        switch = self._switch(address)
        self._needs.saw(address, await switch.ports())
        return await switch.budget()

    def sums(
        self, ports: Sequence[SwitchPort], budgets: Mapping[IPv4Address, PowerBudget | None]
    ) -> tuple[SwitchPower, ...]:
        """What ports may draw, by switch, as far as :meth:`survey` has seen them."""
        return sums(ports, self._needs, budgets)

    async def look(self, port: SwitchPort) -> PortPower:
        """
        How the port is.

        :raises PowerFailed: when the switch does not say.
        """
        return await self._ordered(port, lambda switch: switch.read(port.port), self.policy.retries[:1])

    async def learned(self, address: IPv4Address) -> Mapping[int, frozenset[MACAddress]]:
        """
        Which boards the switch sees where.

        :raises PowerFailed: when the switch does not say.
        """
        return await self._switch(address).learned()

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await deferLater(self._clock, seconds)

    # How

    def _switch(self, address: IPv4Address) -> IPowerSwitch:
        switch = self.switches.get(address)
        if switch is None:
            raise PowerRefused(
                f"piman.yaml has no switch {address} any more.", "Put it back, or give the node another port."
            )
        return switch

    async def _ordered(
        self, port: SwitchPort, order: "Callable[[IPowerSwitch], Awaitable[Result]]", pauses: Sequence[float]
    ) -> Result:
        """Give an order in the switch's queue; again after each pause where that may help."""
        nothing_done = True
        for pause in (*pauses, None):
            queue = self._queues.setdefault(port.switch, DeferredLock())
            await queue.acquire()
            try:
                return await order(self._switch(port.switch))
            except PowerFailed as failure:
                nothing_done = nothing_done and failure.nothing_done
                if pause is None or not failure.may_retry:
                    failure.nothing_done = nothing_done
                    raise
            finally:
                queue.release()
            await self.pause(pause)
        raise AssertionError("the last pause is None")

    async def _wait_until_dark(self, port: SwitchPort) -> PortPower:
        for pause in self.policy.looks:
            await self.pause(pause)
            seen = await self.look(port)
            if not seen.delivering:
                return seen
        raise StillDelivering(
            f"{port} was switched off, but goes on delivering power ({seen.state}).",
            "Its switch does not do what it says: switch the port off by hand and see whether the node goes dark.",
        )

    async def _wait_for_budget(self, port: SwitchPort, *, is_new: bool) -> None:
        watts = self._needs.of(port)
        while watts is not None:
            try:
                budget = await self._switch(port.switch).budget()
            except PowerFailed:
                return  # the order itself will tell
            now = self._clock.seconds()
            pending = self._reservations.pending(port.switch, now)
            if is_enough(budget, pending + watts) or not (pending or is_new):
                self._reservations.promise(port, watts, now)
                return
            if not pending and budget is not None:
                raise BudgetSpent(
                    f"{port} may draw {watts:.1f} W, and its switch gives {budget.used_watts:.1f} of "
                    f"{budget.total_watts:.1f} W already.",
                    "Switch other ports off, or move the node to another switch.",
                )
            await self.pause(BUDGET_SECONDS)

    async def _wait_for_turn(self, switch: IPv4Address) -> None:
        now = self._clock.seconds()
        turn = max(now, self._next_on.get(switch, now))
        self._next_on[switch] = turn + self.policy.stagger_seconds
        if turn > now:
            await self.pause(turn - now)


