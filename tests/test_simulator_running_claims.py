"""
What a virtual rack takes of this host.
"""

from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.running.claims import free_ports


class PortTests(SynchronousTestCase):
    """Free ports."""

    def test_different(self) -> None:
        """All are different, and the agents' port is the one that is taken already."""
        ports = free_ports(3_000)
        tcp, udp = {ports.hello, ports.image, ports.http}, {ports.dhcp, ports.tftp, ports.ntp, ports.snmp}
        self.assertEqual((len(tcp), len(udp), ports.agent), (3, 4, 3_000))
