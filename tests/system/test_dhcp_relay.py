"""
A relay that nobody here wrote, ISC dhcrelay, between busybox udhcpc and the real manager.
"""

import re
from ipaddress import IPv4Interface

from tests.system import namespaces
from tests.system.test_dhcp_clients import WithManager

RELAY_INTERFACE = "down0"


class RelayTests(WithManager):
    """The second client hears nothing of the manager but through the first one."""

    skip = namespaces.unavailable("dhcrelay", "busybox", "tcpdump")

    def prepare(self) -> None:
        """Make the first client a relay: ``eth0`` looks to the manager, ``down0`` to the second client."""
        self.relay, self.client, _ = self.lab.clients
        self.relay.assign(IPv4Interface("172.30.4.2/24"))
        self.lab.manager.ip("link", "delete", "port2")
        self.relay.ip(
            *("link", "add", RELAY_INTERFACE, "type", "veth"),
            *("peer", "name", self.client.interface, "address", self.client.mac, "netns", self.client.name),
        )
        self.relay.ip("link", "set", RELAY_INTERFACE, "up")
        self.client.ip("link", "set", self.client.interface, "up")

    def through_relay(self, giaddr: str, *options: str) -> list[str]:
        """Get a lease through the relay; the DHCP messages on the manager's side, as tcpdump tells them."""
        self.relay.ip("address", "add", f"{giaddr}/32", "dev", RELAY_INTERFACE)
        capture, output = self.folder / "relayed.pcap", self.folder / "relay.txt"
        manager = self.lab.manager
        watch = manager.start("tcpdump", "-U", "-i", manager.interface, "-w", str(capture), "udp port 67")
        with output.open("wb") as file:
            ends = ("-id", RELAY_INTERFACE, "-iu", self.relay.interface)
            self.relay.start("dhcrelay", "-4", "-d", *options, *ends, "172.30.4.1", output=file.fileno())
        self.manager.wait_for(lambda: "Socket/fallback" in output.read_text(), 20, "dhcrelay to listen")
        self.manager.wait_for(capture.exists, 20, "tcpdump to listen")
        done = self.udhcpc(self.client, "-q")
        self.assertEqual(done.returncode, 0, done.stdout + output.read_text())
        self.manager.wait_for(lambda: self.granted(self.client), 10, "the lease")

        def told() -> list[str]:
            text = manager.run("tcpdump", "-n", "-vv", "-r", str(capture)).stdout
            return re.findall(r"^ .*BOOTP/DHCP.*(?:\n\t.*)*", text, re.MULTILINE)

        self.manager.wait_for(lambda: len(told()) >= 4, 10, "the capture of four messages")
        watch.terminate()
        self.assertEqual(self.granted(self.client), ["172.30.4.12"])
        return told()

    def assert_relayed(self, messages: list[str], giaddr: str) -> None:
        """All of them name the relay, and what the manager says goes to it."""
        answers = [text for text in messages if "Reply" in text]
        self.assertEqual(len(answers), len(messages) / 2)
        for text in messages:
            self.assertIn(f"Gateway-IP {giaddr}\n", text)
        for text in answers:
            self.assertIn(f"172.30.4.1.67 > {giaddr}.67:", text)

    def test_two_addresses(self) -> None:
        """
        A relay with one address on the boards' side and another on ours is answered: to ``giaddr``, port 67.

        Without ``-a`` dhcrelay finds the way back to the board by ``giaddr``, so the two must differ.
        """
        messages = self.through_relay("172.30.4.3")
        self.assert_relayed(messages, "172.30.4.3")
        self.assertTrue(any("172.30.4.2.67 > 172.30.4.1.67:" in text for text in messages), messages)
        self.assertNotIn("Agent-Information", "".join(messages))

    def test_relay_information(self) -> None:
        """With ``-a`` the relay adds option 82, and the manager echoes it in OFFER and ACK as the last one."""
        messages = self.through_relay("172.30.4.2", "-a")
        self.assert_relayed(messages, "172.30.4.2")
        for text in messages:
            self.assertRegex(text, rf"Agent-Information \(82\), length 7: \n\t +Circuit-ID .*: {RELAY_INTERFACE}$")
