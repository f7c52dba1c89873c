"""
What the operator's words lead to.
"""

from ipaddress import IPv4Address

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import MACAddress, Node, SwitchPort
from piman.fleet.operations.targets import Atlas, BadTargets, Place, Target, resolve, switches_to_ask

RACK_A, RACK_B = IPv4Address("172.30.4.254"), IPv4Address("172.30.4.253")
MACS = [MACAddress.parse(f"b8:27:eb:00:00:0{number}") for number in range(1, 7)]
STRANGER = MACS[5]


def node(number: int, *, switch: IPv4Address | None = RACK_A, port: int | None = None) -> Node:
    """pi<number>, at 172.30.4.<number>."""
    place = SwitchPort(switch, port or number) if switch else None
    return Node(
        mac=MACS[number - 1], address=IPv4Address(f"172.30.4.{number}"), hostname=f"pi{number}", port=place
    )


ATLAS = Atlas(
    places=(
        Place(address=RACK_A, label="rack-a", named_ports=frozenset({7}), protected_ports=frozenset({24})),
        Place(address=RACK_B, label="rack-b"),
    ),
    nodes=(node(2), node(3, port=7), node(4, switch=RACK_B), node(5, switch=None)),
)


class ResolveTests(SynchronousTestCase):
    """Words to targets."""

    def found(self, *words: str, learned: dict[int, set[MACAddress]] | None = None) -> list[Target]:
        """The targets of some words."""
        boards = {port: frozenset(macs) for port, macs in (learned or {}).items()}
        return list(resolve(words, ATLAS, {RACK_A: boards}))

    def names(self, *words: str) -> list[str]:
        """Their names."""
        return [target.name for target in self.found(*words)]

    def refused(self, *words: str, learned: dict[int, set[MACAddress]] | None = None) -> str:
        """What is said of words that cannot be obeyed."""
        with self.assertRaises(BadTargets) as refusal:
            self.found(*words, learned=learned)
        return str(refusal.exception)

    def test_names_of_a_node(self) -> None:
        """A node is named by its hostname, its hardware address in either case, or its address."""
        for word in ("pi2", "B8:27:EB:00:00:02", "172.30.4.2"):
            self.assertEqual(self.names(word), ["pi2"], word)

    def test_leased_address(self) -> None:
        """An address from the pool names the node that holds it now."""
        atlas = attrs.evolve(ATLAS, addresses={IPv4Address("172.30.4.100"): MACS[3]})
        self.assertEqual([target.name for target in resolve(["172.30.4.100"], atlas, {})], ["pi4"])

    def test_ports_of_switches(self) -> None:
        """Numbers and ranges are ports of the switch before them, named or by its address."""
        found = self.found("rack-a", "2", "7-8", "172.30.4.253", "4")
        ports = [(str(target.port), target.mac) for target in found]
        expected = [
            ("172.30.4.254 port 2", MACS[1]),
            ("172.30.4.254 port 7", MACS[2]),
            ("172.30.4.254 port 8", None),
            ("172.30.4.253 port 4", MACS[3]),
        ]
        self.assertEqual(ports, expected)

    def test_rules(self) -> None:
        """The answer says which rule led to the node: ports, the last octet, what the switch learned, or none."""
        found = self.found("rack-a", "2", "7", "9", "10", learned={9: {STRANGER}})
        self.assertEqual(
            [target.rule for target in found],
            [
                "172.30.4.2 ends in 2",
                "its entry under ports",
                "the switch has learned it there",
                "no node is known there: whatever appears is followed",
            ],
        )

    def test_learned_stranger(self) -> None:
        """A board that no file names is the target when the switch sees it there."""
        self.assertEqual(self.found("rack-a", "9", learned={9: {STRANGER}})[0].mac, STRANGER)

    def test_all(self) -> None:
        """``all`` is every node with a port; after a switch, those of the switch."""
        self.assertEqual(self.names("all"), ["pi2", "pi3", "pi4"])
        self.assertEqual(self.names("rack-a", "all"), ["pi2", "pi3"])

    def test_once(self) -> None:
        """What is named twice is one target."""
        self.assertEqual(self.names("pi2", "rack-a", "2", "172.30.4.2"), ["pi2"])

    def test_refused_ports(self) -> None:
        """Protected ports and uplinks are refused, with the reason and what to do."""
        self.assertIn("protected_ports", self.refused("rack-a", "24"))
        self.assertIn("uplink", self.refused("rack-a", "9", learned={9: {MACS[0], STRANGER}}))
        self.assertIn("uplink", self.refused("pi2", learned={2: {MACS[1], STRANGER}}))

    def test_named_port_with_several_boards(self) -> None:
        """A port that the operator named is his word against the switch's: virtual machines have addresses, too."""
        self.assertEqual(self.found("rack-a", "7", learned={7: {MACS[2], STRANGER}})[0].mac, MACS[2])

    def test_manager(self) -> None:
        """The port behind which the manager is seen is never switched."""
        atlas = attrs.evolve(ATLAS, manager=STRANGER)
        with self.assertRaisesRegex(BadTargets, "the manager itself"):
            resolve(["rack-a", "9"], atlas, {RACK_A: {9: frozenset({STRANGER})}})

    def test_no_power_control(self) -> None:
        """A node without a port is refused with the key to add."""
        self.assertIn("pi_addresses", self.refused("pi5"))

    def test_all_mistakes_at_once(self) -> None:
        """Every word that means nothing is answered, the nearest name offered."""
        said = self.refused("pi22", "nonsense", "pi2")
        self.assertIn("did you mean pi2?", said)
        self.assertIn("nonsense: no node and no switch", said)

    def test_numbers_without_a_switch(self) -> None:
        """A number alone is no node."""
        self.assertIn("of which switch", self.refused("3"))

    def test_switch_without_numbers(self) -> None:
        """A switch alone is a question back, wherever it stands."""
        self.assertIn("rack-a: which ports?", self.refused("rack-a"))
        self.assertIn("rack-a: which ports?", self.refused("rack-a", "rack-b", "4"))

    def test_impossible_ports(self) -> None:
        """Port 0, ranges that run backwards and endless ones are refused."""
        for word in ("0", "8-2", "1-9999"):
            self.assertIn("ports are numbers", self.refused("rack-a", word))

    def test_nothing(self) -> None:
        """No word at all names nothing, not everything."""
        self.assertIn("nothing is named", self.refused())

    def test_whom_to_ask(self) -> None:
        """Only switches with a target are asked what they have learned."""
        self.assertEqual(switches_to_ask(["pi2"], ATLAS), {RACK_A})
        self.assertEqual(switches_to_ask(["all"], ATLAS), {RACK_A, RACK_B})

    @given(st.lists(st.sampled_from(["rack-a", "all", "2", "1-3", "pi2", "pi5", "", "24", "-", "²"]), max_size=6))
    def test_total(self, words: list[str]) -> None:
        """Any words give targets or a refusal."""
        try:
            found = resolve(words, ATLAS, {})
        except BadTargets as refusal:
            self.assertTrue(refusal.problems)
        else:
            self.assertTrue(found)
