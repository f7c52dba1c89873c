"""
The original's commands, word for word, with its README's own configuration, before two switches that are ``snmpd``.

The manager's LAN is a network namespace: its interface is ``ens4`` with 172.30.4.1, the switches answer at 172.30.4.254
and 172.30.4.128, port 161, in version 1 as of old, and boards of shell and foreign programs hang on ports 2, 3 and 4.
"""

import re
import shutil
import subprocess
from ipaddress import IPv4Interface
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import MACAddress
from tests.system import namespaces, snmpd_lab
from tests.system.manager import TWISTD, Manager, ManagerFailed
from tests.system.namespaces import Lab
from tests.system.shell_board import PROGRAMS, Cables, ShellBoard
from tests.system.snmpd_lab import ADMIN, ONLY_VERSION_1, SnmpdLab
from tests.system.test_hello_shell import rootfs

ORIGINAL = Path(__file__).parents[1] / "captures" / "original.yaml"
FIRST, SECOND = "172.30.4.254", "172.30.4.128"
PORTS = (2, 3, 4)
BOOT_SECONDS = 90.0
COMMAND_SECONDS = 240.0
OFF, ON = "integer 2", "integer 1"


class OriginalCase(SynchronousTestCase):
    """The LAN of the README's example."""

    skip = namespaces.unavailable(*PROGRAMS) or snmpd_lab.unavailable()
    timeout = 600

    def setUp(self) -> None:
        """Both switches and all boards, still dark; no manager yet."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "install/boot").mkdir(parents=True)
        shutil.copy(ORIGINAL, self.folder / "piman.yaml")
        rootfs(self.folder / "install/boot/rootfs.tgz")
        (self.folder / "install/boot/bootcode.bin").write_bytes(b"only a Raspberry Pi would run this")
        self.lab = Lab(clients=2 + len(PORTS), addressed=False, interface="ens4")
        self.addCleanup(self.lab.close)
        self.first, self.second = self.switch(0, FIRST), self.switch(1, SECOND)
        self.boards = {
            port: ShellBoard(self.lab.clients[port], self.folder / f"board{port}", f"172.30.4.{port + 11}")
            for port in PORTS
        }
        rows = [f"{board.mac.upper()};172.30.4.{port + 11};pi{port + 11};0\n" for port, board in self.boards.items()]
        (self.folder / "hosts.csv").write_text("".join(rows))
        for port, board in self.boards.items():
            self.first.learn(MACAddress.parse(board.mac), port)
        self.manager = Manager(self.folder, tuple(self.lab.manager.command()))
        self.addCleanup(self.manager.stop)

    def switch(self, number: int, address: str) -> SnmpdLab:
        """An snmpd at this address."""
        namespace = self.lab.clients[number]
        namespace.assign(IPv4Interface(f"{address}/24"))
        lab = SnmpdLab(
            self.folder / f"switch{number}",
            access=ONLY_VERSION_1,
            addresses=[address],
            port=161,
            prefix=namespace.command(),
        )
        self.addCleanup(lab.close)
        return lab

    def plug_in(self, *ports: int) -> None:
        """Hang boards on their ports, which are on."""
        cables = Cables(self.first, {port: self.boards[port] for port in ports})
        self.addCleanup(cables.close)

    def start(self, *ports: int) -> None:
        """A manager, and these boards installed and up."""
        self.manager.start()
        self.plug_in(*ports)
        try:
            self.manager.wait_for(lambda: len(self.manager.events("NodeUp")) == len(ports), BOOT_SECONDS, "the boards")
        except ManagerFailed as late:
            raise ManagerFailed(f"{late}\n{self.told()}") from late

    def told(self) -> str:
        """What boards have printed, for whoever reads of a failure."""
        return "\n".join(board.log[-1000:] for board in self.boards.values())

    def say(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """``twistd piman-ctl WORDS`` in the manager's folder, to its end."""
        return subprocess.run(
            self.lab.manager.command(TWISTD, "piman-ctl", *words),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    def orders(self, port: int) -> list[str]:
        """What the first switch was told about a port."""
        prefix = f"{ADMIN}.1.{port} "
        return [line.removeprefix(prefix) for line in self.first.asked("set") if line.startswith(prefix)]

    def assert_all_on(self) -> None:
        """net-snmp's own program sees every port on, and the second switch was never told anything."""
        for port in range(1, 9):
            self.assertEqual(self.first.snmpget(f"{ADMIN}.1.{port}", "-v1", "-c", "public@4"), "1", f"port {port}")
        self.assertEqual(self.second.asked("set"), [])

    def stages(self, out: str, name: str) -> list[str]:
        """The phases that the command tells of a node that is done, each with its seconds but the last."""
        found = re.search(rf"^ *{name}: done after \d+ s: (.*)$", out, re.MULTILINE)
        assert found is not None, out
        *passed, last = found[1].split(", ")
        for stage in passed:
            self.assertRegex(stage, r"^[a-z]+ \d+ s$")
        return [*(stage.split()[0] for stage in passed), last]


class WithManagerTests(OriginalCase):
    """A manager runs in the folder."""

    def test_restart(self) -> None:
        """``restart 172.30.4.254 2 3 4``: each port off and on once, each node's stages until it is up; status 0."""
        self.start(*PORTS)
        done = self.say("restart", FIRST, "2", "3", "4")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.told())
        for port, board in self.boards.items():
            self.assertEqual(self.orders(port), [OFF, ON])
            self.assertEqual((board.powered, board.boots), (2, 2))
            stages = self.stages(done.stdout, f"pi{port + 11}")
            self.assertEqual((stages[0], stages[-1]), ("powered", "up"))
            self.assertLessEqual({"offered", "loading", "greeting", "booting"}, set(stages))
        self.assertRegex(done.stdout.splitlines()[-1], "^restart [0-9a-f]{8}: 3 done$")
        self.assertEqual(len(self.manager.events("FormatOrdered")), 3)  # when they were new
        self.assert_all_on()

    def test_reinstall(self) -> None:
        """``reinstall 172.30.4.254 2``: one format, the image unpacked anew, stages until it is up; status 0."""
        self.start(2)
        card = self.boards[2].folder / "card"
        (card / "rubbish").touch()
        done = self.say("reinstall", FIRST, "2")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.told())
        self.assertEqual((self.orders(2), self.boards[2].powered), ([OFF, ON], 2))
        self.assertLessEqual({"formatting", "imaging", "up"}, set(self.stages(done.stdout, "pi13")))
        self.assertFalse((card / "rubbish").exists())
        self.assertEqual((card / "etc/hostname").read_text(), "pi\n")
        self.manager.wait_for(lambda: len(self.manager.events("Installed")) == 2, 20.0, "both installations in the log")
        again = self.say("restart", FIRST, "2")
        self.assertEqual(again.returncode, 0, again.stdout + again.stderr + self.told())
        self.assertEqual((len(self.manager.events("FormatOrdered")), self.boards[2].boots), (2, 3))
        self.assert_all_on()

    def test_managers_own_port(self) -> None:
        """The README lists 172.30.4.1, the manager itself, on the second switch: that port is refused; status 2."""
        self.second.learn(MACAddress.parse(self.lab.manager.mac), 1)
        self.start()
        done = self.say("restart", SECOND, "1")
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertIn("172.30.4.128 port 1: the manager itself is behind it", done.stderr)
        self.assert_all_on()


class WithoutManagerTests(OriginalCase):
    """Nobody runs in the folder."""

    def test_restart(self) -> None:
        """``restart`` speaks to the switch itself, says so, and vouches for no more than the ports; status 0."""
        self.plug_in(*PORTS)
        done = self.say("restart", FIRST, "2", "3", "4")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("speaking to the switches directly", done.stderr)
        for port, board in self.boards.items():
            self.assertEqual((self.orders(port), board.powered), ([OFF, ON], 2))
            self.assertRegex(done.stdout, f"pi{port + 11}: done after .* without a manager it is not followed further")
        self.assertEqual(done.stdout.splitlines()[-1], "restart directly: 3 done")
        self.assert_all_on()

    def test_reinstall(self) -> None:
        """``reinstall`` needs a manager: status 3, and nothing is switched."""
        done = self.say("reinstall", FIRST, "2")
        self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)
        self.assertIn("start it with: twistd -n piman", done.stderr)
        self.assertEqual(self.first.asked("set"), [])
        self.assert_all_on()
