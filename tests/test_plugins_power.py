"""
Kinds of power switches: found, named in piman.yaml, checked, made; and the example of the documents.
"""

import os
import re
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.config import Config, ConfigError, load
from piman.fleet.interfaces import BadSettings, IPowerSwitch, IPowerSwitchKind, PowerRefused
from piman.plugins import power_kinds
from piman.plugins.command import CommandPowerSwitch
from piman.plugins.snmp_poe import SNMPPoEKind, credentials, secret
from piman.settings.power import make_power_switches
from piman.settings.sections import SNMPKey, SNMPSection
from piman.snmp import Engines
from piman.switching.power_switch import SNMPPowerSwitch
from piman.switching.session import Community, Secret, User
from tests.power_support import context

ROOT = Path(__file__).resolve().parent.parent
ORIGINAL = ROOT / "tests" / "captures" / "original.yaml"
HOW_TO = ROOT / "docs/how-to/write-a-power-switch.md"

BASE = """\
private_number: 4
server_address: 172.30.4.1
subnet_mask: 255.255.255.0
interface: ens4
switches:
  - switch_address: 172.30.4.254
"""


class KindsTests(SynchronousTestCase):
    """What is found."""

    def test_ours(self) -> None:
        """snmp-poe and command are plugins like those of others."""
        found = power_kinds()
        self.assertLessEqual({"snmp-poe", "command"}, set(found))
        for kind in found.values():
            verifyObject(IPowerSwitchKind, kind)

    def test_example(self) -> None:
        """The example of the documents is found beside ours, and passes the contract suite by its own test."""
        plugin, test = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
        folder = Path(self.mktemp()).resolve()
        (folder / "piman/plugins").mkdir(parents=True)
        (folder / "piman/plugins/acme_relay.py").write_text(plugin)
        (folder / "test_acme_relay.py").write_text(test)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
        code = "from piman.plugins import power_kinds; print(sorted(power_kinds()))"
        for command, expected in (
            ([sys.executable, "-c", code], "['acme-relay', 'command', 'snmp-poe']"),
            ([sys.executable, "-m", "twisted.trial", "--reactor=asyncio", "test_acme_relay"], "PASSED (successes="),
        ):
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn(expected, done.stdout + done.stderr)


class ConfigCase(SynchronousTestCase):
    """Reads a piman.yaml with our kinds."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.path = folder / "piman.yaml"

    def read(self, text: str) -> Config:
        """What the file means."""
        self.path.write_text(text)
        return load(self.path, resolver_files=(), power_kinds=power_kinds())


class ConfigTests(ConfigCase):
    """``power:`` in piman.yaml."""

    def problems(self, text: str) -> list[tuple[int, str]]:
        """Line and key of each mistake."""
        error = self.assertRaises(ConfigError, self.read, BASE + text)
        return [(problem.line, problem.key) for problem in error.problems]

    def test_unknown_kind(self) -> None:
        """A kind that does not exist is a mistake, and the nearest one is named."""
        self.assertEqual(self.problems("    power: snmp-pow\n"), [(7, "switches[0].power")])
        error = self.assertRaises(ConfigError, self.read, BASE + "    power: snmp-pow\n")
        self.assertIn("snmp-poe", str(error))

    def test_inner_mistakes(self) -> None:
        """A plugin's mistakes come with file and line, beside all others; a missing key with that of its mapping."""
        text = "    power:\n      kind: command\n      on: relay on\n      off: relay {port} off\ntypo: 1\n"
        self.assertEqual(
            self.problems(text), [(8, "switches[0].power.status"), (9, "switches[0].power.on"), (11, "typo")]
        )

    def test_unread(self) -> None:
        """Without the kinds nothing of it is read: ``simulate`` needs none."""
        self.path.write_text(BASE + "    power: unifi\n")
        self.assertEqual(load(self.path, resolver_files=()).switches[0].power, {"kind": "unifi"})

    def test_made(self) -> None:
        """Each switch of the file becomes what its kind makes, by address; closing lets go of what they share."""
        config = self.read(
            BASE + '  - switch_address: 172.30.4.253\n    power: {kind: command, on: "r {port}", off: "r {port}",'
            ' status: "r {port}"}\n'
        )
        made = make_power_switches(Clock(), config.switches, power_kinds())
        self.assertIsInstance(made.by_address[IPv4Address("172.30.4.254")], SNMPPowerSwitch)
        self.assertIsInstance(made.by_address[IPv4Address("172.30.4.253")], CommandPowerSwitch)
        for switch in made.by_address.values():
            verifyObject(IPowerSwitch, switch)
        made.close()

    def test_missing_kind(self) -> None:
        """Making one of an unknown kind is refused, not a crash."""
        self.path.write_text(BASE + "    power: unifi\n")
        config = load(self.path, resolver_files=())
        self.assertRaises(BadSettings, make_power_switches, Clock(), config.switches, power_kinds())


class OriginalTests(ConfigCase):
    """The README's own configuration, without further keys (``docs``: SNMP of the original)."""

    def test_communities(self) -> None:
        """``private@4`` switches, ``public@4`` looks boards up, for both switches; 4 is the private number."""
        config = self.read(ORIGINAL.read_text())
        self.assertEqual([str(each.address) for each in config.switches], ["172.30.4.254", "172.30.4.128"])
        for switch in config.switches:
            shown = credentials(switch.snmp, 4)
            self.assertEqual(shown.control, Community("private@4"))
            self.assertEqual(shown.lookup, Community("public@4"))
            self.assertIsNone(shown.vlan_lookup)
            self.assertEqual((switch.snmp.port, switch.group), (161, 1))

    def test_made(self) -> None:
        """Both become PoE switches by SNMP."""
        made = make_power_switches(Clock(), self.read(ORIGINAL.read_text()).switches, power_kinds())
        self.assertEqual({type(each) for each in made.by_address.values()}, {SNMPPowerSwitch})


class CredentialsTests(ConfigCase):
    """``snmp:`` of a switch."""

    def of(self, snmp: str) -> Any:
        """What the section means."""
        switch = self.read(f"{BASE}    snmp: {snmp}\n").switches[0]
        return credentials(switch.snmp, switch.snmp.vlan or 0, {"KEY": "from-the-environment"})

    def test_community(self) -> None:
        """One community serves for everything, and on Cisco's switches with the VLAN behind it."""
        shown = self.of("{community: hush, version: 2c}")
        self.assertEqual((shown.control, shown.lookup), (Community("hush", "2c"),) * 2)
        self.assertEqual(shown.vlan_lookup, Community("hush@4", "2c"))

    def test_read_community(self) -> None:
        """Another one for lookups, and another VLAN."""
        shown = self.of("{community: hush, read_community: open, vlan: 7}")
        self.assertEqual((shown.control, shown.lookup), (Community("hush"), Community("open")))
        self.assertEqual(shown.vlan_lookup, Community("open@7"))

    def test_user(self) -> None:
        """Version 3, keys from the environment and from a file; Cisco's context for the VLAN."""
        (self.path.parent / "priv.key").write_text("from-a-file\n")
        shown = self.of(
            "{version: 3, user: piman, auth: {protocol: sha256, key_env: KEY},"
            " priv: {protocol: aes128, key_file: priv.key}}"
        )
        auth, priv = Secret("sha256", "from-the-environment"), Secret("aes128", "from-a-file")
        self.assertEqual(shown.control, User(name="piman", auth=auth, priv=priv))
        self.assertEqual(shown.vlan_lookup, User(name="piman", auth=auth, priv=priv, context="vlan-4"))

    def test_missing_keys(self) -> None:
        """A key that is not where it should be is told by its place."""
        with self.assertRaises(LookupError) as caught:
            secret(SNMPKey(protocol="sha", key_env="NO_SUCH"), {})
        self.assertIn("NO_SUCH", str(caught.exception))
        with self.assertRaises(LookupError) as caught:
            secret(SNMPKey(protocol="sha", key_file=Path("/no/such.key")), {})
        self.assertIn("/no/such.key", str(caught.exception))

    def test_short_keys(self) -> None:
        """RFC 3414, section 11.2: at least 8 characters; in the file it is a mistake at its line."""
        with self.assertRaises(LookupError) as caught:
            secret(SNMPKey(protocol="sha", key_env="KEY"), {"KEY": "seven77"})
        self.assertIn("KEY", str(caught.exception))
        text = "    snmp:\n      version: 3\n      user: piman\n      auth: {protocol: sha, key: seven77}\n"
        error = self.assertRaises(ConfigError, self.read, BASE + text)
        self.assertEqual([(each.line, each.key) for each in error.problems], [(10, "switches[0].snmp.auth.key")])
        self.assertNotIn("seven77", str(error))

    def test_missing_key_of_a_switch(self) -> None:
        """It stops neither the manager nor the other switches: each call to that one switch fails and says why."""
        access = SNMPSection(version="3", user="piman", auth=SNMPKey(protocol="sha", key_file=Path("/no/such.key")))
        kind = SNMPPoEKind()
        switch = kind.make(kind.parse({}), context(Clock(), access=access, shared=Engines(Clock())))
        reason = self.failureResultOf(switch.turn_on(1), PowerRefused).value
        self.assertIn("/no/such.key", reason.reason)

    def test_no_settings(self) -> None:
        """snmp-poe has no keys of its own."""
        with self.assertRaises(BadSettings) as caught:
            SNMPPoEKind().parse({"community": "x"})
        self.assertEqual(caught.exception.problems[0].key, "community")
