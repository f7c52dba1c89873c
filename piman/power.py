# -*- test-case-name: tests.test_power -*-
"""
The power switches of a configuration, and what the operator's words can name in it.

For whoever operates switches: the manager, and ``piman-ctl`` when there is none.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from piman.config import Config
from piman.config import load as load_config
from piman.fleet.model import MACAddress
from piman.fleet.operations.book import OperationSettings
from piman.fleet.operations.power import PowerPolicy
from piman.fleet.operations.recovery import RecoverySettings
from piman.fleet.operations.targets import Atlas, Place
from piman.host.neighbours import mac_of
from piman.plugins import power_kinds
from piman.settings.power import Kinds, PowerSwitches, make_power_switches


def load(
    path: Path,
    *,
    previous: Config | None = None,
    content: bytes | None = None,
    hosts_content: bytes | None = None,
) -> Config:
    """
    Read ``piman.yaml``; settings of power switches are checked by their kinds.

    :param previous: the configuration in force.
    :param content: what would stand in the file; :func:`piman.config.load` has more on it.
    :param hosts_content: what would stand in ``hosts.csv``.
    :raises ConfigError: with every mistake of the file.
    """
    return load_config(
        path, previous=previous, content=content, hosts_content=hosts_content, power_kinds=power_kinds()
    )


def power_switches(reactor: Any, config: Config, kinds: Kinds | None = None) -> PowerSwitches:
    """
    The switches of a configuration, each of the kind that it names.  Sends nothing yet.

    :param kinds: those that there are; None: the installed ones.
    :raises BadSettings: when a kind is missing or finds mistakes: :func:`load` tells them before.
    """
    return make_power_switches(reactor, config.switches, power_kinds() if kinds is None else kinds)


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


def recovery_settings(config: Config) -> RecoverySettings:
    """The knobs of automatic recovery."""
    wanted = config.operations
    return RecoverySettings(enabled=wanted.recovery, tries=wanted.recovery_tries, at_once=wanted.recovery_at_once)


def operation_settings(config: Config) -> OperationSettings:
    """The knobs of operations."""
    return OperationSettings(max_blast=config.operations.max_blast, admission=config.operations.admission)
