"""
Whose the ports are.
"""

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.checking.findings import Level
from piman.checking.ports import (
    Holder,
    Port,
    PortState,
    answering,
    can_bind,
    in_the_way,
    is_piman,
    judge_ports,
    port_states,
    ports_of,
)
from piman.config import load
from piman.host.sockets import SocketSettings, open_socket

DHCP = Port("dhcp.port", "udp", 67)
TFTP = Port("tftp.port", "udp", 69, "172.30.4.1", "eth0")
NTP = Port("ntp.port", "udp", 123, interface="eth0")
DNSMASQ, MANAGER, SOMEBODY = Holder(812, "dnsmasq"), Holder(900, "twistd", is_piman=True), Holder(None)

YAML = """
server_address: 127.77.0.1
subnet_mask: 255.255.0.0
interface: lo
switches: []
tftp: {data_ports: 50000-50003}
ntp: {enabled: false}
grafana: {port: 8081}
"""


class JudgeTests(SynchronousTestCase):
    """Free, ours, or somebody else's."""

    def test_free(self) -> None:
        """Free ports share a line, with what they are for."""
        (found,) = judge_ports([PortState(DHCP), PortState(TFTP, can_bind=True)])
        self.assertEqual((found.level, found.text), (Level.OK, "free: 67/udp dhcp, 69/udp tftp"))

    def test_range(self) -> None:
        """A range of ports is shown as its ends."""
        (found,) = judge_ports([PortState(Port("tftp.data_ports", "udp", number)) for number in range(50000, 50064)])
        self.assertEqual(found.text, "free: 50000-50063/udp tftp")

    def test_manager_by_pid(self) -> None:
        """A port that a piman has is fine, and it is said which process that is."""
        (found,) = judge_ports([PortState(DHCP, (MANAGER,), can_bind=False)])
        self.assertEqual(found.level, Level.OK)
        self.assertIn("67/udp dhcp (pid 900 is a piman)", found.text)

    def test_manager_by_socket(self) -> None:
        """Without root, sockets of another user are the manager's where one answers on the control socket."""
        (found,) = judge_ports([PortState(DHCP, (SOMEBODY,))], "a manager answers at state/control.sock")
        self.assertEqual(found.level, Level.OK)
        self.assertIn("a manager answers at state/control.sock", found.text)

    def test_other_beside_manager(self) -> None:
        """A running manager does not excuse a program that is known to be another."""
        (found,) = judge_ports([PortState(DHCP, (DNSMASQ,), can_bind=False)], "a manager answers at state/control.sock")
        self.assertEqual(found.level, Level.FAIL)

    def test_taken(self) -> None:
        """Another program is named with its pid; the other ports are not hidden by it."""
        free, taken = judge_ports([PortState(DHCP, (DNSMASQ,), can_bind=False), PortState(TFTP)])
        self.assertEqual((free.level, taken.level), (Level.OK, Level.FAIL))
        self.assertEqual(taken.text, "67/udp, which dhcp.port names, is taken by dnsmasq (pid 812)")
        self.assertIn("change dhcp.port", taken.remedy)

    def test_harmless(self) -> None:
        """A socket that is listed but not in the way (another device, IPv6 only) leaves the port free."""
        (found,) = judge_ports([PortState(NTP, (DNSMASQ,), can_bind=True)])
        self.assertEqual((found.level, found.text), (Level.OK, "free: 123/udp ntp"))

    def test_taken_by_nobody_listed(self) -> None:
        """A port that cannot be had is taken, whoever has it (another container, say)."""
        (found,) = judge_ports([PortState(DHCP, can_bind=False)])
        self.assertEqual((found.level, "somebody" in found.text), (Level.FAIL, True))

    def test_cannot_tell(self) -> None:
        """Without root and without a manager that answers, another user's socket is a warning that says how to look."""
        for can_bind_it in (None, False):  # below 1024, and above
            (found,) = judge_ports([PortState(DHCP, (SOMEBODY,), can_bind=can_bind_it)])
            self.assertEqual(found.level, Level.WARN)
            self.assertIn("ss -ulpn 'sport = :67'", found.remedy)


class ListTests(SynchronousTestCase):
    """Which sockets are in the way, which processes are pimans."""

    def test_in_the_way(self) -> None:
        """The same address or a wildcard on either side is in the way, IPv6's wildcard too; nothing else is."""
        listed = [
            ("udp", "0.0.0.0", 67, 1),
            ("udp", "172.30.4.1", 69, 2),
            ("udp", "127.0.0.1", 69, 3),
            ("udp", "::", 69, 4),
            ("udp", "fe80::1", 69, 5),
            ("tcp", "0.0.0.0", 69, 6),
            ("udp", "10.0.0.1", 123, 7),
        ]
        self.assertEqual(in_the_way(DHCP, listed), [1])
        self.assertEqual(in_the_way(TFTP, listed), [2, 4])
        self.assertEqual(in_the_way(NTP, listed), [7])

    def test_is_piman(self) -> None:
        """A manager is known by its command line; ``piman check`` itself, an editor and the agent are none."""
        for command in (
            [
                "/opt/piman/.venv/bin/python3",
                "/opt/piman/.venv/bin/twistd",
                "-n",
                "--pidfile=",
                "piman",
                "--config",
                "x",
            ],
            ["/usr/bin/python3", "-u", "/usr/local/bin/piman", "server"],
            ["python3", "-c", "from twisted.scripts.twistd import run; run()", "-n", "piman", "--config", "x"],
        ):
            self.assertTrue(is_piman(command), command)
        for command in (
            ["/usr/bin/python3", "/usr/local/bin/piman", "check"],
            ["/usr/bin/python3", "/usr/local/bin/twistd", "-n", "piman-agent"],
            ["vim", "/etc/piman/piman.yaml"],
            ["dnsmasq", "--interface", "piman"],
            [],
        ):
            self.assertFalse(is_piman(command), command)

    def test_of_config(self) -> None:
        """Every enabled service's port is looked at, those of disabled ones are not."""
        path = Path(self.mktemp())
        path.write_text(YAML)
        keys = [port.key for port in ports_of(load(path))]
        hello = ["hello.port", "hello.image_port", "hello.http_port"]
        data = ["tftp.data_ports"] * 4
        self.assertEqual(keys, ["dhcp.port", "tftp.port", *data, *hello, "web.port", "grafana.port"])


class LookTests(SynchronousTestCase):
    """Real sockets, on loopback."""

    def test_udp(self) -> None:
        """A UDP port that we hold ourselves is seen with our pid, and cannot be had; closed it is free."""
        sock = open_socket(SocketSettings(port=0, address="127.0.0.1"))
        port = Port("tftp.port", "udp", sock.getsockname()[1], "127.0.0.1")
        (state,) = port_states([port])
        sock.close()
        self.assertEqual([holder.pid for holder in state.holders], [os.getpid()])
        self.assertIs(state.can_bind, False)
        self.assertEqual(port_states([port]), [PortState(port)])

    def test_tcp(self) -> None:
        """The same of a TCP port that listens."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = Port("hello.port", "tcp", sock.getsockname()[1], "127.0.0.1")
            (state,) = port_states([port])
            self.assertEqual(([holder.pid for holder in state.holders], state.can_bind), ([os.getpid()], False))

    def test_no_such_address(self) -> None:
        """An address that this host does not have says nothing of the port (RFC 5737: 198.51.100.0/24 is nobody's)."""
        self.assertIsNone(can_bind(Port("tftp.port", "udp", 50069, "198.51.100.77")))

    def test_control_socket(self) -> None:
        """A control socket counts while somebody accepts on it; a file that a kill left behind does not."""
        folder = Path(self.mktemp())
        folder.mkdir()
        path = Path(os.path.relpath(folder / "c.sock"))  # sockaddr_un has 108 octets
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.bind(str(path))
            sock.listen()
            self.assertEqual(answering(path), f"a manager answers at {path}")
        self.assertTrue(path.exists())
        self.assertEqual(answering(path), "")
        self.assertEqual(answering(folder / "none"), "")
