# -*- test-case-name: tests.test_power -*-
"""
The power switches of a configuration, and what the operator's words can name in it.

For whoever operates switches: the manager, and ``piman-ctl`` when there is none.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.plugin import getPlugins

import piman.plugins
from piman.config import Config, Switch
from piman.fleet.interfaces import BadSettings, IPowerSwitch, IPowerSwitchKind, PowerContext
from piman.fleet.model import MACAddress
from piman.fleet.no_switch import NoSwitch
from piman.fleet.operations import OperationSettings
from piman.fleet.power import PowerPolicy
from piman.fleet.targets import Atlas, Place
from piman.host.neighbours import mac_of

Kinds = Mapping[str, IPowerSwitchKind]


@attrs.frozen
class PowerSwitches:
    """The power switches of a configuration."""

    by_address: Mapping[IPv4Address, IPowerSwitch]
    closers: tuple[Callable[[], object], ...] = ()

    def close(self) -> None:
        """Let go of what they share; what is under way fails."""
        for close in self.closers:
            close()


def power_kinds() -> Kinds:
    """The kinds of power switches that are installed, by name."""
    return {kind.name: kind for kind in getPlugins(IPowerSwitchKind, piman.plugins)}


def power_switches(reactor: Any, config: Config, kinds: Kinds | None = None) -> PowerSwitches:
    """
    The switches of a configuration, each of the kind that it names.  Sends nothing yet.

    One that cannot be made says why whenever it is asked, and costs the others nothing.

    :param kinds: those that there are; None: the installed ones.
    """
    known = power_kinds() if kinds is None else kinds
    shared: dict[str, Any] = {}
    made = {switch.address: _power_switch(reactor, switch, config, known, shared) for switch in config.switches}
    return PowerSwitches(made, tuple(each.close for each in shared.values() if each is not None))


def _power_switch(reactor: Any, switch: Switch, config: Config, kinds: Kinds, shared: dict[str, Any]) -> IPowerSwitch:
    name = switch.power["kind"]
    if name not in kinds:
        known = ", ".join(sorted(kinds)) or "none"
        remedy = f"Install its plugin, or name another kind under power in piman.yaml (installed: {known})."
        return NoSwitch(f"switch {switch.label}: no kind of power switch {name!r} is installed", remedy)
    kind = kinds[name]
    try:
        settings = kind.parse({key: value for key, value in switch.power.items() if key != "kind"})
    except BadSettings as reason:
        return NoSwitch(f"switch {switch.label}: its settings for {name} have mistakes: {reason}", "Mend piman.yaml.")
    if name not in shared:
        shared[name] = kind.share(reactor)
    context = PowerContext(
        reactor=reactor,
        address=switch.address,
        label=switch.label,
        access=switch.snmp,
        group=switch.group,
        vlan=config.private_number,
        shared=shared[name],
    )
    return kind.make(settings, context)


def atlas_of(config: Config, addresses: Mapping[IPv4Address, MACAddress]) -> Atlas:
    """
    What the operator's words can name.

    :param addresses: those that boards hold besides their reserved ones.
    """
    return Atlas(
        places=tuple(
            Place(
                address=switch.address,
                label=switch.label,
                named_ports=frozenset(switch.ports),
                protected_ports=frozenset(switch.protected_ports),
            )
            for switch in config.switches
        ),
        nodes=config.nodes,
        slots=config.slots,
        addresses=addresses,
        manager=mac_of(config.interface),
    )


def power_policy(config: Config) -> PowerPolicy:
    """How patiently power is switched."""
    wanted = config.operations
    return PowerPolicy(off_seconds=wanted.off_seconds, stagger_seconds=wanted.stagger_seconds)


def operation_settings(config: Config) -> OperationSettings:
    """The knobs of operations."""
    return OperationSettings(max_blast=config.operations.max_blast)
