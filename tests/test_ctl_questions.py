"""
Tests for :mod:`piman.ctl.questions`: each word against the API itself.
"""

import json

from piman.ctl.client import Refused
from piman.ctl.questions import (
    EventsOptions,
    FindPortOptions,
    MapOptions,
    StatusOptions,
    WhyOptions,
    events,
    find_port,
    map_ports,
    status,
    why,
)
from piman.fleet import events as happened
from piman.fleet.interfaces import PowerUnreachable
from piman.fleet.model import Stage
from tests.ctl_support import InWords, Running
from tests.web_support import PI2, PI3, STRANGER


class StatusTests(InWords):
    """``status``"""

    def setUp(self) -> None:
        """Pi 2 is up."""
        super().setUp()
        self.half.log.emit(happened.NodeUp(mac=PI2, evidence="agent"))
        self.half.clock.advance(90)

    def test_all(self) -> None:
        """One line for each node, and a sum; columns stand below each other and no line ends in blanks."""
        code, out = self.run_word(status, StatusOptions())
        self.assertEqual(code, 0)
        self.assertEqual(
            out.splitlines(),
            [
                "node  address     phase    since  port           image  what was seen last",
                "pi2   172.30.4.2  up       90 s   rack-a port 2  -      is up: its agent answers",
                "pi3   172.30.4.3  unknown  -      rack-a port 3  -",
                "2 nodes: 1 unknown, 1 up, 1 places without a board",
            ],
        )

    def test_some(self) -> None:
        """Nodes that are named are shown alone."""
        _, out = self.run_word(status, StatusOptions(), "172.30.4.2")
        self.assertEqual([line.split()[0] for line in out.splitlines()], ["node", "pi2"])

    def test_unknown(self) -> None:
        """A node that is none is refused with the nearest name."""
        refused = self.assertRaises(Refused, self.run_word, status, StatusOptions(), "pi22")
        self.assertIn("Did you mean pi2?", str(refused))

    def test_trouble(self) -> None:
        """A silent node makes the exit status 1."""
        self.half.log.emit(happened.NodeSilent(mac=PI2, misses=3, reason="no answer in time"))
        self.assertEqual(self.run_word(status, StatusOptions())[0], 1)

    def test_stranger(self) -> None:
        """A stranger is shown by its MAC and called one."""
        self.half.log.emit(happened.StrangerSeen(mac=STRANGER, stage=Stage.EEPROM))
        _, out = self.run_word(status, StatusOptions())
        self.assertIn(f"{STRANGER}  -", out)
        self.assertIn("no file names this board", out)
        self.assertIn("1 strangers", out)

    def test_names(self) -> None:
        """``--names`` prints what completion offers."""
        self.assertEqual(self.run_word(status, StatusOptions(), "--names")[1], "pi2\npi3\nrack-a\n")

    def test_json(self) -> None:
        """``--json`` prints what the API answers."""
        _, out = self.run_word(status, StatusOptions(), "--json")
        self.assertEqual([node["status"]["phase"] for node in json.loads(out)["nodes"]], ["up", "unknown"])

    def test_harmless(self) -> None:
        """What a board says cannot draw on the terminal."""
        self.half.log.emit(happened.InstallerFailed(mac=PI2, reason="\x1b[2Joops"))
        self.assertNotIn("\x1b", self.run_word(status, StatusOptions())[1])

    def test_why(self) -> None:
        """``why`` says the sentence, and what to do in the next line."""
        code, out = self.run_word(why, WhyOptions(), "pi2")
        self.assertEqual((code, out), (0, f"pi2 (up for 90 s): why {PI2}\nDo something.\n"))


class EventTests(InWords):
    """``events``"""

    def test_last(self) -> None:
        """The last ones, each with its time, its node's name and plain words."""
        for mac in (PI2, PI3, PI2):
            self.half.log.emit(happened.NodeUp(mac=mac, evidence="agent"))
        code, out = self.run_word(events, EventsOptions(), "--limit", "2")
        self.assertEqual(code, 0)
        lines = out.splitlines()
        self.assertEqual(
            [line[21:] for line in lines], ["pi3 is up: its agent answers", "pi2 is up: its agent answers"]
        )
        self.assertRegex(lines[0], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")

    def test_of_nobody(self) -> None:
        """Events of no node name nobody; those of a port whose board is not known say so."""
        self.half.log.emit(happened.ManagerStarted(version="2.0"))
        self.half.log.emit(happened.PowerRemoved(port="172.30.4.254 port 7", operation="1"))
        _, out = self.run_word(events, EventsOptions())
        told = [line[21:] for line in out.splitlines()]
        self.assertEqual(told, ["piman 2.0 started", "an unknown board is without power (172.30.4.254 port 7)"])

    def test_of_a_node(self) -> None:
        """Those of one node."""
        for mac in (PI2, PI3):
            self.half.log.emit(happened.NodeUp(mac=mac, evidence="agent"))
        _, out = self.run_word(events, EventsOptions(), "pi3", "--json")
        self.assertEqual([json.loads(line)["node"] for line in out.splitlines()], [str(PI3)])

    def test_follow(self) -> None:
        """``--follow`` goes on with what happens, each event once."""
        self.half.log.emit(happened.NodeUp(mac=PI2, evidence="agent"))
        running = Running(self.half, events, EventsOptions(), "-f")
        running.wait(1)
        self.half.log.emit(happened.NodeSilent(mac=PI2, misses=3, reason="no answer in time"))
        running.wait(1)
        self.assertEqual([line.split()[4] for line in running.out.splitlines()], ["up:", "silent"])
        self.assertIsNone(running.result)
        running.cancel()


class PortTests(InWords):
    """``find-port`` and ``map``"""

    def setUp(self) -> None:
        """A stranger in a slot."""
        super().setUp()
        self.half.switch.macs = {2: {PI2}, 5: {STRANGER}}

    def test_learned(self) -> None:
        """A board that the switch sees."""
        code, out = self.run_word(find_port, FindPortOptions(), str(STRANGER).upper())
        expected = f"{STRANGER}: rack-a port 5 (172.30.4.254), where the switch sees it\n"
        self.assertEqual((code, out), (0, expected))

    def test_configured(self) -> None:
        """A board that no switch sees is where the files say."""
        code, out = self.run_word(find_port, FindPortOptions(), "pi3")
        self.assertEqual((code, out), (0, f"pi3 ({PI3}): rack-a port 3 (172.30.4.254), as the files say\n"))

    def test_nowhere(self) -> None:
        """A board that is nowhere: exit status 1."""
        code, out = self.run_word(find_port, FindPortOptions(), "b8:27:eb:00:00:77")
        self.assertEqual((code, out), (1, "b8:27:eb:00:00:77: found on no port\n"))

    def test_map(self) -> None:
        """Ports with their boards, and the lines for strangers."""
        _, out = self.run_word(map_ports, MapOptions())
        self.assertEqual(
            out.splitlines()[:5],
            [
                "port           node      board              address     phase    remark",
                f"rack-a port 2  pi2       {PI2}  172.30.4.2  unknown",
                f"rack-a port 3  pi3       {PI3}  172.30.4.3  unknown",
                f"rack-a port 5  stranger  {STRANGER}  172.30.4.5  unknown",
                "2 nodes, 1 strangers",
            ],
        )
        self.assertEqual(out.splitlines()[-1], "B8:27:EB:00:00:09;172.30.4.5;;0")

    def test_lines_alone(self) -> None:
        """``--hosts-lines`` prints nothing but lines for hosts.csv."""
        self.assertEqual(
            self.run_word(map_ports, MapOptions(), "--hosts-lines")[1], "B8:27:EB:00:00:09;172.30.4.5;;0\n"
        )

    def test_silent_switch(self) -> None:
        """A switch that does not answer leaves what the files say."""
        self.half.switch.failure = PowerUnreachable("rack-a does not answer.")
        running = Running(self.half, map_ports, MapOptions())
        self.assertEqual((running.result, running.err), (0, "piman: not asked: rack-a does not answer.\n"))
        self.assertIn("no board was seen here yet", running.out)
