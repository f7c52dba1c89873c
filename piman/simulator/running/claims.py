# -*- test-case-name: tests.test_simulator_running_claims -*-
"""
What a virtual rack takes of this host: file descriptors and ports.
"""

import resource
import socket
from contextlib import ExitStack
from random import Random

from piman.simulator.running.plan import Ports

PORTS = range(10_000, 32_768)
"""Below those that Linux hands out by itself, and below those that boards load files at."""
DESCRIPTORS = 65_536
"""More than ten thousand boards need."""


def raise_descriptor_limit() -> int:
    """As many file descriptors as this user may have; the manager inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def free_ports(agent: int, random: Random) -> Ports:
    """Ports that nobody has on any address right now, and that the kernel gives nobody while a manager is away."""
    with ExitStack() as held:

        def free(kind: socket.SocketKind) -> int:
            probe = held.enter_context(socket.socket(socket.AF_INET, kind))
            while True:
                port = PORTS[random.randrange(len(PORTS))]
                try:
                    probe.bind(("", port))
                except OSError:
                    continue
                return port

        udp, tcp = socket.SOCK_DGRAM, socket.SOCK_STREAM
        return Ports(
            dhcp=free(udp),
            tftp=free(udp),
            ntp=free(udp),
            snmp=free(udp),
            hello=free(tcp),
            image=free(tcp),
            http=free(tcp),
            web=free(tcp),
            agent=agent,
        )
