# -*- test-case-name: tests.test_switching_power_switch -*-
"""
:class:`IPowerSwitch` by SNMP: a PoE switch, whatever its vendor.

Kind, interfaces and ports of a switch are found out at the first need and remembered; an order is read back until the
switch shows it, or the patience ends.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from piman.fleet.interfaces import (
    AmbiguousPort,
    IPowerSwitch,
    NoSuchPort,
    PowerFailed,
    PowerNotObeyed,
    PowerRefused,
    PowerUnreachable,
)
from piman.fleet.model import MACAddress, PortPower, PowerBudget
from piman.switching import bridge, mib, poe
from piman.switching.counting import CountedExchange
from piman.switching.once import Once
from piman.switching.profiles import CISCO, Profile
from piman.switching.session import (
    INDICATIONS,
    STATUS,
    Agent,
    SwitchBusy,
    SwitchFailed,
    SwitchRefused,
    SwitchTimeout,
)

T = TypeVar("T")

READ_BACK = (0.0, 0.5, 1.0, 2.0)
"""Seconds before each look at whether an order was obeyed; some agents answer first and switch later."""

UP = 1
"""ifOperStatus (RFC 2863)."""

REFUSALS = frozenset(refusal.name for refusal in (*STATUS.values(), *INDICATIONS.values()))
"""Codes of a switch that answers that it has not done it."""

CISCO_PREFIX = (*mib.ENTERPRISES, mib.CISCO)


@attrs.frozen(kw_only=True)
class Agents:
    """
    One switch, with the credentials for each purpose.

    Made when they are first needed, because making them may fail: a key stands in a file.
    """

    control: Agent
    """Reads and switches power, reads interfaces."""
    lookup: Agent
    """Reads the bridge's tables."""
    vlan_lookup: Agent | None = None
    """The same on Cisco switches, where the VLAN is part of the credentials; None: :attr:`lookup` has it already."""


@attrs.frozen
class _Map:
    names: Mapping[int, str]
    """By ifIndex."""
    matched: Mapping[int, int]
    """PoE port -> ifIndex."""

    def name(self, port: int) -> str:
        index = self.matched.get(port)
        return "" if index is None else self.names.get(index, "")


@implementer(IPowerSwitch)
class SNMPPowerSwitch:
    """
    A PoE switch.

    :param clock: provides ``callLater``.
    :param label: what people call the switch.
    :param agents: makes its agents; raises :class:`PowerFailed` when it cannot.
    :param group: of its ports, where the MIB has groups.
    :param read_back: see :data:`READ_BACK`.
    :ivar label: what people call the switch.
    :ivar traffic: what came of the datagrams to its agents, where somebody counts them.
    """

    def __init__(
        self,
        clock: Any,
        label: str,
        agents: Callable[[], Agents],
        *,
        group: int = 1,
        read_back: Sequence[float] = READ_BACK,
        traffic: CountedExchange | None = None,
    ) -> None:
        self.label = label
        self.traffic = traffic
        self._clock = clock
        self._make_agents = agents
        self._group = group
        self._read_back = tuple(read_back)
        self._agents: Once[Agents] = Once(self._find_agents)
        self._profile: Once[Profile] = Once(self._find_profile)
        self._map: Once[_Map] = Once(self._find_map)
        self._lookup: Once[Agent] = Once(self._find_lookup)

    def __repr__(self) -> str:
        return f"<SNMPPowerSwitch {self.label}>"

    # What is found out once

    async def _find_agents(self) -> Agents:
        return self._make_agents()

    async def _control(self) -> Agent:
        return (await self._agents.get()).control

    async def _find_profile(self) -> Profile:
        return await poe.find_profile(await self._control())

    async def _find_map(self) -> _Map:
        """Interfaces are a help, not a must: a switch that shows none of them still switches power."""
        control, profile = await self._control(), await self._profile.get()
        ports = await poe.read_ports(control, profile, self._group)
        try:
            interfaces = await bridge.read_interfaces(control)
            entities = await bridge.read_entities(control, profile, self._group)
        except SwitchRefused:
            interfaces, entities = bridge.Interfaces(), {}
        return _Map(interfaces.names, bridge.match_ports(ports, interfaces, entities))

    async def _find_lookup(self) -> Agent:
        """
        The agent that knows the bridge's tables.

        To a community that it does not know a switch is silent, so the other credentials are tried then.
        """
        agents = await self._agents.get()
        candidates = [agents.lookup]
        if agents.vlan_lookup is not None and await self._is_cisco(agents.control):
            candidates.insert(0, agents.vlan_lookup)
        if agents.control is not agents.lookup:
            candidates.append(agents.control)
        for candidate in candidates[:-1]:
            try:
                await candidate.get(mib.SYS_OBJECT_ID)
            except (SwitchTimeout, SwitchRefused):
                continue
            return candidate
        return candidates[-1]

    async def _is_cisco(self, control: Agent) -> bool:
        (object_id,) = await control.get(mib.SYS_OBJECT_ID)
        is_named = isinstance(object_id, tuple) and object_id[: len(CISCO_PREFIX)] == CISCO_PREFIX
        return is_named or self._profile.known is CISCO

    # Orders

    def turn_on(self, port: int) -> "Deferred[None]":
        """Give power, and read back that it is so."""
        return self._do(self._order(port, True), port)

    def turn_off(self, port: int) -> "Deferred[None]":
        """Take power away, and read back that it is so."""
        return self._do(self._order(port, False), port)

    async def _order(self, port: int, on: bool) -> None:
        try:
            control, profile = await self._told(self._before_order(port), port)
        except PowerFailed as failed:
            failed.nothing_done = True
            raise
        try:
            await poe.order(control, profile, self._group, port, on)
        except SwitchRefused as refused:
            told = power_failure(self.label, port, refused)
            told.nothing_done = refused.code in REFUSALS
            raise told from refused
        for pause in self._read_back:
            await deferLater(self._clock, pause, lambda: None)
            if await poe.is_on(control, profile, self._group, port) is on:
                return
        word, other = ("on", "off") if on else ("off", "on")
        raise PowerNotObeyed(
            f"switch {self.label}, port {port}: it accepted the order to switch power {word}, and still says {other}",
            "Look at the port on the switch itself: another manager, a schedule or a fault may hold it.",
        )

    async def _before_order(self, port: int) -> tuple[Agent, Profile]:
        """What an order needs; the port is there."""
        control, profile = await self._control(), await self._profile.get()
        if await poe.is_on(control, profile, self._group, port) is None:
            raise self._no_such(port)
        return control, profile

    def _no_such(self, port: int) -> NoSuchPort:
        """Perhaps the switch was replaced by another: what is known of it is found out again."""
        self._profile.forget()
        self._map.forget()
        return NoSuchPort(
            f"switch {self.label} has no PoE port {port} in group {self._group}",
            "Compare ports: and group: of the switch in piman.yaml with the switch; piman-ctl map shows its ports.",
        )

    # Reading

    def read(self, port: int) -> "Deferred[PortPower]":
        """How the port is: one GET, and one for its interface."""
        return self._do(self._read(port), port)

    async def _read(self, port: int) -> PortPower:
        control, profile = await self._control(), await self._profile.get()
        found = await poe.read_port(control, profile, self._group, port)
        if found is None:
            raise self._no_such(port)
        known = await self._map.get()
        index = known.matched.get(port)
        if index is None:
            return found
        (status,) = await control.get((*mib.IF_OPER_STATUS, index))
        return _linked(found, known, status)

    def ports(self) -> "Deferred[list[PortPower]]":
        """How all ports of the group are: one walk a column."""
        return self._do(self._ports())

    async def _ports(self) -> list[PortPower]:
        control, profile = await self._control(), await self._profile.get()
        found = await poe.read_ports(control, profile, self._group)
        known = await self._map.get()
        statuses = await control.walk(mib.IF_OPER_STATUS) if known.matched else {}
        return [_linked(each, known, statuses.get((known.matched.get(port, 0),))) for port, each in found.items()]

    def budget(self) -> "Deferred[PowerBudget | None]":
        """What the group can give and gives."""
        return self._do(self._budget())

    async def _budget(self) -> PowerBudget | None:
        return await poe.read_budget(await self._control(), await self._profile.get(), self._group)

    # Boards

    def learned(self) -> "Deferred[Mapping[int, frozenset[MACAddress]]]":
        """The boards that the switch has learned, by PoE port."""
        return self._do(self._learned())

    async def _learned(self) -> Mapping[int, frozenset[MACAddress]]:
        known = await self._map.get()
        lookup = await self._lookup.get()
        found = await bridge.read_learned(lookup)
        return bridge.by_power_port(found, await bridge.read_bridge_ports(lookup), known.matched)

    def locate(self, mac: MACAddress) -> "Deferred[int | None]":
        """Where a board was learned; ambiguous when it was learned at an uplink."""
        return self._do(self._locate(mac))

    async def _locate(self, mac: MACAddress) -> int | None:
        found = await self._learned()
        ports = sorted(port for port, macs in found.items() if mac in macs)
        alone = [port for port in ports if len(found[port]) == 1]
        if len(alone) == 1:
            return alone[0]
        if not ports:
            return None
        others = ", ".join(f"port {port} with {len(found[port]) - 1} others" for port in ports)
        raise AmbiguousPort(
            f"switch {self.label} has learned {mac} at {others}: an uplink, or a switch in between",
            "Name the port: an entry under ports: of the switch that the board is on.",
            ports=ports,
        )

    # The edge

    def _do(self, work: Coroutine[Any, Any, T], port: int | None = None) -> "Deferred[T]":
        return Deferred.fromCoroutine(self._told(work, port))

    async def _told(self, work: Awaitable[T], port: int | None) -> T:
        try:
            return await work
        except SwitchFailed as failed:
            raise power_failure(self.label, port, failed) from failed


def _linked(found: PortPower, known: _Map, status: Any) -> PortPower:
    link_up = status == UP if isinstance(status, int) else None
    return attrs.evolve(found, link_up=link_up, name=known.name(found.port))


def power_failure(label: str, port: int | None, failed: SwitchFailed) -> PowerFailed:
    """The same failure, in the words of whoever does not know SNMP."""
    place = f"switch {label}" if port is None else f"switch {label}, port {port}"
    reason = f"{place}: {failed.reason}"
    if isinstance(failed, SwitchTimeout):
        return PowerUnreachable(reason, failed.remedy)
    return PowerRefused(reason, failed.remedy, may_retry=isinstance(failed, SwitchBusy))
