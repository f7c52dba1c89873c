"""
The power switch in memory keeps the contract of every power switch.
"""

from typing import Any

from twisted.trial.unittest import TestCase

from piman.fleet.interfaces import AmbiguousPort, PowerNotObeyed, PowerUnreachable
from piman.fleet.model import MACAddress
from piman.testing.power import MemoryPowerSwitch
from piman.testing.power_contract import PowerSwitchMixin

A, B = MACAddress.parse("b8:27:eb:00:00:01"), MACAddress.parse("b8:27:eb:00:00:02")


class MemoryPowerSwitchTests(PowerSwitchMixin, TestCase):
    """The fake keeps the contract."""

    def make(self) -> Any:
        """A switch with a board on two of its ports."""
        switch = MemoryPowerSwitch()
        switch.macs = {1: {A}, 2: {B}}
        return switch

    def unreachable(self) -> Any:
        """One that is gone."""
        switch = MemoryPowerSwitch()
        switch.failure = PowerUnreachable("memory does not answer.", "Plug it in.")
        return switch


class MemoryFaultTests(TestCase):
    """What the fake can be told to do wrong."""

    async def test_deaf(self) -> None:
        """A deaf port accepts the order, stays as it is, and the order fails."""
        switch = MemoryPowerSwitch()
        switch.deaf = {2}
        with self.assertRaises(PowerNotObeyed):
            await switch.turn_off(2)
        self.assertTrue((await switch.read(2)).admin_on)

    async def test_stuck(self) -> None:
        """A stuck port is off as ordered and delivers all the same."""
        switch = MemoryPowerSwitch()
        switch.stuck = {2}
        await switch.turn_off(2)
        found = await switch.read(2)
        self.assertEqual((found.admin_on, found.delivering), (False, True))

    async def test_changed(self) -> None:
        """Whoever hangs on a port is told of each real change, once."""
        told: list[tuple[int, bool]] = []
        switch = MemoryPowerSwitch(changed=lambda port, on: told.append((port, on)))
        await switch.turn_off(3)
        await switch.turn_off(3)
        await switch.turn_on(3)
        self.assertEqual(told, [(3, False), (3, True)])

    async def test_uplink(self) -> None:
        """A board among others is ambiguous."""
        switch = MemoryPowerSwitch()
        switch.macs = {5: {A, B}}
        with self.assertRaises(AmbiguousPort) as caught:
            await switch.locate(A)
        self.assertEqual(caught.exception.ports, (5,))
