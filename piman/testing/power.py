# -*- test-case-name: tests.contract.test_power_memory -*-
"""
A power switch that is not there.
"""

from collections.abc import Callable, Iterable, Mapping

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from piman.fleet.interfaces import AmbiguousPort, IPowerSwitch, NoSuchPort, PowerFailed, PowerNotObeyed
from piman.fleet.model import MACAddress, PortPower, PowerBudget

PORT_WATTS = 4.0
"""What a node draws."""


@implementer(IPowerSwitch)
class MemoryPowerSwitch:
    """
    A switch in memory; every port has a node on it and is on at first.

    :param changed: told of each port whose power really changes, and how: where a virtual node hangs.
    :ivar orders: every order, also those that failed: ``("on", 3)``.
    :ivar failure: when set, everything fails with it.
    :ivar deaf: ports where orders are accepted and nothing happens.
    :ivar stuck: ports that go on delivering although they are off.
    :ivar faults: ports that are on and deliver nothing, each with its state.
    :ivar unlinked: ports that deliver power and have no link.
    :ivar total_watts: its budget: enough for all ports, whatever hangs there.
    :ivar macs: the boards that were learned, by port.
    """

    def __init__(
        self,
        ports: Iterable[int] = range(1, 9),
        changed: Callable[[int, bool], None] | None = None,
        label: str = "memory",
    ) -> None:
        self.on = dict.fromkeys(ports, True)
        self.orders: list[tuple[str, int]] = []
        self.failure: PowerFailed | None = None
        self.deaf: set[int] = set()
        self.stuck: set[int] = set()
        self.faults: dict[int, str] = {}
        self.unlinked: set[int] = set()
        self.macs: dict[int, set[MACAddress]] = {}
        self.total_watts = max(60.0, 15.4 * len(self.on))
        self._label = label
        self._changed = changed or (lambda port, on: None)

    def turn_on(self, port: int) -> "Deferred[None]":
        """Switch it on."""
        return self._switch(port, True)

    def turn_off(self, port: int) -> "Deferred[None]":
        """Switch it off."""
        return self._switch(port, False)

    def _switch(self, port: int, on: bool) -> "Deferred[None]":
        self.orders.append(("on" if on else "off", port))
        refusal = self._refusal(port)
        if refusal is not None:
            return fail(refusal)
        was = self.delivering(port)
        if port not in self.deaf:
            self.on[port] = on
        if self.delivering(port) != was:
            self._changed(port, not was)
        if self.on[port] != on:
            order = "on" if on else "off"
            return fail(PowerNotObeyed(f"{self._label} port {port} was ordered {order} and is not.", "Try again."))
        return succeed(None)

    def _refusal(self, port: int) -> PowerFailed | None:
        if self.failure is not None:
            return self.failure
        if port not in self.on:
            return NoSuchPort(f"{self._label} has no port {port}.", "Name another port.")
        return None

    def delivering(self, port: int) -> bool:
        """Whether power really flows."""
        return port not in self.faults and (self.on[port] or port in self.stuck)

    def _state(self, port: int) -> PortPower:
        delivering = self.delivering(port)
        plain = "delivering" if delivering else "disabled" if not self.on[port] else self.faults[port]
        return PortPower(
            port=port,
            admin_on=self.on[port],
            delivering=delivering,
            state=plain,
            power_class=0 if delivering else None,
            watts=PORT_WATTS if delivering else 0.0,
            link_up=delivering and port not in self.unlinked,
            name=f"port {port}",
        )

    def read(self, port: int) -> "Deferred[PortPower]":
        """How it is."""
        refusal = self._refusal(port)
        return succeed(self._state(port)) if refusal is None else fail(refusal)

    def ports(self) -> "Deferred[list[PortPower]]":
        """All of them."""
        return fail(self.failure) if self.failure else succeed([self._state(port) for port in sorted(self.on)])

    def budget(self) -> "Deferred[PowerBudget | None]":
        """The sum of what the ports draw."""
        if self.failure:
            return fail(self.failure)
        used = PORT_WATTS * sum(self.delivering(port) for port in self.on)
        return succeed(PowerBudget(total_watts=self.total_watts, used_watts=used, state="on"))

    def locate(self, mac: MACAddress) -> "Deferred[int | None]":
        """The port in :attr:`macs`."""
        if self.failure:
            return fail(self.failure)
        found = [port for port, macs in self.macs.items() if mac in macs]
        if any(len(self.macs[port]) > 1 for port in found):
            return fail(AmbiguousPort(f"{self._label} sees {mac} among others.", "Name the port.", ports=found))
        return succeed(found[0] if found else None)

    def learned(self) -> "Deferred[Mapping[int, frozenset[MACAddress]]]":
        """A copy of :attr:`macs`."""
        if self.failure:
            return fail(self.failure)
        return succeed({port: frozenset(macs) for port, macs in self.macs.items() if macs})


@attrs.define
class MemoryAgent:
    """
    An SNMP agent in memory: the :class:`piman.switching.session.Agent` of tests.

    :ivar values: what is there, by OID.
    :ivar faults: what is raised when an OID (or a column) is asked for.
    :ivar set_fault: what is raised when something is written.
    """

    values: dict[tuple[int, ...], int | bytes | tuple[int, ...]] = attrs.field(factory=dict)
    faults: dict[tuple[int, ...], Exception] = attrs.field(factory=dict)
    sets: list[tuple[tuple[int, ...], int]] = attrs.field(factory=list)
    walks: list[tuple[int, ...]] = attrs.field(factory=list)
    obeys: bool = True
    set_fault: Exception | None = None

    def _may(self, oid: tuple[int, ...]) -> None:
        for prefix, fault in self.faults.items():
            if oid[: len(prefix)] == prefix:
                raise fault

    async def get(self, *oids: tuple[int, ...]) -> tuple[int | bytes | tuple[int, ...] | None, ...]:
        """What stands there."""
        for oid in oids:
            self._may(oid)
        return tuple(self.values.get(oid) for oid in oids)

    async def set(self, oid: tuple[int, ...], value: int) -> None:
        """Put it there, unless the agent does not obey."""
        self._may(oid)
        if self.set_fault is not None:
            raise self.set_fault
        self.sets.append((oid, value))
        if self.obeys:
            self.values[oid] = value

    async def walk(self, column: tuple[int, ...]) -> dict[tuple[int, ...], int | bytes | tuple[int, ...]]:
        """The rows below, by index."""
        self._may(column)
        self.walks.append(column)
        size = len(column)
        return {oid[size:]: value for oid, value in sorted(self.values.items()) if oid[:size] == column}
