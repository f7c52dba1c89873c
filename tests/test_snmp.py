"""
The pysnmp side: values, engines, and waits that end by our own clock.

Real agents answer in ``tests/system/test_snmpd.py``.
"""

import asyncio
import socket
from ipaddress import IPv4Address
from random import Random
from typing import Any

from pysnmp.proto import errind, rfc1902, rfc1905
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from piman.snmp import Engines, datum, indication_name
from piman.switching.agent import Request, Target
from piman.switching.session import Community, Credentials, Secret, SwitchRefused, SwitchTimeout, User

GET = Request(operation="get", oids=((1, 3, 6, 1, 2, 1, 1, 2, 0),))


class DatumTests(SynchronousTestCase):
    """Values of pysnmp's."""

    def test_numbers(self) -> None:
        """All kinds of numbers are numbers."""
        for kind in (rfc1902.Integer32, rfc1902.Counter32, rfc1902.Gauge32, rfc1902.TimeTicks, rfc1902.Counter64):
            self.assertEqual(datum(kind(7)), 7)

    def test_octets(self) -> None:
        """Text, addresses and opaque values are octets."""
        self.assertEqual(datum(rfc1902.OctetString("Gi1/0/7")), b"Gi1/0/7")
        self.assertEqual(datum(rfc1902.IpAddress("172.30.4.254")), bytes([172, 30, 4, 254]))
        self.assertEqual(datum(rfc1902.Opaque(b"x")), b"x")

    def test_object_identifier(self) -> None:
        """An object identifier is a tuple."""
        self.assertEqual(datum(rfc1902.ObjectIdentifier("1.3.6.1.4.1.9")), (1, 3, 6, 1, 4, 1, 9))

    def test_nothing(self) -> None:
        """The exceptions of RFC 3416 are None, although pysnmp makes them out of octets."""
        for value in (rfc1905.noSuchObject, rfc1905.noSuchInstance, rfc1905.endOfMibView):
            self.assertIsNone(datum(value))

    def test_strange(self) -> None:
        """What is no value is refused."""
        with self.assertRaises(SwitchRefused):
            datum(object())

    def test_indications(self) -> None:
        """pysnmp's errors go by the names that we have sentences for."""
        self.assertEqual(indication_name(errind.wrongDigest), "wrongDigest")
        self.assertEqual(indication_name("badResponse"), "badResponse")


class Babbler(DatagramProtocol):
    """Answers each request with many datagrams that are none, and tells when it has."""

    def __init__(self) -> None:
        self.babbled: Deferred[None] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Cut-off, changed and invented datagrams; seeded, so that they are always the same."""
        assert self.transport is not None
        chance = Random(1157)
        for turn in range(300):
            if turn % 3 == 0:
                answer = bytearray(chance.randbytes(chance.randrange(60)))
            else:
                answer = bytearray(datagram[: chance.randrange(1, len(datagram)) if turn % 3 == 1 else None])
                answer[chance.randrange(len(answer))] = chance.randrange(256)
            self.transport.write(bytes(answer), addr)
        if not self.babbled.called:
            self.babbled.callback(None)


class NoiseTests(TestCase):
    """What is no SNMP at all."""

    async def test_noise(self) -> None:
        """It neither answers a request, nor breaks the engine, nor is it printed: the wait ends as in silence."""
        await deferLater(reactor, 0, lambda: None)  # from here on the event loop runs
        clock = Clock()
        engines = Engines(clock)
        self.addCleanup(engines.close)
        noise: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: noise.append(context))
        self.addCleanup(loop.set_exception_handler, None)
        for credentials in (Community("public", "2c"), User(name="piman")):
            babbler = Babbler()
            port = reactor.listenUDP(0, babbler, interface="127.0.0.1")  # type: ignore[attr-defined]
            target = Target(IPv4Address("127.0.0.1"), port.getHost().port)
            done = engines.exchange(target, credentials, GET, 2.0)
            done.addErrback(lambda reason: reason.trap(SwitchTimeout, SwitchRefused))
            await babbler.babbled
            await deferLater(reactor, 0.1, lambda: None)  # for what still lies in the socket; more would change nothing
            clock.advance(2.0)
            await done
            await port.stopListening()
        self.assertEqual(noise, [])


class EnginesTests(TestCase):
    """Engines, in front of a socket that never answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engines = Engines(self.clock)
        self.addCleanup(self.engines.close)
        self.deaf = [self.silent(), self.silent()]

    def silent(self) -> Target:
        """A bound port that nobody reads from."""
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.bind(("127.0.0.1", 0))
        self.addCleanup(port.close)
        return Target(IPv4Address("127.0.0.1"), port.getsockname()[1])

    def ask(self, credentials: Credentials, target: int = 0) -> "Deferred[Any]":
        """Send one request."""
        return self.engines.exchange(self.deaf[target], credentials, GET, 2.0)

    def test_timeout(self) -> None:
        """A wait ends by our clock, to the second, and leaves no timer."""
        done = self.ask(Community("public", "2c"))
        self.clock.advance(1.9)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        reason = self.failureResultOf(done, SwitchTimeout).value
        self.assertIn("community", reason.remedy)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timeout_of_user(self) -> None:
        """To a user the remedy speaks of keys: to a wrong privacy key agents say nothing."""
        done = self.ask(User(name="piman"))
        self.clock.advance(2)
        self.assertIn("privacy key", self.failureResultOf(done, SwitchTimeout).value.remedy)

    def test_engines(self) -> None:
        """One engine serves all targets with the same credentials; the same user with another key has another."""
        users = [User(name="piman", auth=Secret("sha256", phrase)) for phrase in ("one-long-phrase", "two-long-phrase")]
        asked = [self.ask(user, target) for user in users for target in (0, 1)]
        self.assertEqual(len(self.engines), 2)
        self.clock.advance(2)
        for done in asked:
            self.failureResultOf(done, SwitchTimeout)

    def test_protocols(self) -> None:
        """Every protocol that piman.yaml names is known to pysnmp."""
        auths = ("md5", "sha", "sha224", "sha256", "sha384", "sha512")
        privs = ("des", "3des", "aes128", "aes192", "aes256", "aes256-c")
        asked = [
            self.ask(User(name="piman", auth=Secret(auth, "a-long-phrase"), priv=Secret(priv, "another-phrase")))
            for auth, priv in [*zip(auths, privs, strict=True), ("sha", "aes192-c")]
        ]
        self.clock.advance(2)
        for done in asked:
            self.failureResultOf(done, SwitchTimeout)

    def test_short_phrase(self) -> None:
        """A phrase that pysnmp refuses is a refusal with the reason, not a crash."""
        done = self.ask(User(name="piman", auth=Secret("sha", "x")))
        self.failureResultOf(done, SwitchRefused)
