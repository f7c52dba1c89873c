# -*- test-case-name: tests.test_switching_poe -*-
"""
The power of a port: which objects, what their values mean, and an order that is read back.
"""

from collections.abc import Mapping

import attrs

from piman.fleet.model import PortPower, PowerBudget
from piman.switching import mib
from piman.switching.profiles import DELIVERING, DISABLED, SEARCHING, STANDARD_STATES, Profile, candidates
from piman.switching.session import OID, Agent, Datum, SwitchRefused, dotted, nonsense

# What values mean


def number(oid: OID, value: Datum | None) -> int | None:
    """
    A value that must be a number.

    :raises SwitchRefused: when it is something else.
    """
    if value is None or isinstance(value, int):
        return value
    raise nonsense(f"{dotted(oid)} is {value!r}, not a number")


def text(value: Datum | None) -> str:
    """A DisplayString; what is none is nothing."""
    return value.decode("utf-8", "replace").strip("\0 ") if isinstance(value, bytes) else ""


@attrs.frozen(kw_only=True)
class Reading:
    """What a switch said of one port, raw."""

    admin: int | None
    status: int | None
    power_class: int | None = None
    power: int | None = None


def port_power(profile: Profile, port: int, reading: Reading) -> PortPower:
    """The same, in everybody's words; link and name are for others to add."""
    admin_on = None if reading.admin is None else reading.admin in profile.on_values
    state = _state(profile, reading.status, admin_on)
    is_delivering = state == DELIVERING
    found = profile.classes.get(reading.power_class) if reading.power_class is not None and is_delivering else None
    return PortPower(
        port=port,
        admin_on=admin_on,
        delivering=is_delivering if state else None,
        state=state,
        power_class=found,
        watts=None if reading.power is None else round(reading.power * profile.watts_per_unit, 3),
    )


def _state(profile: Profile, status: int | None, admin_on: bool | None) -> str:
    """Vendors without a word for ``disabled`` say that nothing flows, off or not."""
    if status is None:
        return ""
    state = profile.states.get(status, "other fault")
    return DISABLED if state == SEARCHING and admin_on is False and profile.states is not STANDARD_STATES else state


OPER_STATES = {1: "on", 2: "off", 3: "faulty"}
"""pethMainPseOperStatus (RFC 3621)."""


def power_budget(nominal: int | None, status: int | None, consumption: int | None) -> PowerBudget | None:
    """
    A row of pethMainPseTable; None when there is none.

    More consumption than there is power to give: an agent that counts in milliwatts, against the MIB.
    """
    if nominal is None and status is None and consumption is None:
        return None
    used = None if consumption is None else float(consumption)
    if used is not None and nominal is not None and used > nominal > 0:
        used /= 1000
    return PowerBudget(
        total_watts=None if nominal is None else float(nominal),
        used_watts=used,
        state=OPER_STATES.get(status or 0, ""),
    )


# Asking


async def find_profile(agent: Agent) -> Profile:
    """
    Which kind of switch this is.

    :raises SwitchRefused: when it has no objects by which power could be switched.
    """
    (object_id,) = await agent.get(mib.SYS_OBJECT_ID)
    for profile in candidates(object_id if isinstance(object_id, tuple) else None):
        if await agent.walk(profile.admin):
            return profile
    raise SwitchRefused(
        "it has no objects to switch power by (POWER-ETHERNET-MIB, or those of Cisco or TP-Link)",
        "Is it a PoE switch, and may our community or user see its whole MIB? Another way is power: {kind: command}.",
        "noPower",
    )


def _columns(profile: Profile) -> Mapping[str, OID]:
    found = {"admin": profile.admin, "status": profile.status, "power_class": profile.power_class}
    return found if profile.power is None else {**found, "power": profile.power}


async def read_port(agent: Agent, profile: Profile, group: int, port: int) -> PortPower | None:
    """How a port is; None: there is no such port."""
    index = profile.index(group, port)
    oids = {name: column + index for name, column in _columns(profile).items()}
    values = await agent.get(*oids.values())
    found = {name: number(oid, value) for (name, oid), value in zip(oids.items(), values, strict=True)}
    return None if found["admin"] is None else port_power(profile, port, Reading(**found))


async def read_ports(agent: Agent, profile: Profile, group: int) -> dict[int, PortPower]:
    """All ports of the group, by number: one walk a column."""
    columns: dict[str, dict[int, int | None]] = {}
    for name, column in _columns(profile).items():
        columns[name] = await _by_port(agent, profile, group, column)
    return {
        port: port_power(profile, port, Reading(**{name: values.get(port) for name, values in columns.items()}))
        for port in sorted(columns["admin"])
    }


async def _by_port(agent: Agent, profile: Profile, group: int, column: OID) -> dict[int, int | None]:
    rows = await agent.walk(column)
    numbered = {profile.port(group, index): number(column + index, value) for index, value in rows.items()}
    return {port: value for port, value in numbered.items() if port is not None}


async def read_budget(agent: Agent, profile: Profile, group: int) -> PowerBudget | None:
    """The group's budget; None: it is not told."""
    if not profile.has_budget:
        return None
    oids = [(*column, group) for column in (mib.MAIN_PSE_POWER, mib.MAIN_PSE_OPER_STATUS, mib.MAIN_PSE_CONSUMPTION)]
    values = await agent.get(*oids)
    return power_budget(*(number(oid, value) for oid, value in zip(oids, values, strict=True)))


async def is_on(agent: Agent, profile: Profile, group: int, port: int) -> bool | None:
    """Whether the port is told to give power; None: there is no such port."""
    oid = profile.admin + profile.index(group, port)
    (value,) = await agent.get(oid)
    found = number(oid, value)
    return None if found is None else found in profile.on_values


async def order(agent: Agent, profile: Profile, group: int, port: int, on: bool) -> None:
    """Tell a port to give power, or not to."""
    await agent.set(profile.admin + profile.index(group, port), profile.on if on else profile.off)
