# -*- test-case-name: tests.test_plugins_power -*-
"""
``power:`` of each switch: checked by the kind that it names, and made into a power switch.

What stands beside ``kind:`` belongs to the plugin; nothing here knows any of them.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any

import attrs

from piman.fleet.interfaces import BadSettings, IPowerSwitch, IPowerSwitchKind, PowerContext, SettingProblem
from piman.settings.sections import Switch
from piman.settings.yamlfile import Report

_POWER = r"switches\[\d+\]\.power"

Kinds = Mapping[str, IPowerSwitchKind]


def own_settings(power: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to the plugin: everything but ``kind``."""
    return {key: value for key, value in power.items() if key != "kind"}


def check_power(report: Report, kinds: Kinds) -> None:
    """Note each ``power:`` that names no kind, or whose kind finds mistakes."""
    for key, power in report.matching(_POWER):
        kind = kinds.get(power["kind"])
        if kind is None:
            report.at(key, repr(power["kind"]), _known(power["kind"], kinds))
            continue
        try:
            kind.parse(own_settings(power))
        except BadSettings as reason:
            for problem in reason.problems:
                inner = f"{key}.{problem.key}" if problem.key else key
                report.add(_line(report, inner), inner, problem.found, problem.expected)


def _known(name: str, kinds: Kinds) -> str:
    near = difflib.get_close_matches(name, kinds, n=1, cutoff=0.6)
    return near[0] if near else "a kind of power switch: " + ", ".join(sorted(kinds))


def _line(report: Report, key: str) -> int:
    """Where a key stands, or what it should have stood in."""
    while key and key not in report.lines:
        key = key.rpartition(".")[0]
    return report.lines.get(key, 0)


@attrs.frozen
class PowerSwitches:
    """The power switches of a configuration."""

    by_address: Mapping[IPv4Address, IPowerSwitch]
    closers: tuple[Callable[[], None], ...] = ()

    def close(self) -> None:
        """Let go of sockets; what is under way fails."""
        for close in self.closers:
            close()


def make_power_switches(reactor: Any, switches: Iterable[Switch], kinds: Kinds) -> PowerSwitches:
    """
    The power switches that these switches name.  Sends nothing yet.

    :raises BadSettings: when a kind is missing or finds mistakes; :func:`check_power` tells them better before.
    """
    made: dict[IPv4Address, IPowerSwitch] = {}
    shared: dict[str, Any] = {}
    for switch in switches:
        name = switch.power["kind"]
        if name not in kinds:
            raise BadSettings([_missing(name, kinds)])
        kind = kinds[name]
        if name not in shared:
            shared[name] = kind.share(reactor)
        made[switch.address] = kind.make(
            kind.parse(own_settings(switch.power)), _context(reactor, switch, shared[name])
        )
    return PowerSwitches(made, tuple(each.close for each in shared.values() if each is not None))


def _missing(name: str, kinds: Kinds) -> SettingProblem:
    return SettingProblem("kind", repr(name), _known(name, kinds))


def _context(reactor: Any, switch: Switch, shared: Any) -> PowerContext:
    return PowerContext(
        reactor=reactor,
        address=switch.address,
        label=switch.label,
        access=switch.snmp,
        group=switch.group,
        vlan=switch.snmp.vlan or 1,
        shared=shared,
    )
