"""
The files of a virtual rack.
"""

import io
import tarfile
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.config import load
from piman.fleet.model import SwitchPort
from piman.simulator.booting.boards import KINDS
from piman.simulator.pi import MODELS
from piman.simulator.running.plan import BOOT_FILES, TEXT_FILES, Inspector, Ports, content_of, image, places, write

PORTS = Ports(
    dhcp=30_067,
    tftp=30_069,
    ntp=30_123,
    hello=33_333,
    image=34_444,
    http=34_480,
    agent=33_000,
    snmp=30_161,
    web=35_000,
)
LOADED = {
    "3B": ("bootcode.bin", "start.elf", "fixup.dat", "bcm2710-rpi-3-b.dtb", "kernel8.img"),
    "3B+": ("bootcode.bin", "start.elf", "fixup.dat", "bcm2710-rpi-3-b-plus.dtb", "kernel8.img"),
    "4B": ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "kernel8.img"),
    "5": ("bcm2712-rpi-5-b.dtb", "kernel_2712.img"),
}


class PlaceTests(SynchronousTestCase):
    """Who is where."""

    def test_models_in_turn(self) -> None:
        """The models follow each other."""
        names = [place.board.kind.name for place in places(6, MODELS, 0.0)]
        self.assertEqual(names, ["3B", "3B+", "4B", "5", "3B", "3B+"])

    def test_reserved(self) -> None:
        """A board with an address of its own is its own relay."""
        for place in places(4, MODELS, 0.0):
            self.assertEqual(place.relay, place.reserved)

    def test_pooled(self) -> None:
        """The last boards have no address of their own, and relays that collide with nobody."""
        rack = places(10_000, MODELS, 0.5)
        self.assertEqual(sum(place.reserved is None for place in rack), 5_000)
        self.assertEqual(len({place.relay for place in rack}), 10_000)
        self.assertTrue(all(place.relay in IPv4Network("127.77.0.0/16") for place in rack))


    def test_switches(self) -> None:
        """Boards are spread evenly over the switches, on neighbouring ports from 1 on."""
        self.assertEqual({(place.switch, place.port) for place in places(4, MODELS, 0.0)}, {(None, 0)})
        rack = places(500, MODELS, 0.0, switches=12)
        ports: dict[IPv4Address | None, list[int]] = {}
        for place in rack:
            ports.setdefault(place.switch, []).append(place.port)
        self.assertEqual([len(each) for each in ports.values()], [42] * 11 + [38])
        self.assertEqual(ports[IPv4Address("127.77.255.12")], list(range(1, 39)))

    def test_too_few_ports(self) -> None:
        """More boards than ports are no rack."""
        self.assertRaises(ValueError, places, 97, MODELS, 0.0, switches=2)


class FileTests(SynchronousTestCase):
    """What is written."""

    def setUp(self) -> None:
        """A rack of eight, two of them pooled."""
        self.directory = Path(self.mktemp())
        self.rack = places(8, MODELS, 0.25)
        self.digest = write(self.directory, self.rack, PORTS, poll_seconds=10.0)

    def test_configuration(self) -> None:
        """The manager's own reader finds no mistake in it, and only misses switches."""
        config = load(self.directory / "piman.yaml", resolver_files=())
        self.assertEqual([warning for warning in map(str, config.warnings) if "switches" not in warning], [])
        self.assertEqual((config.dhcp.port, config.monitor.agent_port), (30_067, 33_000))
        wanted = [(place.board.mac, place.reserved) for place in self.rack]
        self.assertEqual([(node.mac.octets, node.address) for node in config.nodes], wanted)
        assert config.dhcp.pool is not None
        self.assertGreaterEqual(len(config.dhcp.pool), 2)

    def test_switches(self) -> None:
        """The reader finds each board with an address of its own on its port; of the pooled it knows none."""
        rack = places(8, MODELS, 0.25, switches=2)
        write(self.directory, rack, PORTS, poll_seconds=10.0, operations={"admission": False, "stagger_seconds": 0.5})
        config = load(self.directory / "piman.yaml", resolver_files=())
        self.assertEqual(list(map(str, config.warnings)), [])
        found = [(switch.label, switch.snmp.port) for switch in config.switches]
        self.assertEqual(found, [("sw1", 30_161), ("sw2", 30_161)])
        self.assertEqual(config.switches[0].snmp.community, "private@1")
        ports = [(node.mac.octets, node.port) for node in config.nodes]
        wanted = [
            (place.board.mac, SwitchPort(place.switch, place.port) if place.reserved and place.switch else None)
            for place in rack
        ]
        self.assertEqual(ports, wanted)
        self.assertEqual((config.operations.admission, config.operations.stagger_seconds), (False, 0.5))

    def test_sizes(self) -> None:
        """No boot file is over 64 KiB, and no board loads more than 256 KiB in a boot."""
        sizes = {name: (self.directory / "boot" / name).stat().st_size for name in (*BOOT_FILES, *TEXT_FILES)}
        self.assertLessEqual(max(sizes.values()), 64 << 10)
        shared = ("initramfs.gz", "overlays/overlay_map.dtb", "cmdline.txt", *["config.txt"] * 3)
        for kind in KINDS:
            total = sum(sizes[name] for name in (*LOADED[kind], *shared))
            self.assertTrue(160 << 10 <= total <= 256 << 10, (kind, total))

    def test_image(self) -> None:
        """The image is a real one, always the same, and its digest is told."""
        self.assertEqual(sha256(image()).hexdigest(), self.digest)
        self.assertEqual((self.directory / "rootfs.tgz").read_bytes(), image())
        with tarfile.open(fileobj=io.BytesIO(image())) as tar:
            self.assertIn("sbin/init", tar.getnames())

    def test_inspector(self) -> None:
        """A board that loaded another file's bytes, or half of its own, is found out."""
        inspect = Inspector()
        self.assertTrue(inspect("fixup.dat", content_of("fixup.dat")))
        self.assertTrue(inspect("cmdline.txt", content_of("cmdline.txt").replace(b"MASTER", b"127.77.0.1")))
        self.assertFalse(inspect("cmdline.txt", content_of("cmdline.txt")))
        self.assertFalse(inspect("fixup.dat", content_of("fixup.dat")[:-1]))
        self.assertFalse(inspect("fixup.dat", content_of("fixup4.dat")))
        self.assertFalse(inspect("other", b""))
