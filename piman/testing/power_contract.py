# -*- test-case-name: tests.contract.test_power_memory -*-
"""
What every power switch promises: a suite for plugins, ours and others'.

Mix it into a trial test case and say how to make the switch; ``docs/how-to/write-a-power-switch.md`` shows one::

    class MySwitchTests(PowerSwitchMixin, TestCase):
        def make(self):
            return MySwitch(...)
"""

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import IPowerSwitch, NoSuchPort, PowerFailed
from piman.fleet.model import MACAddress, PortPower, PowerBudget

STATES = ("disabled", "searching", "delivering", "fault", "test", "other fault", "")

NOBODY = MACAddress.parse("02:00:00:00:00:99")


class PowerSwitchMixin:
    """
    The contract of :class:`IPowerSwitch`.

    :cvar port: a port that the switch has; at the beginning of each test it is on.
    :cvar missing_port: one that it does not have; None when it cannot know (a program that takes any number).
    """

    port: int = 1
    missing_port: int | None = 99

    def make(self) -> Any:
        """A switch, or a Deferred of one."""
        raise NotImplementedError

    def unreachable(self) -> Any:
        """A switch that does not answer, or a Deferred of one; None when the kind knows no such thing."""
        return None

    async def _made(self) -> Any:
        return await maybeDeferred(self.make)

    async def _failure(self, attempt: "Deferred[Any]") -> PowerFailed:
        try:
            result = await attempt
        except PowerFailed as reason:
            return reason
        raise AssertionError(f"it answered {result!r} where it should have failed")

    async def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(IPowerSwitch, await self._made())

    async def test_off_and_on(self: Any) -> None:
        """Orders are obeyed: after each, reading the port shows it."""
        switch = await self._made()
        for order, expected in ((switch.turn_off, False), (switch.turn_on, True)):
            self.assertIsNone(await order(self.port))
            found = await switch.read(self.port)
            self.assertEqual((found.port, found.admin_on), (self.port, expected))

    async def test_twice(self: Any) -> None:
        """The same order twice is no mistake: whoever retries does not know what the first one did."""
        switch = await self._made()
        for order, expected in ((switch.turn_off, False), (switch.turn_on, True)):
            await order(self.port)
            await order(self.port)
            self.assertEqual((await switch.read(self.port)).admin_on, expected)

    async def test_other_ports(self: Any) -> None:
        """An order changes its port and no other."""
        switch = await self._made()
        before = {each.port: each.admin_on for each in await switch.ports() if each.port != self.port}
        await switch.turn_off(self.port)
        after = {each.port: each.admin_on for each in await switch.ports() if each.port != self.port}
        self.assertEqual(before, after)

    async def test_read(self: Any) -> None:
        """A port's state is in the words that everybody uses, and does not contradict itself."""
        found = await (await self._made()).read(self.port)
        self.assertIsInstance(found, PortPower)
        self.assertIn(found.state, STATES)
        if found.delivering is not None:
            self.assertEqual(found.delivering, found.state == "delivering")

    async def test_ports(self: Any) -> None:
        """The list is in order, holds each port once, and agrees with reading one of them."""
        switch = await self._made()
        found = await switch.ports()
        numbers = [each.port for each in found]
        self.assertEqual(numbers, sorted(set(numbers)))
        if found:
            self.assertIn(self.port, numbers)
            one = await switch.read(self.port)
            self.assertEqual(one.admin_on, next(each.admin_on for each in found if each.port == self.port))

    async def test_missing_port(self: Any) -> None:
        """A port that is not there is refused by name, for good, and nothing is switched."""
        if self.missing_port is None:
            return
        switch = await self._made()
        before = [each.admin_on for each in await switch.ports()]
        for order in (switch.turn_on, switch.turn_off, switch.read):
            reason = await self._failure(order(self.missing_port))
            self.assertIsInstance(reason, NoSuchPort)
            self.assertIn(str(self.missing_port), reason.reason)
            self.assertFalse(reason.may_retry)
        self.assertEqual([each.admin_on for each in await switch.ports()], before)

    async def test_budget(self: Any) -> None:
        """The budget is a budget, or unknown."""
        found = await (await self._made()).budget()
        if found is not None:
            self.assertIsInstance(found, PowerBudget)
            for watts in (found.total_watts, found.used_watts):
                self.assertTrue(watts is None or watts >= 0)

    async def test_learned(self: Any) -> None:
        """Boards that were learned are MACs by port, and a board that is alone on its port is found there."""
        switch = await self._made()
        found = await switch.learned()
        for port, macs in found.items():
            self.assertIsInstance(port, int)
            self.assertTrue(macs)
            if len(macs) == 1 and sum(macs <= others for others in found.values()) == 1:
                (mac,) = macs
                self.assertEqual(await switch.locate(mac), port)

    async def test_nobody(self: Any) -> None:
        """A board that is nowhere is located nowhere."""
        self.assertIsNone(await (await self._made()).locate(NOBODY))

    async def test_unreachable(self: Any) -> None:
        """A switch that does not answer fails each call in bounded time, may be asked again, and says what to do."""
        switch = await maybeDeferred(self.unreachable)
        if switch is None:
            return
        for attempt in (switch.turn_off(self.port), switch.turn_on(self.port), switch.read(self.port)):
            reason = await self._failure(attempt)
            self.assertTrue(reason.may_retry, reason.reason)
            self.assertTrue(reason.reason)
            self.assertTrue(reason.remedy)
