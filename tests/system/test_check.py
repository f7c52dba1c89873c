"""
``piman check`` beside other servers: a real dnsmasq on the same LAN, the real manager on the same host.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.system import namespaces
from tests.system.manager import Manager
from tests.system.namespaces import Lab

PIMAN = str(Path(sys.executable).parent / "piman")
WAIT_SECONDS = 60.0

PIMAN_YAML = f"""
server_address: 172.30.4.1
subnet_mask: 255.255.255.0
interface: {namespaces.MANAGER_INTERFACE}
switches: []
dhcp:
  unknown_hosts: allow
  pool: 172.30.4.100-172.30.4.109
web: {{enabled: false}}
grafana: {{enabled: false}}
monitor: {{enabled: false}}
"""


class _WithLan(SynchronousTestCase):
    """The manager's folder and namespace, and another machine on its LAN."""

    def setUp(self) -> None:
        """Nothing runs yet."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "install/boot").mkdir(parents=True)
        (self.folder / "piman.yaml").write_text(PIMAN_YAML)
        self.lab = Lab(clients=1)
        self.addCleanup(self.lab.close)

    def check(self, subject: str) -> list[dict[str, Any]]:
        """What ``piman check`` finds of one subject."""
        config = str(self.folder / "piman.yaml")
        done = self.lab.manager.run(PIMAN, "check", "--json", "--config", config, timeout=WAIT_SECONDS)
        try:
            findings = json.loads(done.stdout)["findings"]
        except ValueError:
            raise AssertionError(done.stdout) from None
        return [finding for finding in findings if finding["subject"] == subject]


class OtherServerTests(_WithLan):
    """dnsmasq on another machine of the LAN."""

    skip = namespaces.unavailable("dnsmasq")

    def dnsmasq(self, *options: str) -> None:
        """Start it, and wait until it has its socket."""
        reader, writer = os.pipe()
        client = self.lab.clients[0]
        client.start(
            *("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0"),
            *("--log-facility=-", f"--interface={client.interface}", "--bind-interfaces"),
            *(f"--dhcp-leasefile={self.folder / 'dnsmasq.leases'}", *options),
            output=writer,
        )
        os.close(writer)
        with open(reader) as log:
            for line in log:
                if "sockets bound exclusively to interface" in line:
                    return
        raise AssertionError("dnsmasq has ended by itself")

    def test_nobody(self) -> None:
        """On a LAN without one, nobody else is found."""
        (found,) = self.check("other DHCP")
        self.assertEqual(found["level"], "ok", found)

    def test_router(self) -> None:
        """A server that pings each address before it offers it (dnsmasq's default, 3 s) is found all the same."""
        self.dnsmasq("--dhcp-range=172.30.4.150,172.30.4.160,1h")
        (found,) = self.check("other DHCP")
        self.assertEqual(found["level"], "fail", found)
        self.assertIn("172.30.4.101 offers addresses, too (172.30.4.1", found["text"])
        self.assertNotIn("option 66", found["text"])

    def test_boot_server(self) -> None:
        """One that would take the boards' boot away from us is told apart by its option 66."""
        self.dnsmasq("--no-ping", "--dhcp-range=172.30.4.150,172.30.4.160,1h", "--dhcp-option=66,172.30.4.101")
        (found,) = self.check("other DHCP")
        self.assertEqual(found["level"], "fail", found)
        self.assertIn("load their files from 172.30.4.101, not from here", found["text"])

    def test_proxy(self) -> None:
        """A proxyDHCP server, which answers network boot programs only, is found and called what it is."""
        self.dnsmasq("--dhcp-range=172.30.4.0,proxy", "--pxe-service=0,Raspberry Pi Boot")
        (found,) = self.check("other DHCP")
        self.assertEqual(found["level"], "fail", found)
        self.assertIn("172.30.4.101 is a proxyDHCP server", found["text"])
        self.assertIn("option 43 with a Raspberry Pi menu", found["text"])


class OwnManagerTests(_WithLan):
    """The real manager on this very host."""

    skip = namespaces.unavailable()

    def test_beside_manager(self) -> None:
        """Its ports are ours, it is no other DHCP server, and it does not notice that somebody looked."""
        manager = Manager(self.folder, tuple(self.lab.manager.command()))
        self.addCleanup(manager.stop)
        manager.start()
        (ports,) = self.check("ports")
        assert manager.process is not None
        self.assertEqual(ports["level"], "ok", ports)
        for part in ("67/udp dhcp", "69/udp tftp", "123/udp ntp", "4480/tcp", "is a piman"):
            self.assertIn(part, ports["text"])
        (other,) = self.check("other DHCP")
        self.assertEqual(other["level"], "ok", other)
        self.assertEqual(manager.events("StrangerSeen") + manager.events("AddressOffered"), [])

    def test_taken(self) -> None:
        """A program that has one of the manager's ports is named with its pid."""
        holder = self.lab.manager.start(
            sys.executable,
            "-c",
            "import socket; s = socket.create_server(('0.0.0.0', 3333)); print('bound', flush=True); s.accept()",
            output=(pipe := os.pipe())[1],
        )
        os.close(pipe[1])
        with open(pipe[0]) as said:
            self.assertEqual(said.readline(), "bound\n")
        taken = [finding for finding in self.check("ports") if finding["level"] == "fail"]
        self.assertEqual(len(taken), 1, taken)
        self.assertIn("3333/tcp, which hello.port names, is taken by python", taken[0]["text"])
        self.assertIn(f"(pid {holder.pid})", taken[0]["text"])
