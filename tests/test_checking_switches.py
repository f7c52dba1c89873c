"""
Switches beside the configuration.
"""

from ipaddress import IPv4Address
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from piman.checking.findings import Finding, Level
from piman.checking.switches import check_switch
from piman.config import Config, load
from piman.fleet.interfaces import IPowerSwitch, PowerUnreachable
from piman.fleet.model import MACAddress, PortPower
from piman.testing.power import MemoryPowerSwitch

YAML = """
server_address: 172.30.4.1
subnet_mask: 255.255.255.0
interface: eth0
switches:
  - switch_address: 172.30.4.254
    name: rack-a
    pi_addresses: [172.30.4.11, 172.30.4.12, 172.30.4.13]
    ports: {1: 172.30.4.11, 2: 172.30.4.12, 3: 172.30.4.13}
    protected_ports: [8]
"""
HOSTS = "b8:27:eb:00:00:01;172.30.4.11;pi1;0\nb8:27:eb:00:00:02;172.30.4.12;pi2;0\n"
PI_1, PI_2 = MACAddress.parse("b8:27:eb:00:00:01"), MACAddress.parse("b8:27:eb:00:00:02")
STRANGER = MACAddress.parse("b8:27:eb:99:99:99")


class _Mute(MemoryPowerSwitch):
    """It cannot list its ports: like a program that switches one at a time."""

    def ports(self) -> "Deferred[list[PortPower]]":
        """None."""
        return succeed([])


class SwitchTests(SynchronousTestCase):
    """rack-a, with pi1, pi2 and a slot on the ports 1 to 3."""

    def setUp(self) -> None:
        """The configuration and the switch."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "piman.yaml").write_text(YAML)
        (self.folder / "hosts.csv").write_text(HOSTS)
        self.config: Config = load(self.folder / "piman.yaml", resolver_files=())
        self.switch = MemoryPowerSwitch(label="rack-a")

    def check(self, power: IPowerSwitch | None) -> list[Finding]:
        """What is found."""
        (switch,) = self.config.switches
        found: list[Finding] = self.successResultOf(Deferred.fromCoroutine(check_switch(self.config, switch, power)))
        return found

    def bad(self) -> list[tuple[Level, str]]:
        """What is not fine."""
        return [(one.level, one.text) for one in self.check(self.switch) if one.level is not Level.OK]

    def test_fine(self) -> None:
        """A switch that is as configured takes one line, with its ports and its power."""
        (found,) = self.check(self.switch)
        self.assertEqual((found.level, found.subject), (Level.OK, "switch rack-a"))
        self.assertEqual(found.text, "answers; 8 ports, 3 of 3 nodes' ports give power, 32 of 123 W in use")

    def test_silent(self) -> None:
        """One that does not answer is a failure with the switch's own reason and remedy."""
        self.switch.failure = PowerUnreachable("rack-a (172.30.4.254) does not answer.", "Look at its community.")
        (found,) = self.check(self.switch)
        self.assertEqual((found.level, found.remedy), (Level.FAIL, "Look at its community."))
        self.assertEqual(found.text, "rack-a (172.30.4.254) does not answer")

    def test_not_asked(self) -> None:
        """One of a kind that nobody can speak with is a warning, not silence."""
        (found,) = self.check(None)
        self.assertEqual((found.level, "snmp-poe" in found.text), (Level.WARN, True))

    def test_ports_missing(self) -> None:
        """Ports of the configuration that the switch does not have are named with their boards; protected ones too."""
        self.switch = MemoryPowerSwitch(ports=(1,))
        self.assertEqual(
            self.bad(),
            [(Level.FAIL, "has no ports 2 (pi2), 3 (172.30.4.13), 8, or no power to switch there")],
        )

    def test_one_by_one(self) -> None:
        """A switch that cannot list its ports is asked for those of the configuration."""
        self.switch = _Mute(ports=(1, 3, 8))
        self.assertEqual(self.bad(), [(Level.FAIL, "has no port 2 (pi2), or no power to switch there")])

    def test_off(self) -> None:
        """A port that is switched off is a warning: it may be meant so; other ports of the switch do not matter."""
        self.successResultOf(self.switch.turn_off(2))
        self.successResultOf(self.switch.turn_off(5))
        self.assertEqual(self.bad(), [(Level.WARN, "port 2 (pi2) switched off")])

    def test_fault(self) -> None:
        """Ports that are on and give nothing are grouped by what the switch says of them."""
        self.switch.faults = {1: "fault", 3: "searching", 6: "fault"}
        self.assertEqual(
            self.bad(),
            [
                (Level.WARN, "no power is drawn from port 1 (pi1): the switch says fault"),
                (Level.WARN, "no power is drawn from port 3 (172.30.4.13): the switch says searching"),
            ],
        )

    def test_in_place(self) -> None:
        """Boards that were learned where they belong, on an uplink, or on ports without a node, are fine."""
        self.switch.macs = {1: {PI_1}, 7: {STRANGER}, 8: {PI_2, STRANGER, PI_1}}
        self.assertEqual(self.bad(), [])

    def test_swapped(self) -> None:
        """Two cables that were swapped are two failures: a restart would hit the wrong board."""
        self.switch.macs = {1: {PI_2}, 2: {PI_1}}
        self.assertEqual(
            self.bad(),
            [
                (Level.FAIL, f"pi2 ({PI_2}) hangs on port 1; the configuration says port 2"),
                (Level.FAIL, f"pi1 ({PI_1}) hangs on port 2; the configuration says port 1"),
            ],
        )

    def test_stranger(self) -> None:
        """A board that nobody knows in a node's place (it was replaced) is a failure; in a slot's place it is not."""
        self.switch.macs = {1: {STRANGER}, 3: {MACAddress.parse("b8:27:eb:99:99:98")}}
        self.assertEqual(
            self.bad(), [(Level.FAIL, f"{STRANGER}, which nobody knows, hangs on port 1, where pi1 is said to be")]
        )

    def test_budget(self) -> None:
        """A switch that has given nearly all of its power away is a warning."""
        self.switch.total_watts = 33.0
        self.assertEqual(self.bad(), [(Level.WARN, "gives 32 of its 33 W")])

    def test_address(self) -> None:
        """A failure without a remedy of its own names the address to look at."""
        self.switch.failure = PowerUnreachable("It does not answer.")
        (found,) = self.check(self.switch)
        self.assertIn(str(IPv4Address("172.30.4.254")), found.remedy)
