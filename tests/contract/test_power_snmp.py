"""
A PoE switch by SNMP keeps the contract of every power switch, over an agent in memory.

Over net-snmp's snmpd it does so in ``tests/system/test_snmpd.py``.
"""

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from piman.switching.power_switch import Agents, SNMPPowerSwitch
from piman.switching.session import SwitchTimeout
from piman.testing.power import MemoryAgent
from piman.testing.power_contract import PowerSwitchMixin
from tests.test_switching_power_switch import standard_switch


class SNMPPowerSwitchTests(PowerSwitchMixin, TestCase):
    """A standard switch."""

    def of(self, agent: MemoryAgent) -> Any:
        """The switch of an agent."""
        agents = Agents(control=agent, lookup=agent)
        return SNMPPowerSwitch(reactor, "rack-a", lambda: agents, read_back=(0.0,))

    def make(self) -> Any:
        """With a board on port 3."""
        return self.of(standard_switch())

    def unreachable(self) -> Any:
        """An agent that is silent."""
        return self.of(MemoryAgent(faults={(): SwitchTimeout("it does not answer", "Look.")}))
