"""
What a virtual rack takes of this host.
"""

import socket
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.running.claims import free_ports


class PortTests(SynchronousTestCase):
    """Free ports."""

    def test_different(self) -> None:
        """All are different, and the agents' port is the one that is taken already."""
        ports = free_ports(3_000, Random(1))
        tcp, udp = {ports.hello, ports.image, ports.http}, {ports.dhcp, ports.tftp, ports.ntp, ports.snmp}
        self.assertEqual((len(tcp), len(udp), ports.agent), (3, 4, 3_000))

    def test_taken(self) -> None:
        """A port that somebody has is passed by."""
        wanted = free_ports(3_000, Random(1)).dhcp
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
            somebody.bind(("127.0.0.1", wanted))
            self.assertNotEqual(free_ports(3_000, Random(1)).dhcp, wanted)

    def test_not_the_kernels(self) -> None:
        """While a manager is away the kernel gives its ports to nobody who asks for just any."""
        first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        for seed in range(20):
            ports = free_ports(3_000, Random(seed))
            self.assertLess(max(ports.dhcp, ports.tftp, ports.ntp, ports.snmp, ports.hello, ports.http), first)
