"""
Where a board was learned, and which interface a PoE port is.
"""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import MACAddress
from piman.switching import mib
from piman.switching.bridge import Interfaces, by_power_port, learned_at, match_ports, read_entities, read_learned
from piman.switching.profiles import CISCO, STANDARD
from piman.testing.power import MemoryAgent

A, B = MACAddress.parse("b8:27:eb:00:00:01"), MACAddress.parse("dc:a6:32:00:00:02")


def interfaces(names: dict[int, str], bridge_ports: dict[int, int] | None = None) -> Interfaces:
    """Ethernet interfaces, and a VLAN interface (propVirtual(53)) that must never be taken for a port."""
    types = {**dict.fromkeys(names, 6), 900: 53}
    return Interfaces(names={**names, 900: "Vlan4"}, types=types, bridge_ports=bridge_ports or {})


class MatchTests(SynchronousTestCase):
    """PoE port -> ifIndex, as vendors number them."""

    def test_entities(self) -> None:
        """What the switch says itself goes before everything else."""
        found = match_ports([1, 2], interfaces({1: "a1", 2: "a2", 10101: "x"}), {1: 10101, 2: 2})
        self.assertEqual(found, {1: 10101, 2: 2})

    def test_bridge_ports(self) -> None:
        """Netgear, Comware: the port is a bridge port."""
        found = match_ports([1, 2], interfaces({101: "0/1", 102: "0/2"}, {1: 101, 2: 102}))
        self.assertEqual(found, {1: 101, 2: 102})

    def test_if_index(self) -> None:
        """HP: the port is an ifIndex, and stack members go on counting."""
        self.assertEqual(
            match_ports([25, 26], interfaces({index: f"{index}" for index in range(1, 49)})), {25: 25, 26: 26}
        )

    def test_names(self) -> None:
        """Cisco without its MIB: the last number of the name."""
        found = match_ports([1, 2], interfaces({10101: "Gi1/0/1", 10102: "Gi1/0/2", 10103: "Gi1/0/3"}))
        self.assertEqual(found, {1: 10101, 2: 10102})

    def test_ambiguous_names(self) -> None:
        """A number that ends two names says nothing; as many interfaces as ports are taken in order."""
        names = {11: "Gi1/0/1", 12: "Te1/1/1"}
        self.assertEqual(match_ports([1, 2], interfaces(names)), {1: 11, 2: 12})
        self.assertEqual(match_ports([1], interfaces(names)), {})

    def test_nothing(self) -> None:
        """A switch that shows no interfaces numbers alike."""
        self.assertEqual(match_ports([1, 2], Interfaces()), {1: 1, 2: 2})

    def test_cisco_entities(self) -> None:
        """cpeExtPsePortEntPhyIndex leads to entAliasMappingIdentifier, which ends with the ifIndex (RFC 6933)."""
        agent = MemoryAgent(
            {
                (*mib.CISCO_PORT_ENTITY, 1, 1): 1010,
                (*mib.CISCO_PORT_ENTITY, 1, 2): 0,
                (*mib.ENT_ALIAS_MAPPING, 1010, 0): mib.oid("1.3.6.1.2.1.2.2.1.1.10101"),
            }
        )
        found = self.successResultOf(Deferred.fromCoroutine(read_entities(agent, CISCO, 1)))
        self.assertEqual(found, {1: 10101})
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(read_entities(agent, STANDARD, 1))), {})


class LearnedTests(SynchronousTestCase):
    """Rows of the forwarding tables."""

    def test_both_tables(self) -> None:
        """The last six numbers of an index are the MAC, whatever stands before."""
        for prefix in ((), (4,)):
            found = learned_at({(*prefix, *A.octets): 7, (*prefix, *B.octets): 8}, {})
            self.assertEqual(found, {7: {A}, 8: {B}})

    def test_learned_only(self) -> None:
        """Only learned(3) counts: not other(1), invalid(2), self(4), mgmt(5) (RFC 4188)."""
        for status in (1, 2, 4, 5):
            self.assertEqual(learned_at({tuple(A.octets): 7}, {tuple(A.octets): status}), {})
        self.assertEqual(learned_at({tuple(A.octets): 7}, {tuple(A.octets): 3}), {7: {A}})

    def test_unknown_port(self) -> None:
        """Port 0 is a board that the switch knows and has not seen (RFC 4188)."""
        self.assertEqual(learned_at({tuple(A.octets): 0}, {}), {})

    def test_broken_index(self) -> None:
        """An index that is no MAC is left out."""
        self.assertEqual(learned_at({(1, 2): 7, (1, 2, 3, 4, 5, 999): 7}, {}), {})

    def read(self, agent: MemoryAgent) -> dict[int, set[MACAddress]]:
        """What an agent has learned."""
        return self.successResultOf(Deferred.fromCoroutine(read_learned(agent)))

    def test_q_bridge_first(self) -> None:
        """Q-BRIDGE-MIB knows all VLANs and goes first; without rows BRIDGE-MIB is asked."""
        agent = MemoryAgent({(*mib.FDB_PORT, *A.octets): 1, (*mib.Q_FDB_PORT, 4, *B.octets): 2})
        self.assertEqual(self.read(agent), {2: {B}})
        self.assertEqual(self.read(MemoryAgent({(*mib.FDB_PORT, *A.octets): 1})), {1: {A}})
        self.assertEqual(self.read(MemoryAgent()), {})

    def test_by_power_port(self) -> None:
        """Bridge ports lead to PoE ports over their interfaces; boards on ports without power are left out."""
        found = by_power_port({1: {A}, 9: {B}}, {1: 101, 9: 109}, {7: 101})
        self.assertEqual(found, {7: frozenset({A})})
        self.assertEqual(by_power_port({7: {A}}, {}, {7: 7}), {7: frozenset({A})})
