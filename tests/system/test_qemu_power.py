"""
A board whose power a switch really cuts: QEMU on a port of a virtual PoE switch, and the operator's own commands.

Port off: the QEMU process is killed.  Port on: it is started anew with the same card.  The manager knows the switch by
SNMP only, and the board by what U-Boot, Linux and busybox send (:mod:`tests.system.qemu_lab`).
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from piman.simulator.switch import VirtualSwitch, listen
from tests.system.manager import TWISTD
from tests.system.namespaces import entered
from tests.system.qemu_lab import PATIENCE_SECONDS, Board, LabNetwork, LabUnavailable, artefacts, require_lab
from tests.system.test_qemu_boot import CARD_BYTES, FORMATTING, MAC, UP, Manager

SWITCH = IPv4Address("172.30.4.254")
SNMP_PORT = 161
VLAN = 4
"""The manager's private_number."""
PORT = 2
SWITCHES = f"switches: [{{switch_address: {SWITCH}, pi_addresses: [172.30.4.2]}}]"
COMMAND_SECONDS = 300.0


class CutPowerTests(TestCase):
    """From the command to the process that is killed, and back."""

    timeout = 900

    def setUp(self) -> None:
        """A manager, a switch, and a board with an empty card whose cable is not in yet."""
        try:
            require_lab()
            built = artefacts()
        except LabUnavailable as reason:
            raise SkipTest(str(reason)) from reason
        self.reactor: Any = global_reactor
        self.directory = Path(tempfile.mkdtemp(prefix="piman-power-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.network = LabNetwork()
        self.addCleanup(self.network.remove)
        self.network.build()
        self.board = Board(self.network, built, self.directory, MAC, CARD_BYTES)
        self.addCleanup(self.board.power_off)
        self.switch = VirtualSwitch(self.reactor, {PORT: self.board})
        self.addCleanup(self.switch.close)
        self.network.give_switch_address(f"{SWITCH}/24")
        with entered(self.network.switch):
            listening = listen(self.reactor, self.switch, SWITCH, SNMP_PORT, vlan=VLAN)
        self.addCleanup(listening.port.stopListening)
        self.manager = Manager(self.network, built, built.rootfs, self.directory / "manager")
        configuration = self.directory / "manager/piman.yaml"
        text = configuration.read_text().replace("switches: []", SWITCHES)
        configuration.write_text(f"{text}operations: {{off_seconds: 1}}\n")
        self.addCleanup(self.manager.stop)
        self.manager.start()

    async def until(self, claim: str, holds: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Look until it is so, while the switch goes on answering."""
        end = self.reactor.seconds() + seconds
        while not holds():
            if self.reactor.seconds() > end:
                raise AssertionError(f"{claim}\n{self.board.serial[-3000:]}\n{self.manager.log[-3000:]}")
            await deferLater(self.reactor, 0.1)

    async def say(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """``twistd piman-ctl WORDS`` beside the manager, to its end."""
        command = ["ip", "netns", "exec", self.network.manager, TWISTD, "piman-ctl", *words]
        run = partial(
            subprocess.run,
            command,
            cwd=self.directory / "manager",
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        return await deferToThread(run)  # type: ignore[arg-type]

    def stages(self, done: "subprocess.CompletedProcess[str]") -> set[str]:
        """The phases that a command tells of the board, which it brought back."""
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.manager.log[-3000:])
        found = re.search(r"pi2: done after \d+ s: (.*)", done.stdout)
        assert found is not None, done.stdout
        return {stage.split()[0] for stage in found[1].split(", ")}

    async def test_restart_and_reinstall(self) -> None:
        """A restart brings it back with its card as it was; a reinstallation formats once, and that is all."""
        self.switch.plug(PORT)
        await self.until("it is not installed", lambda: self.manager.events("Installed"))
        await self.until("it is not up", lambda: self.manager.events("NodeUp"))
        self.assertEqual((self.board.starts, self.switch.orders), (1, 0))

        done = await self.say("restart", str(SWITCH), str(PORT))
        self.assertLessEqual({"powered", "leased", "loading", "greeting", "booting", "up"}, self.stages(done))
        self.assertEqual((self.board.starts, self.switch.orders), (2, 2))
        self.assertIn(UP.replace("runs", "runs, boot 2"), self.board.serial)
        self.assertNotIn(FORMATTING, self.board.serial)

        done = await self.say("reinstall", str(SWITCH), str(PORT))
        self.assertLessEqual({"powered", "loading", "formatting", "imaging", "up"}, self.stages(done))
        self.assertEqual((self.board.starts, self.switch.orders), (3, 4))
        self.assertIn(UP.replace("runs", "runs, boot 1"), self.board.serial)
        self.assertEqual(len(self.manager.events("FormatOrdered")), 2)
        self.assertEqual(len(self.manager.events("Installed")), 2)
        self.assertEqual(len(self.manager.events("PowerCycled")), 2)
