"""
Tests for :mod:`piman.config`, :mod:`piman.settings` and :mod:`piman.settings.inventory`.
"""

import os
import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.config import Config, ConfigError, differences, load, own_resolvers
from piman.fleet.limits import Limit
from piman.fleet.model import MACAddress, Slot, SwitchPort
from piman.settings.readers import keys_of
from piman.settings.sections import AddressRange, Document

ROOT = Path(__file__).resolve().parent.parent
ORIGINAL = Path(__file__).parent / "captures" / "original.yaml"
REFERENCE = ROOT / "docs/reference/piman-yaml.md"

BASE = """\
private_number: 4
server_address: 172.30.4.1
subnet_mask: 255.255.255.0
interface: ens4
"""
SWITCH = """\
switches:
  - switch_address: 172.30.4.254
    pi_addresses: [172.30.4.13, 172.30.4.14]
"""


class _Case(SynchronousTestCase):
    """Reads text as a piman.yaml in a folder of its own."""

    def setUp(self) -> None:
        """An empty folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "piman.yaml"

    def read(self, text: str | bytes, previous: Config | None = None) -> Config:
        """What the text means."""
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(self.path, previous=previous, resolver_files=())

    def problems(self, text: str | bytes) -> list[str]:
        """What is wrong with the text, without the path in front."""
        error = self.assertRaises(ConfigError, self.read, text)
        self.assertEqual(str(error).splitlines(), [str(problem) for problem in error.problems])
        return [line.removeprefix(f"{self.path}") for line in str(error).splitlines()]

    def hosts(self, text: str) -> None:
        """Write a hosts.csv beside the file."""
        (self.folder / "hosts.csv").write_text(text)


class OriginalTests(_Case):
    """Files of the original go on working."""

    def test_example(self) -> None:
        """The example of the original's README, byte for byte, gives its two switches."""
        config = load(ORIGINAL)
        self.assertEqual(config.private_number, 4)
        self.assertEqual(config.server_address, IPv4Address("172.30.4.1"))
        self.assertEqual(config.subnet, IPv4Network("172.30.4.0/24"))
        self.assertEqual(config.interface, "ens4")
        self.assertEqual([str(switch.address) for switch in config.switches], ["172.30.4.254", "172.30.4.128"])
        self.assertEqual(
            [f"{slot.address} {slot.port}" for slot in config.slots],
            [f"172.30.4.{n} 172.30.4.254 port {n}" for n in range(13, 21)]
            + [f"172.30.4.{n} 172.30.4.128 port {n}" for n in range(2, 7)],
        )

    def test_example_warning(self) -> None:
        """The manager's own address among the Pis is a warning with its line."""
        warnings = [warning for warning in load(ORIGINAL).warnings if "server_address" in warning]
        self.assertEqual(len(warnings), 1)
        self.assertIn("original.yaml:19: switches[1].pi_addresses[0]: 172.30.4.1", warnings[0])

    def test_spellings(self) -> None:
        """Every way to spell a switch's address means the same."""
        for spelling in ("swtich_0_address", "switch_0_address", "swtich_12_address", "switch_address"):
            config = self.read(BASE + f"switches:\n  - {spelling}: 172.30.4.254\n")
            self.assertEqual(config.switches[0].address, IPv4Address("172.30.4.254"))

    def test_two_spellings(self) -> None:
        """A switch with two addresses is a mistake."""
        text = BASE + "switches:\n  - switch_address: 172.30.4.254\n    swtich_0_address: 172.30.4.253\n"
        (problem,) = self.problems(text)
        self.assertEqual(
            problem,
            ":7: switches[0].swtich_0_address: found the key again, expected it once (it stands in line 6 already)",
        )

    def test_blank_values(self) -> None:
        """A file of the config pages in which every value is blank: each key is named with what belongs there."""
        keys = ["private_number", "server_address", "subnet_mask", "interface", "switch_count"]
        text = "".join(f"{key}:\n" for key in keys)
        text += "switches:\n  - swtich_0_address:\n    pi_addresses:\n      -\n      -\n"
        found = self.problems(text)
        expected = [
            *(f":{line}: {key}: found nothing, expected" for line, key in enumerate(keys, start=1)),
            ":7: switches[0].swtich_0_address: found nothing, expected",
            ":9: switches[0].pi_addresses[0]: found nothing, expected",
            ":10: switches[0].pi_addresses[1]: found nothing, expected",
        ]
        self.assertEqual([line.partition(" expected")[0] + " expected" for line in found], expected)

    def test_dns_at_the_top(self) -> None:
        """dns_domain and dns_servers at the top mean dhcp.domain and dhcp.dns_servers."""
        config = self.read(BASE + "dns_domain: lab\ndns_servers: [9.9.9.9]\n")
        self.assertEqual((config.dhcp.domain, config.dhcp.dns_servers), ("lab", (IPv4Address("9.9.9.9"),)))

    def test_dns_twice(self) -> None:
        """Both spellings at once are a mistake."""
        found = self.problems(BASE + "dns_domain: lab\ndhcp: {domain: lab}\n")
        self.assertEqual(found, [":5: dns_domain: found dns_domain and dhcp.domain, expected one of them"])

    def test_reinstall_file(self) -> None:
        """A left-over reinstall.txt causes one warning and nothing else."""
        (self.folder / "reinstall.txt").write_text("172.30.4.13")
        before = [warning for warning in self.read(BASE + SWITCH).warnings if "reinstall.txt" in warning]
        self.assertEqual(len(before), 1)
        self.assertIn("ignored", before[0])


class DefaultTests(_Case):
    """Everything but three keys is optional."""

    def test_complete(self) -> None:
        """Three keys suffice; every default is filled in and every path absolute, from the folder of the file."""
        config = self.read(BASE.partition("\n")[2])
        self.assertEqual(config.private_number, 1)
        self.assertEqual(config.dhcp.router, config.server_address)
        self.assertEqual(config.hosts_file, self.folder / "hosts.csv")
        self.assertEqual(config.control.socket, self.folder / "state/control.sock")
        self.assertEqual(config.images, {"default": self.folder / "install/boot/rootfs.tgz"})
        self.assertEqual((config.dhcp.port, config.tftp.port, config.ntp.port), (67, 69, 123))
        self.assertEqual((config.hello.port, config.hello.image_port, config.hello.http_port), (3333, 4444, 4480))

    def test_dependent_paths(self) -> None:
        """The socket follows state_dir, the image boot_dir."""
        config = self.read(BASE + "state_dir: /var/lib/piman\nboot_dir: boot\n")
        self.assertEqual(config.control.socket, Path("/var/lib/piman/control.sock"))
        self.assertEqual(config.images, {"default": self.folder / "boot/rootfs.tgz"})

    def test_community(self) -> None:
        """The SNMP community is the original's, unless another is given."""
        config = self.read(BASE + SWITCH + "  - {switch_address: 172.30.4.253, snmp: {community: other}}\n")
        self.assertEqual([switch.snmp.community for switch in config.switches], ["private@4", "other"])

    def test_secrets_are_not_shown(self) -> None:
        """A configuration in a log or traceback does not show its secrets."""
        config = self.read(BASE + "switches:\n  - {switch_address: 172.30.4.254, snmp: {community: hush}}\n")
        self.assertNotIn("hush", repr(config))

    def test_router(self) -> None:
        """``router: none`` means none; an address means itself."""
        self.assertIsNone(self.read(BASE + "dhcp: {router: none}\n").dhcp.router)
        router = self.read(BASE + "dhcp: {router: 172.30.4.2}\n").dhcp.router
        self.assertEqual(router, IPv4Address("172.30.4.2"))

    def test_resolvers(self) -> None:
        """The manager's resolvers are those that others can ask too; behind systemd's stub they stand elsewhere."""
        stub, real = self.folder / "stub", self.folder / "real"
        stub.write_text("nameserver 127.0.0.53\nnameserver ::1\nsearch lab\n")
        real.write_text(
            "# by hand\nnameserver 10.0.0.2\nnameserver 2001:db8::1\n nameserver 10.0.0.3\nnameserver 1.2.3.999\n"
        )
        found = own_resolvers((self.folder / "missing", stub, real))
        self.assertEqual(found, (IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")))
        self.assertEqual(own_resolvers((stub,)), ())

    def test_disabled(self) -> None:
        """Every service section takes enabled: false; an empty section is the default."""
        names = ["dhcp", "tftp", "ntp", "hello", "web", "grafana", "control", "monitor"]
        config = self.read(BASE + "".join(f"{name}: {{enabled: false}}\n" for name in names))
        self.assertEqual([getattr(config, name).enabled for name in names], [False] * len(names))
        self.assertTrue(self.read(BASE + "dhcp:\n").dhcp.enabled)

    def test_example_file(self) -> None:
        """piman.yaml.example has no mistakes."""
        self.hosts("")
        self.read((ROOT / "piman.yaml.example").read_bytes())


class ValueTests(_Case):
    """What may stand behind a key."""

    def test_full_file(self) -> None:
        """A file that uses nearly every key means what it says."""
        config = self.read(
            BASE
            + """\
switch_count: 1
switches:
  - switch_address: 172.30.4.254
    pi_addresses: [172.30.4.13, 172.30.4.14]
    name: rack-a
    power: {kind: command, on: "poe {port} on", off: poe off, tries: 3}
    snmp:
      {port: 1161, version: 3, user: piman, auth: {protocol: sha256, key_file: a.key},
       priv: {protocol: des, key: a-long-one}}
    group: 2
    ports: {1: 172.30.4.13, 2: 172.30.4.14}
    protected_ports: [24]
images: {default: root.tgz, lab: /srv/lab.tgz}
dhcp: {lease_seconds: 3600, unknown_hosts: allow, pool: 172.30.4.100-172.30.4.199, relays: [10.0.0.1]}
tftp: {data_ports: 50000-50063, unknown_clients: refuse}
ntp: {local_stratum: 10}
web: {address: 0.0.0.0, allowed_hosts: [piman.lab]}
grafana: {port: 8081}
monitor: {interval_seconds: 12.5, thresholds: {cpu_percent: 90, temp: 85.5}}
alerts: [{kind: slack, url_file: slack.url}]
"""
        )
        (switch,) = config.switches
        self.assertEqual(switch.power, {"kind": "command", "on": "poe {port} on", "off": "poe off", "tries": 3})
        self.assertEqual((switch.snmp.version, switch.snmp.user), ("3", "piman"))
        assert switch.snmp.auth is not None
        self.assertEqual(switch.snmp.auth.key_file, self.folder / "a.key")
        self.assertEqual(switch.ports, {1: IPv4Address("172.30.4.13"), 2: IPv4Address("172.30.4.14")})
        self.assertEqual(config.images["lab"], Path("/srv/lab.tgz"))
        self.assertEqual(config.dhcp.pool, AddressRange(IPv4Address("172.30.4.100"), IPv4Address("172.30.4.199")))
        self.assertEqual(config.tftp.data_ports, (50000, 50063))
        self.assertEqual(config.monitor.thresholds, {"cpu_percent": Limit.of(90.0), "temp": Limit.of(85.5)})
        self.assertEqual(config.alerts, ({"kind": "slack", "url_file": "slack.url"},))

    def test_power_by_name(self) -> None:
        """``power: NAME`` is short for ``power: {kind: NAME}``."""
        config = self.read(BASE + "switches: [{switch_address: 172.30.4.254, power: unifi}]\n")
        self.assertEqual(config.switches[0].power, {"kind": "unifi"})

    def test_words_that_yaml_guesses(self) -> None:
        """``on`` as a key or text, an octal or a sexagesimal number stay what was written."""
        config = self.read(BASE + "alerts: [{kind: x, on: on, off: 12:30, n: 010, t: 2020-01-01, y: true, f: 1.5}]\n")
        expected = {"kind": "x", "on": "on", "off": "12:30", "n": "010", "t": "2020-01-01", "y": True, "f": 1.5}
        self.assertEqual(config.alerts, (expected,))

    def test_masks(self) -> None:
        """A mask may be dotted or a prefix length."""
        for mask in ("255.255.255.0", "24", "/24"):
            text = BASE.replace("255.255.255.0", mask)
            self.assertEqual(self.read(text).subnet, IPv4Network("172.30.4.0/24"))

    def test_dhcp_options(self) -> None:
        """Further DHCP options are addresses, lists of them, octets or text."""
        config = self.read(
            BASE
            + "dhcp:\n  options:\n    {7: 172.30.4.9, 33: [10.0.0.0, 10.0.0.1], 26: 'hex:05:dc', 252: a/b, 253: '12'}\n"
        )
        expected = {
            7: bytes([172, 30, 4, 9]),
            33: bytes([10, 0, 0, 0, 10, 0, 0, 1]),
            26: b"\x05\xdc",
            252: b"a/b",
            253: b"12",
        }
        self.assertEqual(config.dhcp.options, expected)

    def test_anchors(self) -> None:
        """What two switches share may be written once."""
        config = self.read(
            BASE
            + "switches:\n  - {switch_address: 172.30.4.254, snmp: &all {community: x}}\n"
            + "  - {switch_address: 172.30.4.253, snmp: *all}\n"
        )
        self.assertEqual([switch.snmp.community for switch in config.switches], ["x", "x"])


class MistakeTests(_Case):
    """Each mistake is told with line, key, what was found and what was expected."""

    def test_all_at_once(self) -> None:
        """Mistakes in different places of a file are told together, in the order of their lines."""
        found = self.problems(
            "server_address: 172.30.4.x\nsubnet_mask: 255.255.255.300\ninterface: eth0\n"
            "dhcp:\n  lease_seconds: soon\n  port: 70000\ntftp: []\nhello: {prot: 1}\n"
        )
        self.assertEqual(
            found,
            [
                ":1: server_address: found '172.30.4.x', expected an IPv4 address like 172.30.4.1",
                ":2: subnet_mask: found '255.255.255.300', expected a mask like 255.255.255.0",
                ":5: dhcp.lease_seconds: found 'soon', expected seconds from 60 to 31536000",
                ":6: dhcp.port: found '70000', expected a port from 1 to 65535",
                ":7: tftp: found a list, expected a mapping of keys",
                ":8: hello.prot: found an unknown key, expected port",
            ],
        )

    def test_unknown_key(self) -> None:
        """An unknown key is an error that names the nearest known one, else all."""
        self.assertEqual(
            self.problems(BASE + "switchs: []\n"), [":5: switchs: found an unknown key, expected switches"]
        )
        (far,) = self.problems(BASE + "ntp: {zzz: 1}\n")
        self.assertEqual(far, ":5: ntp.zzz: found an unknown key, expected one of enabled, port, local_stratum")

    def test_duplicate_key(self) -> None:
        """A key that stands twice is an error."""
        (problem,) = self.problems(BASE + "interface: eth0\n")
        self.assertTrue(problem.startswith(":5: interface: found the key again"), problem)

    def test_missing_keys(self) -> None:
        """Each of the three required keys that is missing is named."""
        found = self.problems("private_number: 4\n")
        self.assertEqual([line.split(":")[2].strip() for line in found], ["server_address", "subnet_mask", "interface"])

    def test_switch_without_address(self) -> None:
        """A switch needs an address; its other mistakes are told too."""
        found = self.problems(BASE + "switches:\n  - name: a b\n    group: x\n")
        self.assertEqual(
            [line.split(": ")[1] for line in found],
            ["switches[0].switch_address", "switches[0].name", "switches[0].group"],
        )

    def problem(self, text: str) -> str:
        """The one problem of the base file with this added."""
        found = self.problems(BASE + text)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_values(self) -> None:
        """Values out of bounds or of the wrong kind are refused, each at its key."""
        for text, key in (
            ("switch_count: -1", "switch_count"),
            ("hosts_file: [a]", "hosts_file"),
            ("images: {default: }", "images.default"),
            ("images: {lab: a.tgz}", "images"),
            ("tags: {lab: pi2}", "tags.lab"),
            ("tags: {lab: {nodes: [pi2], image: lbc}}", "tags.lab.image"),
            ("tags: {lab: {hosts: [pi2]}}", "tags.lab.hosts"),
            ("tags: {'a b': [pi2]}", "tags.a b"),
            ("images: {default: a, 'a b': c}", "images.a b"),
            ("dhcp: {unknown_hosts: maybe}", "dhcp.unknown_hosts"),
            ("dhcp: {enabled: 1}", "dhcp.enabled"),
            ("dhcp: {pool: 172.30.4.9}", "dhcp.pool"),
            ("dhcp: {pool: 172.30.4.99-172.30.4.9}", "dhcp.pool"),
            ("dhcp: {router: nothing}", "dhcp.router"),
            ("dhcp: {relays: 10.0.0.1}", "dhcp.relays"),
            ("dhcp: {options: {3: 10.0.0.1}}", "dhcp.options.3"),
            ("dhcp: {options: {53: 'hex:01'}}", "dhcp.options.53"),
            ("dhcp: {options: {26: 1500}}", "dhcp.options.26"),
            ("dhcp: {options: {26: 'hex:5dc'}}", "dhcp.options.26"),
            ("dhcp: {options: {300: a}}", "dhcp.options.300"),
            ("tftp: {data_ports: 5}", "tftp.data_ports"),
            ("ntp: {local_stratum: 16}", "ntp.local_stratum"),
            ("web: {address: localhost}", "web.address"),
            ("monitor: {interval_seconds: nan}", "monitor.interval_seconds"),
            ("monitor: {thresholds: {ram: 1}}", "monitor.thresholds.ram"),
            ("monitor: {thresholds: {temp: inf}}", "monitor.thresholds.temp"),
            ("monitor: {thresholds: {temp: [1]}}", "monitor.thresholds.temp"),
            ("monitor: {thresholds: {temp: {clear: 5}}}", "monitor.thresholds.temp.above"),
            ("monitor: {thresholds: {temp: {above: 5, clear: 6}}}", "monitor.thresholds.temp.clear"),
            ("monitor: {thresholds: {temp: {above: 5, for_seconds: -1}}}", "monitor.thresholds.temp.for_seconds"),
            ("monitor: {thresholds: {temp: {above: 5, what: 1}}}", "monitor.thresholds.temp.what"),
            ("monitor: {tag_thresholds: {rack: {ram: 1}}}", "monitor.tag_thresholds.rack.ram"),
            ("monitor: {node_thresholds: {pi13: {temp: much}}}", "monitor.node_thresholds.pi13.temp"),
            ("monitor: {config: nowhere.config}", "monitor.config"),
            ("alerts: [{url: x}]", "alerts[0]"),
            ("alerts: slack", "alerts"),
        ):
            self.assertIn(f": {key}: found ", self.problem(text + "\n"), text)

    def test_snmp(self) -> None:
        """Credentials that cannot work are refused."""
        for snmp, key in (
            ("{version: 4}", "version"),
            ("{version: 3}", ""),
            ("{user: a}", ""),
            ("{version: 3, user: a, priv: {protocol: aes128, key: a-long-one}}", ""),
            ("{version: 3, user: a, auth: {protocol: sha256}}", ".auth"),
            ("{version: 3, user: a, auth: {protocol: sha256, key: a-long-one, key_env: Y}}", ".auth"),
            ("{version: 3, user: a, auth: {protocol: aes128, key: a-long-one}}", ".auth.protocol"),
            ("{version: 3, user: a, auth: {protocol: md4, key: a-long-one}}", ".auth.protocol"),
        ):
            text = f"switches: [{{switch_address: 172.30.4.254, snmp: {snmp}}}]\n"
            self.assertIn(f"switches[0].snmp{'.' if key == 'version' else ''}{key}: found ", self.problem(text), snmp)


class TagTests(_Case):
    """Tags, and the images that they give."""

    def setUp(self) -> None:
        """Three boards."""
        super().setUp()
        lines = [f"b8:27:eb:00:00:{number:02x};172.30.4.{number};pi{number};0" for number in (2, 3, 4)]
        self.hosts("\n".join(lines))

    def tagged(self, tags: str) -> Config:
        """A configuration with these tags and two images."""
        return self.read(f"{BASE}images: {{default: a.tgz, lab: b.tgz}}\ntags:\n{tags}")

    def test_members(self) -> None:
        """Nodes are named by hostname, address or MAC, in any case; both ways to write a tag mean the same."""
        config = self.tagged("  x: [PI2, 172.30.4.3]\n  y: {nodes: [B8-27-EB-00-00-02], image: lab}\n")
        self.assertEqual([node.tags for node in config.nodes], [("x", "y"), ("x",), ()])
        self.assertEqual([node.image for node in config.nodes], ["lab", "default", "default"])
        self.assertEqual(config.nodes[0].image_rule, "tag y in the configuration")
        self.assertEqual([text for text in config.warnings if "tags" in text], [])

    def test_stranger(self) -> None:
        """A word that names no board is a warning with its line and the nearest name; the others count."""
        config = self.tagged("  x: [pi2, pi33]\n  y:\n    nodes:\n      - 172.30.4.99\n")
        first, second = (text for text in config.warnings if "tags" in text)
        self.assertEqual(first, f"{self.path}:7: tags.x[1]: no board has the name 'pi33'; did you mean pi3?")
        self.assertTrue(second.startswith(f"{self.path}:10: tags.y.nodes[0]: no board has the name '172.30.4.99'"))
        self.assertEqual(config.nodes[0].tags, ("x",))

    def test_two_images(self) -> None:
        """A node of two tags with different images gets the first one's, and a warning says so."""
        config = self.tagged("  x: {nodes: [pi2], image: lab}\n  y: {nodes: [pi2, pi3], image: default}\n")
        self.assertEqual([node.image for node in config.nodes], ["lab", "default", "default"])
        self.assertIn("pi2: tags x, y give it different images; the first counts: lab", config.warnings)

    def test_no_such_image(self) -> None:
        """An image that there is not is a mistake that names the nearest one."""
        (problem,) = self.problems(BASE + "images: {default: a, lab: b}\ntags: {x: {nodes: [pi2], image: labs}}\n")
        self.assertEqual(problem, ":6: tags.x.image: found 'labs', expected lab")


class FileTests(_Case):
    """A file that is none is one clear line."""

    def test_not_a_mapping(self) -> None:
        """Syntax errors, other encodings, lists, nothing: one line with the place and what is wrong."""
        for content, line, words in (
            (b"", "", "an empty file"),
            (b"# nothing\n", "", "an empty file"),
            (b"- a\n", ":1", "a list at the top"),
            (b"hello\n", ":1", "'hello' at the top"),
            (b"a: 1\nb: [\n", ":3", "a mistake in the YAML"),
            (b"a: 1\n\tb: 2\n", ":2", "a mistake in the YAML"),
            (b"a: 1\nb: caf\xe9\n", ":2", "not UTF-8"),
            (b"a: 1\nb: \x07\n", ":2", "a control character"),
            (b"a: *nobody\n", ":1", "undefined alias"),
            (b"a: 1\n---\nb: 1\n", ":2", "single document"),
            (b"[" * 20_000, "", "lists within lists"),
        ):
            (problem,) = self.problems(content)
            self.assertTrue(problem.startswith(f"{line}: found "), problem)
            self.assertIn(words, problem)

    def test_missing(self) -> None:
        """A missing file names the remedy."""
        error = self.assertRaises(ConfigError, load, self.folder / "nowhere.yaml")
        self.assertIn("piman.yaml.example", str(error))
        self.assertEqual(len(error.problems), 1)

    def test_unreadable(self) -> None:
        """A folder in place of the file is one clear line."""
        error = self.assertRaises(ConfigError, load, self.folder)
        self.assertIn("cannot be read", str(error))

    def test_named_pipe(self) -> None:
        """A named pipe in place of a file is one clear line, and nobody waits for who might write to it."""
        os.mkfifo(self.folder / "pipe")
        error = self.assertRaises(ConfigError, load, self.folder / "pipe")
        self.assertIn("a named pipe, not a regular file", str(error))
        os.mkfifo(self.folder / "hosts.csv")
        for text in (BASE, BASE + "hosts_file: hosts.csv\n"):
            (problem,) = self.problems(text)
            self.assertIn("hosts.csv' (a named pipe, not a regular file), expected a file of", problem)

    def test_no_objects(self) -> None:
        """A YAML tag never makes an object."""
        config = self.read(BASE + "alerts: [{kind: x, a: !!python/object/apply:os.getcwd []}]\n")
        self.assertEqual(config.alerts, ({"kind": "x", "a": []},))

    def test_endless(self) -> None:
        """A list that contains itself is refused."""
        (problem,) = self.problems(BASE + "alerts: [{kind: x, a: &a [*a]}]\n")
        self.assertIn("alerts[0]: found a mapping, expected at most", problem)

    @settings(deadline=None)
    @given(some.binary(max_size=200))
    def test_any_bytes(self, content: bytes) -> None:
        """No content whatsoever raises anything but ConfigError."""
        self.assertRaises(ConfigError, self.read, content)

    @settings(deadline=None)
    @given(
        some.sampled_from([name for name, _ in keys_of(Document) if "[]" not in name]),
        some.sampled_from(
            ["", "a", "[]", "[1]", "{}", "{a: 1}", "[[1]]", "{1: {}}", "-1", "1.5", "~", "'x'", "[~]", "{~: ~}"]
        ),
    )
    def test_any_shape(self, key: str, value: str) -> None:
        """Whatever stands behind a key, the answer is a Config or a ConfigError that names the key."""
        text = f"{{{BASE.replace(chr(10), ', ')}"
        *sections, last = key.split(".")
        text = re.sub(rf"\b{last}: [^,]*, ", "", text) if not sections else text
        text += "".join(f"{section}: {{" for section in sections) + f"{last}: {value}" + "}" * (len(sections) + 1)
        try:
            self.read(text)
        except ConfigError as error:
            self.assertIn(f": {key}", str(error))


class NetworkTests(_Case):
    """Do the addresses fit together?"""

    def test_subnet_size(self) -> None:
        """A subnet has at most 65,536 addresses, and at least two hosts."""
        for mask in ("255.254.0.0", "255.255.255.254", "8", "0.0.0.0"):
            (problem,) = self.problems(BASE.replace("255.255.255.0", mask))
            self.assertIn(":3: subnet_mask: found ", problem)
        self.assertEqual(self.read(BASE.replace("255.255.255.0", "255.255.0.0")).subnet, IPv4Network("172.30.0.0/16"))

    def test_masks_that_are_none(self) -> None:
        """Wildcard masks and holes are refused."""
        for mask in ("0.0.0.255", "255.0.255.0", "255.255.255", "33", "x"):
            (problem,) = self.problems(BASE.replace("255.255.255.0", mask))
            self.assertIn("expected a mask like 255.255.255.0", problem)

    def test_server_is_a_host(self) -> None:
        """The server cannot have the network's or the broadcast address."""
        for address in ("172.30.4.0", "172.30.4.255"):
            (problem,) = self.problems(BASE.replace("172.30.4.1", address))
            self.assertIn(":2: server_address: found ", problem)

    def test_interface(self) -> None:
        """A name that no interface can have is refused."""
        for name in ("a b", "a/b", "x" * 16):
            (problem,) = self.problems(BASE.replace("ens4", name))
            self.assertIn(":4: interface: found ", problem)

    def test_pool(self) -> None:
        """The pool lies among the hosts of the subnet, without the manager and the switches."""
        for pool in (
            "172.30.4.0-172.30.4.9",
            "172.30.4.9-172.30.4.255",
            "172.30.5.1-172.30.5.9",
            "172.30.4.1-172.30.4.9",
        ):
            (problem,) = self.problems(BASE + f"dhcp: {{pool: {pool}}}\n")
            self.assertIn(":5: dhcp.pool: found ", problem)
        (problem,) = self.problems(BASE + SWITCH + "dhcp: {pool: 172.30.4.200-172.30.4.254}\n")
        self.assertIn("with the switch", problem.replace("172.30.4.254 (switches[0].switch_address)", "the switch"))

    def test_pool_with_reservations(self) -> None:
        """Reserved addresses in the pool are fine."""
        self.hosts("B8:27:EB:00:00:01;172.30.4.13;;\n")
        config = self.read(BASE + SWITCH + "dhcp: {pool: 172.30.4.10-172.30.4.20}\n")
        self.assertEqual(config.warnings, ())

    def test_strangers_need_a_pool(self) -> None:
        """Addresses for unknown hosts without a pool are a mistake."""
        (problem,) = self.problems(BASE + "dhcp: {unknown_hosts: allow}\n")
        self.assertIn("dhcp.unknown_hosts: found allow without a pool", problem)

    def test_router(self) -> None:
        """A router outside the subnet is a mistake."""
        (problem,) = self.problems(BASE + "dhcp: {router: 10.0.0.1}\n")
        self.assertIn("dhcp.router: found 10.0.0.1", problem)

    def test_ports(self) -> None:
        """Two services cannot share a port, unless one is disabled or the protocols differ."""
        (problem,) = self.problems(BASE + "hello: {http_port: 5000}\n")
        self.assertEqual(problem, ":5: hello.http_port: found 5000, expected another port (web.port is 5000 too)")
        (problem,) = self.problems(BASE + "tftp: {port: 123}\n")
        self.assertIn("tftp.port: found 123", problem)
        self.read(BASE + "hello: {http_port: 5000}\nweb: {enabled: false}\n")
        self.read(BASE + "hello: {http_port: 69}\n")

    def test_pi_outside(self) -> None:
        """A Pi's address lies in the subnet and is no special one."""
        for address in ("10.0.0.1", "172.30.4.0", "172.30.4.255", "172.30.4.254"):
            (problem,) = self.problems(BASE + SWITCH.replace("172.30.4.14", address))
            self.assertIn(f":7: switches[0].pi_addresses[1]: found {address}, which is ", problem)

    def test_duplicate_switch(self) -> None:
        """Two switches of one address or name are a mistake at the second."""
        (problem,) = self.problems(BASE + SWITCH + "  - switch_0_address: 172.30.4.254\n")
        self.assertEqual(
            problem,
            ":8: switches[1].switch_0_address: found 172.30.4.254 again, "
            "expected it once (it is switches[0].switch_address in line 6 already)",
        )
        two = "switches: [{switch_address: 172.30.4.254, name: a}, {switch_address: 172.30.4.253, name: a}]\n"
        self.assertIn("switches[1].name: found a again", self.problems(BASE + two)[0])

    def test_switch_is_the_server(self) -> None:
        """A switch with the manager's address is a mistake."""
        (problem,) = self.problems(BASE + "switches: [{switch_address: 172.30.4.1}]\n")
        self.assertIn("switches[0].switch_address: found 172.30.4.1", problem)

    def test_two_places(self) -> None:
        """A Pi on two switches or two ports is a mistake."""
        text = BASE + SWITCH + "  - {switch_address: 172.30.4.253, pi_addresses: [172.30.4.14]}\n"
        self.assertIn("switches[1].pi_addresses[0]: found 172.30.4.14 again", self.problems(text)[0])
        text = BASE + SWITCH + "    ports: {1: 172.30.4.13, 2: 172.30.4.13}\n"
        self.assertIn("switches[0].ports.2: found 172.30.4.13 again", self.problems(text)[0])
        text = BASE + SWITCH + "  - {switch_address: 172.30.4.253, ports: {1: 172.30.4.14}}\n"
        self.assertIn("switches[1].ports.1: found 172.30.4.14, expected a Pi of this switch", self.problems(text)[0])
        text = BASE + SWITCH + "    ports:\n      1: 172.30.4.13\n      1: 172.30.4.14\n"
        self.assertIn("switches[0].ports.1: found the key again", self.problems(text)[0])


class WarningTests(_Case):
    """What is odd, but harms nothing."""

    def setUp(self) -> None:
        """With an empty hosts.csv, which is no reason for a warning."""
        super().setUp()
        self.hosts("")

    def test_none(self) -> None:
        """A plain good file causes none."""
        self.assertEqual(self.read(BASE + SWITCH + "switch_count: 1\n").warnings, ())

    def test_switch_count(self) -> None:
        """A wrong switch_count: the list counts."""
        (warning,) = self.read(BASE + SWITCH + "switch_count: 3\n").warnings
        self.assertEqual(warning, f"{self.path}:8: switch_count: 3, but switches lists 1; the list counts")

    def test_no_switches(self) -> None:
        """Without switches nobody's power is controlled."""
        for text in ("", "switches:\n", "switches: []\n"):
            (warning,) = self.read(BASE + text).warnings
            self.assertIn("switches: none", warning)

    def test_hosts(self) -> None:
        """Warnings about hosts.csv come along."""
        self.hosts("B8:27:EB:00:00:01;10.0.0.1;;\nB8:27:EB:00:00:02;172.30.4.1;;\nB8:27:EB:00:00:03;172.30.4.254;;\n")
        config = self.read(BASE + SWITCH)
        self.assertEqual(config.nodes, ())
        self.assertEqual(
            config.warnings,
            (
                "hosts.csv:1: line not used: 10.0.0.1 is not in the subnet 172.30.4.0/24",
                "hosts.csv:2: line not used: 172.30.4.1 is the manager's own address (server_address)",
                "hosts.csv:3: line not used: 172.30.4.254 is the address of a switch",
            ),
        )

    def test_no_hosts_file(self) -> None:
        """Without a hosts.csv no board is known; a file that is named must exist."""
        (self.folder / "hosts.csv").unlink()
        (warning,) = self.read(BASE + SWITCH).warnings
        self.assertIn("hosts.csv: no such file, so no board is known", warning)
        (problem,) = self.problems(BASE + "hosts_file: other.csv\n")
        self.assertIn(":5: hosts_file: found ", problem)
        self.assertIn("No such file", problem)

    def test_no_address_for_a_board(self) -> None:
        """Boards without an address of their own need a pool."""
        self.hosts("B8:27:EB:00:00:01;0.0.0.0;;\n")
        (warning,) = self.read(BASE + SWITCH).warnings
        self.assertIn("1 boards without an address", warning)
        self.assertEqual(self.read(BASE + SWITCH + "dhcp: {pool: 172.30.4.100-172.30.4.110}\n").warnings, ())


class InventoryTests(_Case):
    """A node is the union of its hosts.csv row and its pi_addresses entry."""

    def test_union(self) -> None:
        """Row and entry meet by address; a row alone has no power, an entry alone is a slot."""
        self.hosts("B8:27:EB:00:00:01;172.30.4.13;pi13;\nB8:27:EB:00:00:02;172.30.4.99;;\nB8:27:EB:00:00:03;;;\n")
        config = self.read(BASE + SWITCH)
        switch = IPv4Address("172.30.4.254")
        self.assertEqual(
            [(node.name, node.address, node.port) for node in config.nodes],
            [
                ("pi13", IPv4Address("172.30.4.13"), SwitchPort(switch, 13)),
                ("b8:27:eb:00:00:02", IPv4Address("172.30.4.99"), None),
                ("b8:27:eb:00:00:03", None, None),
            ],
        )
        self.assertEqual(config.slots, (Slot(address=IPv4Address("172.30.4.14"), port=SwitchPort(switch, 14)),))

    def ports(self, text: str) -> dict[str, int]:
        """The port of each slot."""
        config = self.read(BASE.replace("255.255.255.0", "255.255.0.0") + text)
        return {str(slot.address): slot.port.port for slot in config.slots}

    def test_ports_entry_first(self) -> None:
        """The ports entry counts before the last octet, and alone makes a place."""
        text = SWITCH + "    ports: {1: 172.30.4.13, 7: 172.30.4.99}\n"
        self.assertEqual(self.ports(text), {"172.30.4.13": 1, "172.30.4.14": 14, "172.30.4.99": 7})

    def test_port_taken(self) -> None:
        """A port that is given to one Pi is not guessed for another."""
        self.hosts("")
        text = SWITCH + "    ports: {14: 172.30.4.13}\n"
        self.assertEqual(self.ports(text), {"172.30.4.13": 14})
        (warning,) = self.read(BASE + text).warnings
        self.assertIn("172.30.4.14 on switch 172.30.4.254: its port is not clear", warning)

    def test_same_last_octet(self) -> None:
        """Two Pis of one last octet: nobody can say which port is whose."""
        text = "switches: [{switch_address: 172.30.4.254, pi_addresses: [172.30.4.13, 172.30.5.13, 172.30.5.14]}]\n"
        self.assertEqual(self.ports(text), {"172.30.5.14": 14})


class ReadAgainTests(_Case):
    """SIGHUP: what applies at once, what waits for a restart."""

    def test_nothing(self) -> None:
        """The same file has no differences."""
        self.assertEqual(differences(self.read(BASE + SWITCH), self.read(BASE + SWITCH)), ((), ()))

    def test_split(self) -> None:
        """Terms, nodes and images apply at once; ports and addresses wait."""
        old = self.read(BASE)
        self.hosts("B8:27:EB:00:00:01;172.30.4.13;;\n")
        new = self.read(
            BASE.replace("ens4", "eth0")
            + "dhcp: {lease_seconds: 900, port: 6767, pool: 172.30.4.100-172.30.4.199}\n"
            + "images: {default: a}\nweb: {port: 5001}\n"
            + "tftp: {unknown_clients: refuse, data_ports: 50000-50063}\n"
        )
        live, waiting = differences(old, new)
        expected = ("nodes", "hosts", "images", "dhcp.lease_seconds", "dhcp.pool", "tftp.unknown_clients")
        self.assertEqual(live, expected)
        self.assertEqual(waiting, ("interface", "dhcp.port", "tftp.data_ports", "web.port"))

    def test_bad_line_keeps_its_row(self) -> None:
        """A line of hosts.csv that went bad keeps that board's previous row."""
        self.hosts("B8:27:EB:00:00:01;172.30.4.13;pi;\n")
        old = self.read(BASE)
        self.hosts("B8:27:EB:00:00:01;172.30.4.130000;pi;\n")
        new = self.read(BASE, previous=old)
        self.assertEqual(new.nodes, old.nodes)
        self.assertEqual(new.nodes[0].mac, MACAddress.parse("b8:27:eb:00:00:01"))
        self.assertEqual(self.read(BASE).nodes, ())

    def boards(self, count: int) -> None:
        """A hosts.csv with so many."""
        self.hosts("".join(f"B8:27:EB:00:00:{number:02X};172.30.4.{number}\n" for number in range(10, 10 + count)))

    def test_no_board_left(self) -> None:
        """An empty or missing hosts.csv is refused while boards are known; a start takes it as it is."""
        self.boards(2)
        old = self.read(BASE)
        for text in ("", "# nothing\n\0\0", None):
            if text is None:
                (self.folder / "hosts.csv").unlink()
            else:
                self.hosts(text)
            error = self.assertRaises(ConfigError, self.read, BASE, old)
            self.assertIn("hosts.csv: found no board, where 2 are known, expected at least one", str(error))
            self.assertEqual(self.read(BASE).nodes, ())

    def test_many_boards_gone(self) -> None:
        """When more than half of the boards are gone, and at least three, the first warning says so."""
        for before, after, loud in ((6, 2, True), (5, 2, True), (6, 3, False), (3, 1, False)):
            self.boards(before)
            old = self.read(BASE)
            self.boards(after)
            warning = self.read(BASE, previous=old).warnings[0]
            self.assertEqual(f"{before - after} of {before} boards are gone" in warning, loud, warning)

    def test_other_boards(self) -> None:
        """Boards that were replaced by others are gone, too."""
        self.boards(4)
        old = self.read(BASE)
        self.hosts("".join(f"DC:A6:32:00:00:{number:02X};172.30.4.{number}\n" for number in range(10, 20)))
        self.assertIn("4 of 4 boards are gone", self.read(BASE, previous=old).warnings[0])


class ReferenceTests(SynchronousTestCase):
    """The page of all keys is complete and true."""

    def test_every_key(self) -> None:
        """Each key stands in the page with its default, and the page names no other."""
        rows = re.findall(r"^\| `([a-z_\[\].]+)` \| ([^|]+) \|", REFERENCE.read_text(), re.MULTILINE)
        documented = {key: default.strip().replace("`", "") for key, default in rows}
        self.assertEqual(documented, dict(keys_of(Document)))
        self.assertGreater(len(documented), 50)
