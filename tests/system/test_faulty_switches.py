"""
The operator's commands before switches with something wrong: real ``snmpd``, real manager, real ``twistd piman-ctl``.

Each switch is an snmpd with one fault, at two addresses of a network namespace, so that a restart and a reinstallation
do not wait for each other; a third order goes to it without a manager.  All of them are given at once, because a switch
that does not answer is waited for with patience.  No board ever boots here.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.system import namespaces, snmpd_lab
from tests.system.manager import TWISTD, Manager
from tests.system.namespaces import MANAGER_INTERFACE, Lab
from tests.system.snmpd_lab import ADMIN, COMMUNITIES, SnmpdLab

COMMAND_SECONDS = 480.0
"""A switch that does not answer is asked for three minutes before a node is called dark."""
LIGHT_SECONDS = 300.0
"""For the last port to be on again."""
PORTS = range(1, 9)
RESTARTED, REINSTALLED, DIRECT = 2, 3, 4
"""Ports."""
DIRECTLY = "without a manager it is not followed further"
NO_BOARD = "it has (power|had power).*not asked for an address.* after 3 power cycles"
SILENT = "it does not answer"
KEYS = ("SHA-256", "the-first-pass-phrase"), ("AES", "the-second-pass-phrase")
WRONG_USER = (
    "{version: 3, user: piman, auth: {protocol: sha256, key: some-other-phrase}, "
    "priv: {protocol: aes128, key: the-second-pass-phrase}}"
)


@attrs.frozen(kw_only=True)
class Faulty:
    """
    A switch with something wrong, and what the commands say of it.

    :ivar reason: with a manager, a regular expression; exit status 1.
    :ivar direct: without one.
    :ivar direct_status: the exit status of that; None: not tried.
    """

    reason: str
    direct: str
    direct_status: int | None = 1
    fault: str = ""
    value: Any = True
    access: str = COMMUNITIES
    snmp: str = "{version: 2c, community: private, read_community: public}"


MAY_BE_DARK = ("mute", "slow")
"""Switches that stop answering, or answer too late, after they were told something."""
NOT_OBEYED = "switch {name}, port {port}: it accepted the order to switch power off, and still says on"
SWITCHES: Mapping[str, Faulty] = {
    "sound": Faulty(reason=NO_BOARD, direct=DIRECTLY, direct_status=0),
    "late": Faulty(fault="late", value=2, reason=NO_BOARD, direct=DIRECTLY, direct_status=0),
    "tardy": Faulty(fault="late", value=60, reason=NOT_OBEYED, direct=NOT_OBEYED),
    "deaf": Faulty(fault="deaf", reason=NOT_OBEYED, direct=NOT_OBEYED),
    "lying": Faulty(
        fault="lying", reason="port {port} was switched off, but goes on delivering", direct="goes on delivering power"
    ),
    "silent": Faulty(
        fault="silent",
        reason=f"switch {{name}}, port {{port}}: {SILENT}",
        direct=f"switch {{name}}, port {{port}}: {SILENT}",
    ),
    "mute": Faulty(fault="mute", reason=f"port {{port}}: {SILENT}", direct="", direct_status=None),
    "slow": Faulty(fault="slow", value=0.7, reason=f"port {{port}}: {SILENT}", direct=f"port {{port}}: {SILENT}"),
    "wrong-type": Faulty(
        fault="wrong-type", reason="port {port}: .*not a number", direct="port {port}: .*not a number"
    ),
    "rowless": Faulty(
        fault="missing",
        value=[f"{ADMIN}.1.{port}" for port in (RESTARTED, REINSTALLED, DIRECT)],
        reason="has no PoE port {port}",
        direct="has no PoE port {port}",
    ),
    "read-only": Faulty(
        fault="refuses",
        value="not-writable",
        reason="port {port}: .*cannot be written",
        direct="port {port}: .*cannot be written",
    ),
    "wrong-key": Faulty(
        access=snmpd_lab.user("piman", *KEYS),
        snmp=WRONG_USER,
        reason="port {port}: .*authentication key or protocol is wrong",
        direct="port {port}: .*authentication key or protocol is wrong",
    ),
}


@attrs.define
class Said:
    """A command that was given."""

    switch: str
    port: int
    process: "subprocess.Popen[str]"
    out: str = ""
    err: str = ""

    def end(self) -> None:
        """Wait for its end."""
        self.out, self.err = self.process.communicate(timeout=COMMAND_SECONDS)


class FaultySwitchTests(SynchronousTestCase):
    """A rack of switches, each with a fault of its own."""

    skip = namespaces.unavailable() or snmpd_lab.unavailable()
    timeout = 1200

    def setUp(self) -> None:
        """All switches and the manager."""
        self.folder = Path(self.mktemp()).absolute()
        self.lab = Lab(clients=1, addressed=False)
        self.addCleanup(self.lab.close)
        self.snmpds = {name: self.snmpd(number, name) for number, name in enumerate(SWITCHES)}
        for folder in ("manager", "alone"):
            (self.folder / folder / "install/boot").mkdir(parents=True)
            (self.folder / folder / "piman.yaml").write_text(self.configuration())
            (self.folder / folder / "hosts.csv").write_text("".join(self.rows()))
        self.manager = Manager(self.folder / "manager", tuple(self.lab.manager.command()))
        self.addCleanup(self.manager.stop)
        self.manager.start()

    @staticmethod
    def addresses(number: int) -> list[str]:
        """Those of a switch: for a restart, for a reinstallation."""
        return [f"172.30.4.{150 + 2 * number}", f"172.30.4.{151 + 2 * number}"]

    def snmpd(self, number: int, name: str) -> SnmpdLab:
        """A switch with its fault."""
        for address in self.addresses(number):
            self.lab.clients[0].assign(IPv4Interface(f"{address}/24"))
        lab = SnmpdLab(
            self.folder / name,
            access=SWITCHES[name].access,
            addresses=self.addresses(number),
            port=161,
            prefix=self.lab.clients[0].command(),
        )
        self.addCleanup(lab.close)
        if SWITCHES[name].fault:
            lab.be(SWITCHES[name].fault, SWITCHES[name].value)
        return lab

    def configuration(self) -> str:
        """piman.yaml: each switch twice."""
        lines = []
        for number, (name, faulty) in enumerate(SWITCHES.items()):
            for side, address in enumerate(self.addresses(number)):
                port, node = (RESTARTED, REINSTALLED)[side], f"172.30.4.{10 + 2 * number + side}"
                lines.append(
                    f"  - {{switch_address: {address}, name: {name}-{'ab'[side]}, "
                    f"ports: {{{port}: {node}}}, snmp: {faulty.snmp}}}"
                )
        return "\n".join(
            (
                "private_number: 4",
                "server_address: 172.30.4.1",
                "subnet_mask: 255.255.255.0",
                f"interface: {MANAGER_INTERFACE}",
                "dhcp: {dns_servers: [172.30.4.1]}",
                "monitor: {enabled: false}",
                "operations: {off_seconds: 1, stagger_seconds: 0.1, admission: false}",
                "switches:",
                *lines,
                "",
            )
        )

    def rows(self) -> list[str]:
        """hosts.csv: a node on each switch."""
        return [f"B8:27:EB:00:00:{node:02X};172.30.4.{node};pi{node};0\n" for node in range(10, 10 + 2 * len(SWITCHES))]

    def say(self, folder: str, word: str, switch: str, port: int) -> Said:
        """Give an order."""
        process = subprocess.Popen(
            self.lab.manager.command(TWISTD, "piman-ctl", word, switch, str(port)),
            cwd=self.folder / folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return Said(switch, port, process)

    def complaints(self, said: Said, status: int, words: str) -> list[str]:
        """What is wrong with how a command ended."""
        wanted = words.format(name=re.escape(said.switch), port=said.port)
        found = []
        if said.process.returncode != status:
            found.append(f"status {said.process.returncode}, not {status}")
        if not re.search(wanted, said.out):
            found.append(f"no {wanted!r}")
        if "Traceback" in said.err:
            found.append("a traceback")
        if "may be off" in said.out and not said.switch.startswith(MAY_BE_DARK):
            found.append("a port is called dark that was never switched")
        return [f"{said.switch} port {said.port}: {each}:\n{said.out}{said.err}" for each in found]

    def dark(self, name: str) -> list[int]:
        """Ports that are off, or will be, as the switch itself knows."""
        state = json.loads((self.snmpds[name].folder / "state.json").read_text())
        rows = {port: state["rows"][f"{ADMIN}.1.{port}"][1] for port in PORTS}
        for _, oid, value in sorted(state["pending"]):
            rows[int(oid.rpartition(".")[2])] = value
        return [port for port, value in rows.items() if value != 1]

    def intents_are_over(self) -> bool:
        """Whether the log tells an end of each intent that it tells a beginning of."""
        return len(self.manager.events("IntentClosed")) == len(self.manager.events("IntentOpened"))

    def test_honest_failures(self) -> None:
        """
        Each fault ends each command with status 1, the port and the reason named; nothing waits to be installed; the
        one switch that stopped answering while a port was dark has all ports on as soon as it answers again.
        """
        restarts = [self.say("manager", "restart", f"{name}-a", RESTARTED) for name in SWITCHES]
        reinstalls = [self.say("manager", "reinstall", f"{name}-b", REINSTALLED) for name in SWITCHES]
        direct = {
            name: self.say("alone", "restart", f"{name}-a", DIRECT)
            for name, faulty in SWITCHES.items()
            if faulty.direct_status is not None
        }
        for said in (*restarts, *reinstalls, *direct.values()):
            said.end()
        found = []
        for name, restart, reinstall in zip(SWITCHES, restarts, reinstalls, strict=True):
            for said in (restart, reinstall):
                found += self.complaints(said, 1, SWITCHES[name].reason)
        for name, said in direct.items():
            found += self.complaints(said, SWITCHES[name].direct_status or 0, SWITCHES[name].direct)
        self.assertEqual("\n".join(found), "")
        self.manager.wait_for(self.intents_are_over, LIGHT_SECONDS, "the end of all intents, in the log")
        left = self.dark("mute")
        said = "".join(each.out for each in (*restarts, *reinstalls) if each.switch.startswith("mute"))
        self.assertEqual([port for port in left if f"port {port} may be off" not in said], [], said)
        self.assertTrue(left)
        for name in ("silent", "mute"):
            self.snmpds[name].speak()
        self.manager.wait_for(lambda: not any(self.dark(name) for name in SWITCHES), LIGHT_SECONDS, "all ports")
        self.assertEqual(self.manager.events("FormatOrdered"), [])
