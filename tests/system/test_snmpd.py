"""
Power switches before an SNMP agent that nobody here wrote: net-snmp's snmpd.
"""

import math
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ClassVar

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from piman.config import load
from piman.fleet.interfaces import (
    AmbiguousPort,
    IPowerSwitch,
    NoSuchPort,
    PowerFailed,
    PowerNotObeyed,
    PowerRefused,
    PowerUnreachable,
)
from piman.fleet.model import MACAddress, PowerBudget
from piman.plugins import power_kinds
from piman.settings.power import make_power_switches
from piman.snmp import Engines
from piman.switching import mib
from piman.switching.agent import RemoteAgent, Target
from piman.switching.power_switch import Agents, SNMPPowerSwitch
from piman.switching.session import Community, Credentials, Secret, SwitchRefused, SwitchTimeout, User
from piman.testing.power_contract import PowerSwitchMixin
from tests.system import snmpd_lab
from tests.system.snmpd_lab import ADMIN, COMMUNITIES, ONLY_VERSION_1, SnmpdLab

ORIGINAL = Path(__file__).parents[1] / "captures" / "original.yaml"
PRIVATE = Community("private", "2c")
BRIEF = (0.3, 0.3)
"""A schedule for agents that will never answer."""
PATIENT = (60,)
"""One for counting datagrams: nothing is sent twice, however busy the machine is."""

A, B = MACAddress.parse("b8:27:eb:00:00:01"), MACAddress.parse("dc:a6:32:00:00:02")

AUTH, PRIV = ("SHA-256", "the-first-pass-phrase"), ("AES", "the-second-pass-phrase")
USER = User(name="piman", auth=Secret("sha256", AUTH[1]), priv=Secret("aes128", PRIV[1]))


ENGINE_ID, ENGINE_BOOTS = mib.oid("1.3.6.1.6.3.10.2.1.1.0"), mib.oid("1.3.6.1.6.3.10.2.1.2.0")
"""snmpEngineID and snmpEngineBoots of SNMP-FRAMEWORK-MIB (RFC 3411)."""


class SnmpdCase(TestCase):
    """An snmpd, and our engines."""

    skip = snmpd_lab.unavailable()
    timeout = 120

    def setUp(self) -> None:
        self.engines = Engines(reactor)
        self.addCleanup(self.engines.close)

    def lab_of(self, **options: Any) -> SnmpdLab:
        """A running snmpd."""
        lab = SnmpdLab(Path(self.mktemp()), **options)
        self.addCleanup(lab.close)
        return lab

    def agent(self, target: Target, credentials: Credentials = PRIVATE, **options: Any) -> RemoteAgent:
        """An agent of ours."""
        return RemoteAgent(self.engines.exchange, target, credentials, **options)

    def switch_at(self, target: Target, credentials: Credentials = PRIVATE, **options: Any) -> SNMPPowerSwitch:
        """A switch of ours."""
        agent = self.agent(target, credentials, **options)
        return SNMPPowerSwitch(reactor, "rack-a", lambda: Agents(control=agent, lookup=agent))

    async def failure(self, attempt: "Deferred[Any]", kind: type[PowerFailed]) -> PowerFailed:
        """How it failed: as exactly this, with the switch named and a remedy."""
        with self.assertRaises(PowerFailed) as caught:
            await attempt
        found = caught.exception
        assert isinstance(found, PowerFailed)
        self.assertIs(type(found), kind, found.reason)
        self.assertIn("rack-a", found.reason)
        self.assertTrue(found.remedy)
        return found


# The contract


class Version2ContractTests(PowerSwitchMixin, SnmpdCase):
    """snmp-poe keeps the contract in version 2c."""

    access: ClassVar[str] = COMMUNITIES
    credentials: ClassVar[Credentials] = PRIVATE

    def make(self) -> Any:
        """A switch with boards on two of its ports."""
        lab = self.lab_of(access=self.access)
        lab.learn(A, 1)
        lab.learn(B, 2)
        return self.switch_at(lab.target, self.credentials)

    def unreachable(self) -> Any:
        """An agent that hangs."""
        lab = self.lab_of(access=self.access)
        lab.hang()
        return self.switch_at(lab.target, self.credentials, retries=BRIEF)


class Version1ContractTests(Version2ContractTests):
    """In version 1."""

    access = ONLY_VERSION_1
    credentials = Community("private@4", "1")


class Version3ContractTests(Version2ContractTests):
    """In version 3, with authentication and privacy."""

    access = snmpd_lab.user("piman", AUTH, PRIV)
    credentials = USER


# What others see


class ForeignEyesTests(SnmpdCase):
    """net-snmp's own programs and we see the same switch."""

    async def test_our_orders(self) -> None:
        """snmpget sees what we ordered: TruthValue 2 is off, 1 is on."""
        lab = self.lab_of()
        switch = self.switch_at(lab.target)
        await switch.turn_off(3)
        self.assertEqual([lab.snmpget(f"{ADMIN}.1.{port}") for port in (2, 3, 4)], ["1", "2", "1"])
        await switch.turn_on(3)
        self.assertEqual(lab.snmpget(f"{ADMIN}.1.3"), "1")

    async def test_their_orders(self) -> None:
        """We see what snmpset ordered."""
        lab = self.lab_of()
        switch = self.switch_at(lab.target)
        lab.snmpset(f"{ADMIN}.1.5", 2)
        found = await switch.read(5)
        self.assertEqual((found.admin_on, found.delivering, found.state), (False, False, "disabled"))
        self.assertEqual((found.link_up, found.name), (False, "ge5"))

    async def test_reading(self) -> None:
        """Class, link and budget."""
        switch = self.switch_at(self.lab_of().target)
        found = await switch.read(1)
        self.assertEqual((found.state, found.power_class, found.link_up), ("delivering", 0, True))
        self.assertEqual(await switch.budget(), PowerBudget(total_watts=60, used_watts=16, state="on"))

    async def test_protocols(self) -> None:
        """All digests and ciphers that net-snmp has; where a key is longer than its digest, both traditions."""
        for auth, priv, ours in (
            ("SHA-512", "AES", ("sha512", "aes128")),
            ("SHA-384", "AES", ("sha384", "aes128")),
            ("SHA-224", "AES", ("sha224", "aes128")),
            ("SHA", "AES", ("sha", "aes128")),
            ("MD5", "DES", ("md5", "des")),
            ("SHA", "AES-192", ("sha", "aes192")),
            ("SHA", "AES-256", ("sha", "aes256")),
            ("SHA", "AES-192-C", ("sha", "aes192-c")),
            ("SHA", "AES-256-C", ("sha", "aes256-c")),
            ("SHA-256", "AES-256", ("sha256", "aes256")),
            ("SHA-256", "AES-256", ("sha256", "aes256-c")),
        ):
            lab = self.lab_of(access=snmpd_lab.user("piman", (auth, AUTH[1]), (priv, PRIV[1])))
            options = ("-v3", "-l", "authPriv", "-u", "piman", "-a", auth, "-A", AUTH[1], "-x", priv, "-X", PRIV[1])
            self.assertEqual(lab.snmpget(f"{ADMIN}.1.1", *options), "1")
            mine = User(name="piman", auth=Secret(ours[0], AUTH[1]), priv=Secret(ours[1], PRIV[1]))
            self.assertEqual(await self.agent(lab.target, mine).get((*mib.PSE_PORT_ADMIN_ENABLE, 1, 1)), (1,), ours)
            lab.close()


class OriginalTests(SnmpdCase):
    """The README's own configuration, without further keys, before a switch that knows only version 1."""

    async def test_off_and_on(self) -> None:
        """It is spoken to in version 1; ``private@4`` switches, ``public@4`` looks up."""
        lab = self.lab_of(access=ONLY_VERSION_1)
        lab.learn(A, 2)
        config = load(ORIGINAL, resolver_files=(), power_kinds=power_kinds())
        moved = attrs.evolve(
            config.switches[0],
            switch_address=lab.target.address,
            snmp=attrs.evolve(config.switches[0].snmp, port=lab.port),
        )
        made = make_power_switches(reactor, [moved], power_kinds())
        self.addCleanup(made.close)
        switch = made.by_address[lab.target.address]
        await switch.turn_off(2)
        self.assertEqual(lab.snmpget(f"{ADMIN}.1.2", "-v1", "-c", "public@4"), "2")
        self.assertEqual([each.port for each in await switch.ports() if not each.admin_on], [2])
        await switch.turn_on(2)
        self.assertEqual(lab.snmpget(f"{ADMIN}.1.2", "-v1", "-c", "public@4"), "1")
        self.assertEqual(await switch.locate(A), 2)


# Boards


class LocateTests(SnmpdCase):
    """Where a board was learned."""

    async def test_bridge(self) -> None:
        """BRIDGE-MIB, learned entries only, uplinks refused."""
        lab = self.lab_of()
        lab.learn(A, 4)
        lab.learn(B, 5, status=4)
        switch = self.switch_at(lab.target)
        self.assertEqual(await switch.learned(), {4: frozenset({A})})
        self.assertIsNone(await switch.locate(B))
        lab.learn(B, 4)
        found = await self.failure(switch.locate(A), AmbiguousPort)
        assert isinstance(found, AmbiguousPort)
        self.assertEqual(found.ports, (4,))

    async def test_vlans(self) -> None:
        """Q-BRIDGE-MIB goes before it."""
        lab = self.lab_of()
        lab.learn(A, 4)
        lab.learn_in_vlan(A, 6, vlan=4)
        self.assertEqual(await self.switch_at(lab.target).locate(A), 6)

    async def test_lookup_community(self) -> None:
        """A community that the switch does not know, and to which it is silent, is given up for the other."""
        lab = self.lab_of()
        lab.learn(A, 4)
        control = self.agent(lab.target)
        lookup = self.agent(lab.target, Community("public@4", "2c"), retries=BRIEF)
        switch = SNMPPowerSwitch(reactor, "rack-a", lambda: Agents(control=control, lookup=lookup))
        self.assertEqual(await switch.locate(A), 4)


# Vendors


class TPLinkTests(SnmpdCase):
    """A TP-Link switch: its own table and no other."""

    async def test_off_and_on(self) -> None:
        """0 is off, and it is never asked for POWER-ETHERNET-MIB."""
        lab = self.lab_of(ports=0, object_id="1.3.6.1.4.1.11863.5.42")
        table = ".1.3.6.1.4.1.11863.6.56.1.1.2.1.1"
        rows: dict[str, list[Any]] = {}
        for port in (1, 2):
            rows |= {f"{table}.2.{port}": ["integer", 1], f"{table}.11.{port}": ["integer", 2]}
            rows |= {f"{table}.7.{port}": ["integer", 38], f"{table}.10.{port}": ["integer", 4]}
        lab.put(rows, writable=[f"{table}.2.1", f"{table}.2.2"])
        switch = self.switch_at(lab.target)
        found = await switch.read(2)
        self.assertEqual((found.state, found.watts, found.power_class), ("delivering", 3.8, 4))
        await switch.turn_off(2)
        self.assertEqual(lab.snmpget(f"{table}.2.2"), "0")
        self.assertIsNone(await switch.budget())
        standard = [oid for oid in lab.asked("get") + lab.asked("getnext") if ".1.3.6.1.2.1.105" in oid]
        self.assertEqual(standard, [])


class CiscoTests(SnmpdCase):
    """A Cisco switch: its own words for off, and the ENTITY-MIB between port and interface."""

    async def test_off_and_on(self) -> None:
        """4 disables; the interface is found through cpeExtPsePortEntPhyIndex and entAliasMapping."""
        lab = self.lab_of(ports=2, object_id="1.3.6.1.4.1.9.1.1208")
        table = ".1.3.6.1.4.1.9.9.402.1.2.1"
        lab.put(
            {
                f"{table}.1.1.2": ["integer", 2],
                f"{table}.9.1.2": ["gauge", 3900],
                f"{table}.11.1.2": ["integer", 1012],
                ".1.3.6.1.2.1.47.1.3.2.1.2.1012.0": ["objectid", ".1.3.6.1.2.1.2.2.1.1.10102"],
                ".1.3.6.1.2.1.31.1.1.1.1.10102": ["string", "Gi1/0/2"],
                ".1.3.6.1.2.1.2.2.1.3.10102": ["integer", 6],
            },
            writable=[f"{table}.1.1.2"],
        )
        switch = self.switch_at(lab.target)
        found = await switch.read(2)
        self.assertEqual((found.admin_on, found.watts, found.name), (True, 3.9, "Gi1/0/2"))
        await switch.turn_off(2)
        self.assertEqual(lab.snmpget(f"{table}.1.1.2"), "4")


# Faults


class FaultTests(SnmpdCase):
    """Each fault ends in a clear failure of its own, and nothing hangs."""

    def faulty(self, fault: str, value: Any = True) -> SNMPPowerSwitch:
        """A switch with something wrong."""
        self.lab = self.lab_of()
        self.lab.be(fault, value)
        return self.switch_at(self.lab.target)

    async def test_deaf(self) -> None:
        """SET is accepted and nothing happens: the order was not obeyed."""
        found = await self.failure(self.faulty("deaf").turn_off(2), PowerNotObeyed)
        self.assertIn("port 2", found.reason)
        self.assertTrue(self.lab.asked("set"))

    async def test_late(self) -> None:
        """SET is accepted and obeyed a second later: it is waited for."""
        await self.faulty("late", 1).turn_off(2)
        self.assertEqual(self.lab.snmpget(f"{ADMIN}.1.2"), "2")

    async def test_lying(self) -> None:
        """The port is off as ordered and delivers: reading it shows both, and the link."""
        switch = self.faulty("lying")
        await switch.turn_off(2)
        found = await switch.read(2)
        self.assertEqual((found.admin_on, found.delivering, found.link_up), (False, True, True))

    async def test_no_answer(self) -> None:
        """The agent hangs in the middle: it may be tried again."""
        lab = self.lab_of()
        agent = self.agent(lab.target)
        switch = SNMPPowerSwitch(reactor, "rack-a", lambda: Agents(control=agent, lookup=agent))
        await switch.turn_off(2)
        lab.hang()
        agent.retries = BRIEF
        found = await self.failure(switch.turn_on(2), PowerUnreachable)
        self.assertTrue(found.may_retry)

    async def test_nobody(self) -> None:
        """Nobody is there at all."""
        lab = self.lab_of()
        lab.stop()
        await self.failure(self.switch_at(lab.target, retries=BRIEF).turn_on(2), PowerUnreachable)

    async def test_wrong_community(self) -> None:
        """To a wrong community snmpd is silent, and the remedy says so."""
        switch = self.switch_at(self.lab_of().target, Community("wrong", "2c"), retries=BRIEF)
        self.assertIn("community", (await self.failure(switch.turn_on(2), PowerUnreachable)).remedy)

    async def test_read_only_community(self) -> None:
        """A community that may only read: refused, and nothing is switched."""
        lab = self.lab_of()
        switch = self.switch_at(lab.target, Community("public", "2c"))
        found = await self.failure(switch.turn_off(2), PowerRefused)
        self.assertIn("noAccess", found.reason)
        self.assertIn("write", found.remedy)
        self.assertEqual(lab.asked("set"), [])

    async def test_read_only_community_in_version_1(self) -> None:
        """The same in version 1, which has fewer words."""
        switch = self.switch_at(self.lab_of().target, Community("public", "1"))
        self.assertIn("noSuchName", (await self.failure(switch.turn_off(2), PowerRefused)).reason)

    async def test_refusals(self) -> None:
        """What the switch answers to a SET is told by its name."""
        for word, name in (
            ("not-writable", "notWritable"),
            ("wrong-value", "wrongValue"),
            ("wrong-type", "wrongType"),
        ):
            found = await self.failure(self.faulty("refuses", word).turn_off(2), PowerRefused)
            self.assertIn(name, found.reason)
            self.assertFalse(found.may_retry)
            self.lab.close()

    async def test_inconsistent_value(self) -> None:
        """A refusal that may pass may be tried again."""
        found = await self.failure(self.faulty("refuses", "inconsistent-value").turn_off(2), PowerRefused)
        self.assertTrue(found.may_retry)

    async def test_wrong_type(self) -> None:
        """Text where a number belongs."""
        found = await self.failure(self.faulty("wrong-type").turn_off(2), PowerRefused)
        self.assertIn("not a number", found.reason)

    async def test_no_such_instance(self) -> None:
        """The port's row is missing."""
        switch = self.faulty("missing", [f"{ADMIN}.1.2"])
        await self.failure(switch.turn_off(2), NoSuchPort)
        self.assertEqual(self.lab.asked("set"), [])

    async def test_no_power_objects(self) -> None:
        """A switch without PoE is refused, and the remedy names another way."""
        found = await self.failure(self.switch_at(self.lab_of(ports=0).target).turn_off(2), PowerRefused)
        self.assertIn("command", found.remedy)

    async def test_slow_walk(self) -> None:
        """A walk that takes its time is waited for; one that takes longer than the schedule ends in a timeout."""
        lab = self.lab_of()
        lab.be("slow", 0.005)
        self.assertEqual(len(await self.agent(lab.target).walk(mib.PSE_PORT_ADMIN_ENABLE)), 8)
        lab.be("slow", 0.5)
        with self.assertRaises(SwitchTimeout):
            await self.agent(lab.target, retries=BRIEF).walk(mib.PSE_PORT_ADMIN_ENABLE)


class UserFaultTests(SnmpdCase):
    """Version 3 with something wrong."""

    def wrong(self, **changes: Any) -> SNMPPowerSwitch:
        """A switch that is shown another user."""
        lab = self.lab_of(access=snmpd_lab.user("piman", AUTH, PRIV))
        agent = self.agent(lab.target, attrs.evolve(USER, **changes))
        if changes.get("priv"):
            agent.retries = BRIEF
        return SNMPPowerSwitch(reactor, "rack-a", lambda: Agents(control=agent, lookup=agent))

    async def test_wrong_key(self) -> None:
        """A wrong authentication key."""
        switch = self.wrong(auth=Secret("sha256", "some-other-phrase"))
        self.assertIn("wrongDigest", (await self.failure(switch.turn_off(2), PowerRefused)).reason)

    async def test_wrong_protocol(self) -> None:
        """A wrong authentication protocol."""
        switch = self.wrong(auth=Secret("sha512", AUTH[1]))
        self.assertIn("wrongDigest", (await self.failure(switch.turn_off(2), PowerRefused)).reason)

    async def test_unknown_user(self) -> None:
        """An unknown user."""
        switch = self.wrong(name="nobody")
        self.assertIn("unknownUserName", (await self.failure(switch.turn_off(2), PowerRefused)).reason)

    async def test_wrong_privacy_key(self) -> None:
        """A wrong privacy key: snmpd is silent, and the remedy says so."""
        switch = self.wrong(priv=Secret("aes128", "some-other-phrase"))
        self.assertIn("privacy key", (await self.failure(switch.turn_off(2), PowerUnreachable)).remedy)

    async def test_too_little(self) -> None:
        """A user who must encrypt and does not."""
        switch = self.wrong(priv=None)
        self.assertIn("authorizationError", (await self.failure(switch.turn_off(2), PowerRefused)).reason)


class ManyTests(SnmpdCase):
    """Several agents at once."""

    async def test_same_user_other_key(self) -> None:
        """Two switches with the same user name and different keys both answer, again and again."""
        other = ("SHA-256", "quite-another-phrase")
        switches = []
        for auth in (AUTH, other):
            lab = self.lab_of(access=snmpd_lab.user("piman", auth, PRIV))
            switches.append(self.switch_at(lab.target, attrs.evolve(USER, auth=Secret("sha256", auth[1]))))
        for _ in range(3):
            found = await gatherResults([switch.read(1) for switch in switches], consumeErrors=True)
            self.assertEqual([each.state for each in found], ["delivering"] * 2)
        self.assertEqual(len(self.engines), 2)

    async def test_restarted_agent(self) -> None:
        """An agent that was started again (RFC 3414: same engine, one boot more, time 0) answers at once."""
        lab = self.lab_of(access=snmpd_lab.user("piman", AUTH, PRIV))
        agent = self.agent(lab.target, USER, retries=(10,))
        before = await agent.get(ENGINE_ID, ENGINE_BOOTS)
        lab.stop()
        lab.start()
        after = await agent.get(ENGINE_ID, ENGINE_BOOTS)
        self.assertEqual(after[0], before[0])
        self.assertGreater(after[1], before[1])  # type: ignore[operator]

    async def test_replaced_agent(self) -> None:
        """Another agent at the same address (another engine) is found out about at the second attempt."""
        lab = self.lab_of(access=snmpd_lab.user("piman", AUTH, PRIV))
        agent = self.agent(lab.target, USER, retries=(1, 10))
        (before,) = await agent.get(ENGINE_ID)
        lab.replace()
        (after,) = await agent.get(ENGINE_ID)
        self.assertNotEqual(after, before)

    async def test_fifty_and_a_dead_one(self) -> None:
        """
        Fifty switches are asked at once and a dead one among them delays nobody.

        Time stands still meanwhile: had one of them waited for the dead one, it would wait for ever.
        """
        clock = Clock()
        engines = Engines(clock)
        self.addCleanup(engines.close)
        lab = self.lab_of(addresses=[f"127.0.4.{number}" for number in range(1, 51)])
        dead = Target(IPv4Address("127.0.4.99"), lab.port)
        targets = [Target(IPv4Address(address), lab.port) for address in lab.addresses]
        targets.insert(25, dead)
        asked = [
            Deferred.fromCoroutine(RemoteAgent(engines.exchange, target, PRIVATE).walk(mib.PSE_PORT_ADMIN_ENABLE))
            for target in targets
        ]
        silent = asked.pop(25)
        found = await gatherResults(asked, consumeErrors=True)
        self.assertEqual([len(each) for each in found], [8] * 50)
        self.assertNoResult(silent)
        self.assertEqual(len(engines), 1)
        for seconds in (1, 2, 4):
            clock.advance(seconds)
        self.failureResultOf(silent, SwitchTimeout)


# Counting


class Counter(DatagramProtocol):
    """Stands between us and an agent and counts our datagrams."""

    def __init__(self, agent: Target) -> None:
        self._agent = (str(agent.address), agent.port)
        self._client: tuple[str, int] | None = None
        self.requests = 0

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Hand it on."""
        assert self.transport is not None
        if addr == self._agent:
            self.transport.write(datagram, self._client)
            return
        self._client = addr
        self.requests += 1
        self.transport.write(datagram, self._agent)


class CountTests(SnmpdCase):
    """How many datagrams a 48-port switch costs."""

    def counted(self, lab: SnmpdLab) -> tuple[Counter, Target]:
        """A counter in front of an agent."""
        counter = Counter(lab.target)
        port = reactor.listenUDP(0, counter, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return counter, Target(IPv4Address("127.0.0.1"), port.getHost().port)

    async def count(self, work: Callable[[], Any], counter: Counter) -> int:
        """The datagrams of some work."""
        before = counter.requests
        await work()
        return counter.requests - before

    async def test_walk(self) -> None:
        """A column of 48 rows takes at most ceil(48 / repetitions) + 1 requests, in versions 2c and 3."""
        lab = self.lab_of(ports=48, access=COMMUNITIES + snmpd_lab.user("piman", AUTH, PRIV))
        counter, target = self.counted(lab)
        for credentials in (PRIVATE, USER):
            await self.agent(target, credentials, retries=PATIENT).get(
                mib.SYS_OBJECT_ID
            )  # version 3 finds out about engine and time
            for repetitions in (10, 16, 25, 48):
                agent = self.agent(target, credentials, repetitions=repetitions, retries=PATIENT)
                for column in (mib.PSE_PORT_ADMIN_ENABLE, mib.PSE_PORT_DETECTION_STATUS, mib.IF_NAME):
                    spent = await self.count(lambda agent=agent, column=column: agent.walk(column), counter)
                    self.assertLessEqual(spent, math.ceil(48 / repetitions) + 1, (repetitions, column))

    async def test_ports(self) -> None:
        """All ports, once the switch is known: four columns of 48 rows, in 3 requests each at most."""
        counter, target = self.counted(self.lab_of(ports=48))
        switch = self.switch_at(target, retries=PATIENT)
        self.assertEqual(len(await switch.ports()), 48)
        self.assertLessEqual(await self.count(switch.ports, counter), 4 * 3)

    async def test_read(self) -> None:
        """One port, once the switch is known: two requests; an order: one SET and its reading."""
        counter, target = self.counted(self.lab_of())
        switch = self.switch_at(target, retries=PATIENT)
        await switch.read(1)
        self.assertEqual(await self.count(lambda: switch.read(2), counter), 2)
        self.assertEqual(await self.count(lambda: switch.turn_off(2), counter), 3)


class InterfaceTests(SnmpdCase):
    """What is written."""

    async def test_not_a_poe_port(self) -> None:
        """SET of an object that the agent has and does not let write is refused."""
        agent = self.agent(self.lab_of().target)
        with self.assertRaises(SwitchRefused):
            await agent.set((*mib.IF_TYPE, 1), 7)

    def test_provides(self) -> None:
        """The switch is an IPowerSwitch."""
        self.assertTrue(IPowerSwitch.providedBy(self.switch_at(Target(IPv4Address("127.0.0.1"), 1))))
