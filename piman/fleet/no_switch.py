# -*- test-case-name: tests.test_service -*-
"""
A power switch that cannot be used, because nobody here knows how: it says so whenever it is asked.
"""

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from piman.fleet.interfaces import IPowerSwitch, PowerRefused
from piman.fleet.model import MACAddress, PortPower, PowerBudget


@implementer(IPowerSwitch)
class NoSwitch:
    """Fails at everything with the same :class:`PowerRefused`."""

    def __init__(self, reason: str, remedy: str) -> None:
        self._reason = reason
        self._remedy = remedy

    def _refusal(self) -> PowerRefused:
        return PowerRefused(self._reason, self._remedy)

    def turn_on(self, port: int) -> "Deferred[None]":
        """Fail."""
        return fail(self._refusal())

    def turn_off(self, port: int) -> "Deferred[None]":
        """Fail."""
        return fail(self._refusal())

    def read(self, port: int) -> "Deferred[PortPower]":
        """Fail."""
        return fail(self._refusal())

    def ports(self) -> "Deferred[list[PortPower]]":
        """Fail."""
        return fail(self._refusal())

    def budget(self) -> "Deferred[PowerBudget | None]":
        """Fail."""
        return fail(self._refusal())

    def locate(self, mac: MACAddress) -> "Deferred[int | None]":
        """Fail."""
        return fail(self._refusal())

    def learned(self) -> "Deferred[Mapping[int, frozenset[MACAddress]]]":
        """Fail."""
        return fail(self._refusal())
