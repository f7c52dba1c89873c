# -*- test-case-name: tests.test_plugins_power -*-
"""
``power: snmp-poe``, the default: a PoE switch by SNMP, with what ``snmp:`` and ``group:`` of the switch say.
"""

import os
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from piman.fleet.interfaces import (
    BadSettings,
    IPowerSwitch,
    IPowerSwitchKind,
    PowerContext,
    PowerRefused,
    SettingProblem,
)
from piman.settings.sections import SHORTEST_KEY, SNMPKey, SNMPSection
from piman.snmp import Engines
from piman.switching.agent import RemoteAgent, Target
from piman.switching.counting import CountedExchange
from piman.switching.power_switch import Agents, SNMPPowerSwitch
from piman.switching.session import Community, Credentials, Secret, User


def secret(key: SNMPKey | None, environment: Mapping[str, str] = os.environ) -> Secret | None:
    """
    The pass phrase that ``auth:`` or ``priv:`` leads to.

    :raises LookupError: when its file or variable is not there, or too short; the text says which.
    """
    if key is None:
        return None
    place, phrase = _phrase(key, environment)
    if len(phrase) < SHORTEST_KEY:
        raise LookupError(f"{place} has fewer than {SHORTEST_KEY} characters")
    return Secret(key.protocol, phrase)


def _phrase(key: SNMPKey, environment: Mapping[str, str]) -> tuple[str, str]:
    """What to call its place, and what stands there."""
    if key.key is not None:
        return "the key", key.key
    if key.key_env is not None:
        if key.key_env not in environment:
            raise LookupError(f"the environment has no variable {key.key_env}")
        return f"the variable {key.key_env}", environment[key.key_env]
    assert key.key_file is not None
    try:
        return f"the key file {key.key_file}", key.key_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as reason:
        raise LookupError(f"the key file {key.key_file} cannot be read ({reason})") from reason


@attrs.frozen(kw_only=True)
class Shown:
    """What one switch is shown, for each purpose; see :class:`piman.switching.power_switch.Agents`."""

    control: Credentials
    lookup: Credentials
    vlan_lookup: Credentials | None = None


def credentials(access: SNMPSection, vlan: int, environment: Mapping[str, str] = os.environ) -> Shown:
    """
    The credentials that ``snmp:`` of a switch means.

    With Cisco's ways into the forwarding table of a VLAN: ``community@vlan``, or the context ``vlan-N`` in version 3.

    :raises LookupError: when a key is not where it should be.
    """
    if access.version == "3":
        auth, priv = secret(access.auth, environment), secret(access.priv, environment)
        user = User(name=access.user or "", auth=auth, priv=priv, context=access.context)
        return Shown(control=user, lookup=user, vlan_lookup=attrs.evolve(user, context=f"vlan-{vlan}"))
    reader = access.read_community or access.community
    return Shown(
        control=Community(access.community, access.version),
        lookup=Community(reader, access.version),
        vlan_lookup=None if "@" in reader else Community(f"{reader}@{vlan}", access.version),
    )


@implementer(IPlugin, IPowerSwitchKind)
class SNMPPoEKind:
    """PoE switches by SNMP."""

    name = "snmp-poe"

    def parse(self, settings: Mapping[str, Any]) -> None:
        """There are no settings of its own."""
        if settings:
            expected = "no such key; snmp-poe reads snmp: and group: of the switch"
            raise BadSettings([SettingProblem(key, "an unknown key", expected) for key in settings])

    def share(self, reactor: Any) -> Engines:
        """Switches with the same credentials share an SNMP engine and its socket."""
        return Engines(reactor)

    def make(self, settings: None, context: PowerContext) -> IPowerSwitch:
        """A switch; its key files are read when it is first needed."""
        engines: Engines = context.shared
        exchange = CountedExchange(context.reactor, engines.exchange)
        target = Target(context.address, context.access.port)

        def agents() -> Agents:
            try:
                shown = credentials(context.access, context.vlan)
            except LookupError as reason:
                raise PowerRefused(
                    f"switch {context.label}: {reason}", "Put the key there, or name another place in piman.yaml."
                ) from reason
            made = {
                each: RemoteAgent(exchange, target, each)
                for each in attrs.astuple(shown, recurse=False)
                if each
            }
            return Agents(
                control=made[shown.control],
                lookup=made[shown.lookup],
                vlan_lookup=made[shown.vlan_lookup] if shown.vlan_lookup else None,
            )

        return SNMPPowerSwitch(context.reactor, context.label, agents, group=context.group, traffic=exchange)


snmp_poe = SNMPPoEKind()
