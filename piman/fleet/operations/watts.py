# -*- test-case-name: tests.test_fleet_watts -*-
"""
What nodes may draw, and what their switch can still give.

1. IEEE 802.3-2022, 33.2.7 and 145.2.8: what a port must be able to give to each class; RFC 3621, pethMainPseTable
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

import attrs

from piman.fleet.model import PortPower, PowerBudget, SwitchPort

CLASS_WATTS: Sequence[float] = (15.4, 4.0, 7.0, 15.4, 30.0, 45.0, 60.0, 75.0, 90.0)
"""At the port, by class."""
DRAW_MARGIN = 1.5
"""A board that starts draws so many times what it was measured to draw, its inrush included."""
RESERVED_SECONDS = 5.0
"""After a port was given power its draw shows in what the switch says: detection takes a second or two."""


def need(power: PortPower) -> float:
    """Watts that a port may draw when it is given power: the measured draw and a margin, or the most of its class."""
    known = power.power_class is not None and 0 <= power.power_class < len(CLASS_WATTS)
    most = CLASS_WATTS[power.power_class if known and power.power_class is not None else 0]
    return min(most, DRAW_MARGIN * power.watts) if power.delivering and power.watts else most


@attrs.frozen(kw_only=True)
class SwitchPower:
    """What the targets on one switch may draw, beside what it can give."""

    switch: IPv4Address
    ports: int
    watts: float
    """The sum of what the targets may draw."""
    total_watts: float | None = None
    used_watts: float | None = None
    """By all its ports, now."""


class Needs:
    """What each port may draw, as it was last seen: of one that delivers the measured draw is remembered."""

    def __init__(self) -> None:
        self._watts: dict[SwitchPort, float] = {}

    def saw(self, switch: IPv4Address, ports: Sequence[PortPower]) -> None:
        """How these ports are."""
        for power in ports:
            port = SwitchPort(switch, power.port)
            if power.delivering or port not in self._watts:
                self._watts[port] = need(power)

    def of(self, port: SwitchPort) -> float | None:
        """Watts; None: never seen."""
        return self._watts.get(port)


class Reservations:
    """What was promised to ports that have just been given power, on top of what a switch says that it gives."""

    def __init__(self) -> None:
        self._promised: dict[SwitchPort, tuple[float, float]] = {}

    def pending(self, switch: IPv4Address, now: float) -> float:
        """Watts on a switch that do not show yet."""
        self._promised = {port: each for port, each in self._promised.items() if each[0] > now}
        return sum(watts for port, (_, watts) in self._promised.items() if port.switch == switch)

    def promise(self, port: SwitchPort, watts: float, now: float) -> None:
        """The port is about to be given power."""
        self._promised[port] = now + RESERVED_SECONDS, watts


def is_enough(budget: PowerBudget | None, watts: float) -> bool:
    """Whether a switch can give so much more; one that does not tell its budget has no limit."""
    if budget is None or budget.total_watts is None or budget.used_watts is None:
        return True
    return budget.used_watts + watts <= budget.total_watts


def sums(
    ports: Sequence[SwitchPort], needs: Needs, budgets: Mapping[IPv4Address, PowerBudget | None]
) -> tuple[SwitchPower, ...]:
    """For each switch that told how its ports are: what these ports may draw."""
    found = []
    for switch in sorted({port.switch for port in ports}):
        watts = [watts for port in ports if port.switch == switch and (watts := needs.of(port)) is not None]
        budget = budgets.get(switch)
        if watts:
            found.append(
                SwitchPower(
                    switch=switch,
                    ports=len(watts),
                    watts=round(sum(watts), 1),
                    total_watts=budget.total_watts if budget is not None else None,
                    used_watts=budget.used_watts if budget is not None else None,
                )
            )
    return tuple(found)
