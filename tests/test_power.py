"""
Tests for :mod:`piman.power`: from piman.yaml to switches and names.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from piman.config import Config, load
from piman.fleet.interfaces import (
    BadSettings,
    IPowerSwitch,
    IPowerSwitchKind,
    PowerContext,
    SettingProblem,
)
from piman.fleet.model import MACAddress
from piman.host.neighbours import mac_of
from piman.power import atlas_of, operation_settings, power_policy, power_switches
from piman.testing.power import MemoryPowerSwitch

CONFIGURATION = """\
private_number: 7
server_address: 172.30.4.1
subnet_mask: 24
interface: lo
operations: {max_blast: 3, off_seconds: 2, stagger_seconds: 0.5}
switches:
  - {switch_address: 172.30.4.254, name: rack-a, power: {kind: memory, ports: 4}, group: 2,
     pi_addresses: [172.30.4.2], ports: {3: 172.30.4.9}, protected_ports: [4]}
  - {switch_address: 172.30.4.253, name: rack-b, power: {kind: memory, ports: 5}}
"""
A, B = IPv4Address("172.30.4.254"), IPv4Address("172.30.4.253")


class Shared:
    """What the switches of a kind share."""

    closed = 0

    def close(self) -> None:
        """Count it."""
        self.closed += 1


@implementer(IPowerSwitchKind)
class MemoryKind:
    """A kind of switches in memory, with one setting."""

    name = "memory"

    def __init__(self) -> None:
        self.shared: list[Shared] = []
        self.contexts: list[PowerContext] = []

    def parse(self, settings: Mapping[str, Any]) -> int:
        """How many ports."""
        if set(settings) != {"ports"}:
            raise BadSettings([SettingProblem("prots", "an unknown key", "ports")])
        return int(settings["ports"])

    def share(self, reactor: Any) -> Shared:
        """One for all."""
        self.shared.append(Shared())
        return self.shared[-1]

    def make(self, settings: int, context: PowerContext) -> IPowerSwitch:
        """A switch."""
        self.contexts.append(context)
        return MemoryPowerSwitch(range(1, settings + 1), label=context.label)


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        """Read the file."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "piman.yaml").write_text(CONFIGURATION)
        (folder / "hosts.csv").write_text("B8:27:EB:00:00:02;172.30.4.2;pi2;0\n")
        self.config: Config = load(folder / "piman.yaml", resolver_files=())
        self.kind = MemoryKind()


class SwitchTests(_Case):
    """Switches."""

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        self.made = power_switches(Clock(), self.config, {"memory": self.kind})

    def test_kinds(self) -> None:
        """Each switch is made by its kind, from its own settings and what the file says of the switch."""
        verifyObject(IPowerSwitchKind, self.kind)
        self.assertEqual(len(self.successResultOf(self.made.by_address[A].ports())), 4)
        self.assertEqual(len(self.successResultOf(self.made.by_address[B].ports())), 5)
        context = self.kind.contexts[0]
        self.assertEqual((context.address, context.label, context.group, context.vlan), (A, "rack-a", 2, 7))
        self.assertEqual(context.access.community, "private@7")

    def test_shared(self) -> None:
        """What a kind shares is made once, and closed."""
        (shared,) = self.kind.shared
        self.assertTrue(all(context.shared is shared for context in self.kind.contexts))
        self.made.close()
        self.assertEqual(shared.closed, 1)


class NameTests(_Case):
    """What words can name."""

    def test_atlas(self) -> None:
        """Switches, nodes, places and addresses are those of the files, and the loopback's MAC is nobody's."""
        other = MACAddress.parse("b8:27:eb:00:00:07")
        atlas = atlas_of(self.config, {IPv4Address("172.30.4.70"): other})
        place = atlas.place("rack-a")
        assert place is not None
        self.assertEqual((place.address, place.named_ports, place.protected_ports), (A, {3}, {4}))
        self.assertEqual([node.hostname for node in atlas.nodes], ["pi2"])
        self.assertEqual([str(slot.address) for slot in atlas.slots], ["172.30.4.9"])
        self.assertEqual((atlas.addresses[IPv4Address("172.30.4.70")], atlas.manager), (other, None))

    def test_knobs(self) -> None:
        """The section ``operations`` reaches those whom it concerns."""
        self.assertEqual((power_policy(self.config).off_seconds, power_policy(self.config).stagger_seconds), (2.0, 0.5))
        self.assertEqual(operation_settings(self.config).max_blast, 3)


class OwnAddressTests(SynchronousTestCase):
    """The manager's own board."""

    def test_address(self) -> None:
        """It is what Linux shows under /sys/class/net; an interface without one, or none, gives None."""
        folder = Path(self.mktemp())
        for name, text in (("eth0", "dc:a6:32:00:11:22\n"), ("lo", "00:00:00:00:00:00\n"), ("tun0", "\n")):
            (folder / name).mkdir(parents=True)
            (folder / name / "address").write_text(text)
        self.assertEqual(str(mac_of("eth0", folder)), "dc:a6:32:00:11:22")
        self.assertEqual([mac_of(name, folder) for name in ("lo", "tun0", "eth9")], [None, None, None])
