"""
What other DHCP servers' offers mean for the boards; the offers are dnsmasq's.
"""

from ipaddress import IPv4Address, IPv4Network

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.addressing.decisions import Client, DHCPSettings, admit
from piman.checking.findings import Finding, Level
from piman.checking.probe import offer_in
from piman.checking.rivals import Offer, judge_offers, question, random_mac
from piman.fleet.model import MACAddress
from piman.wire.dhcp import Message
from piman.wire.pi import has_pi_oui, is_pi, is_pxe
from tests.captures import offers as captures

OURS = IPv4Address("172.30.4.1")
QUESTION = question(captures.XID, captures.MAC)


def _offer(frame: bytes) -> Offer:
    offer = offer_in(frame, QUESTION)
    assert offer is not None
    return offer


PLAIN_NETWORK = IPv4Network("172.30.4.0/24")
PLAIN, WITH_BOOT_SERVER, PROXY = map(_offer, (captures.PLAIN, captures.WITH_BOOT_SERVER, captures.PROXY))


def _judge(*offers: Offer, ours: IPv4Address = OURS, serves: bool = True) -> list[Finding]:
    return judge_offers(offers, ours, serves=serves, seconds=5.0)


class QuestionTests(SynchronousTestCase):
    """What we ask."""

    def test_wire(self) -> None:
        """It asks for a broadcast answer, as a network boot program that is no Pi."""
        asked = Message.from_wire(QUESTION.to_wire())
        self.assertTrue(asked.wants_broadcast)
        self.assertTrue(is_pxe(asked))
        self.assertFalse(is_pi(asked))

    def test_own_manager_is_silent(self) -> None:
        """A piman that hears it, even one that serves strangers, holds no address for it."""
        settings = DHCPSettings(
            server_address=OURS, network=PLAIN_NETWORK, unknown_hosts="allow", router=None, dns_servers=()
        )
        self.assertIsNotNone(admit(QUESTION, Client.of(QUESTION, None, MACAddress(captures.MAC)), settings))

    @given(st.binary(min_size=6, max_size=6))
    def test_mac(self, octets: bytes) -> None:
        """Whatever the dice say, the address is a single, locally administered one of six octets, and no Pi's."""
        mac = random_mac(octets)
        self.assertEqual((len(mac), mac[0] & 3), (6, 2))
        self.assertFalse(has_pi_oui(mac))


class JudgeTests(SynchronousTestCase):
    """What the answers mean."""

    def test_nobody(self) -> None:
        """Nobody else is fine, and it is said how long we listened."""
        (found,) = _judge()
        self.assertEqual((found.level, found.text), (Level.OK, "nobody else answered within 5 s"))

    def test_ours(self) -> None:
        """Our own answer is ours."""
        (found,) = _judge(PLAIN, ours=IPv4Address(captures.SERVER))
        self.assertEqual(found.level, Level.OK)

    def test_router(self) -> None:
        """An ordinary server is a failure that names it, what it offers, and what becomes of the boards."""
        (found,) = _judge(PLAIN)
        self.assertEqual(found.level, Level.FAIL)
        for part in ("172.30.4.101 offers addresses, too (172.30.4.157 to us", "next server", "finds no boot files"):
            self.assertIn(part, found.text)
        self.assertIn("VLAN", found.remedy)

    def test_boot_server(self) -> None:
        """With option 66 it takes the boards' boot away from us."""
        (found,) = _judge(WITH_BOOT_SERVER)
        self.assertEqual(found.level, Level.FAIL)
        self.assertIn("option 66 172.30.4.101", found.text)
        self.assertIn("load their files from 172.30.4.101", found.text)

    def test_proxy(self) -> None:
        """A proxyDHCP server with the Raspberry Pi menu is a failure, and is called what it is."""
        (found,) = _judge(PROXY)
        self.assertEqual(found.level, Level.FAIL)
        for part in ("proxyDHCP", "gives no addresses", "option 43 with a Raspberry Pi menu"):
            self.assertIn(part, found.text)

    def test_foreign_proxy(self) -> None:
        """One for other machines, without that menu, is a warning: Pis do not heed it."""
        message = PROXY.message
        menu = {**message.options, 43: message.options[43].replace(b"Raspberry Pi Boot", b"Windows Deploymen")}
        (found,) = _judge(Offer(PROXY.source, attrs.evolve(message, options=menu)))
        self.assertEqual(found.level, Level.WARN)

    def test_once_each(self) -> None:
        """Each server takes one line, however often it answers."""
        self.assertEqual(len(_judge(PLAIN, PROXY, PLAIN, PROXY)), 2)

    def test_dhcp_disabled(self) -> None:
        """Where piman gives no addresses, another server is as it should be, and none is a warning."""
        (other,) = _judge(PLAIN, serves=False)
        (nobody,) = _judge(serves=False)
        self.assertEqual((other.level, nobody.level), (Level.OK, Level.WARN))


class ReadTests(SynchronousTestCase):
    """Which frames are answers to us."""

    def test_others(self) -> None:
        """Answers to other questions or other boards, and frames that are no offers, are passed over."""
        for asked in (question(captures.XID + 1, captures.MAC), question(captures.XID, b"\x02" * 6)):
            self.assertIsNone(offer_in(captures.PLAIN, asked))
        acknowledged = captures.PLAIN.replace(bytes.fromhex("350102"), bytes.fromhex("350105"))
        self.assertIsNone(offer_in(acknowledged, QUESTION))
        self.assertIsNone(offer_in(captures.PLAIN[:100], QUESTION))
