"""
Tests for :mod:`piman.ctl.direct`: switches in memory, no manager.
"""

import json
from contextlib import redirect_stderr
from io import StringIO
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.config import load
from piman.ctl.client import Refused
from piman.ctl.direct import find_port_directly, restart_directly
from piman.ctl.orders import RestartOptions
from piman.fleet.interfaces import PowerRefused, PowerUnreachable
from piman.fleet.model import MACAddress
from piman.settings.power import PowerSwitches
from piman.testing.power import MemoryPowerSwitch
from tests.ctl_support import Output

CONFIGURATION = """\
server_address: 172.30.4.1
subnet_mask: 24
interface: lo
operations: {max_blast: 3}
switches:
  - {switch_address: 172.30.4.254, name: rack-a, pi_addresses: [172.30.4.2, 172.30.4.3, 172.30.4.4, 172.30.4.5],
     protected_ports: [8]}
"""
PI2 = MACAddress.parse("b8:27:eb:00:00:02")


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        """A configuration, and a switch in memory."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "piman.yaml").write_text(CONFIGURATION)
        rows = [f"B8:27:EB:00:00:0{number};172.30.4.{number};pi{number};0\n" for number in (2, 3, 4, 5)]
        (folder / "hosts.csv").write_text("".join(rows))
        self.config = load(folder / "piman.yaml", resolver_files=())
        self.clock = Clock()
        self.clock.advance(1_750_000_000)
        self.switch = MemoryPowerSwitch(range(1, 9), label="rack-a")
        self.closed: list[bool] = []
        self.switches = PowerSwitches({IPv4Address("172.30.4.254"): self.switch}, (lambda: self.closed.append(True),))
        self.output = Output()

    def restart(self, *arguments: str) -> "Deferred[Any]":
        """Begin a restart."""
        options = RestartOptions()
        options.parseOptions(list(arguments))
        with redirect_stderr(StringIO()):
            return Deferred.fromCoroutine(
                restart_directly(self.clock, self.config, options, self.output, self.switches)
            )

    def all_on(self) -> bool:
        """Whether every port gives power."""
        return all(self.switch.delivering(port) for port in self.switch.on)


class RestartTests(_Case):
    """``restart``"""

    def test_done(self) -> None:
        """Ports lose their power for five seconds and get it back, one after the other; that is all that is claimed."""
        done = self.restart("rack-a", "2", "3")
        self.clock.pump([0.25] * 10)
        self.assertEqual([port for port, on in self.switch.on.items() if not on], [2, 3])
        self.clock.pump([0.25] * 40)
        self.assertEqual(self.successResultOf(done), 0)
        self.assertEqual(self.switch.orders, [("off", 2), ("off", 3), ("on", 2), ("on", 3)])
        self.assertIn("pi2: done after 6 s: its port gives power again; without a manager", self.output.getvalue())
        self.assertEqual((self.closed, self.clock.getDelayedCalls()), ([True], []))

    def test_same_plan(self) -> None:
        """Targets are found and refused as by the manager."""
        done = self.restart("rack-a", "2", "--dry-run")
        self.assertEqual(self.successResultOf(done), 0)
        self.assertIn("172.30.4.2 ends in 2", self.output.getvalue())
        for words, expected in ((("rack-a", "8"), "protected_ports"), (("pi9",), "did you mean")):
            refused = self.failureResultOf(self.restart(*words), Refused).value
            self.assertIn(expected, refused.message)
        self.assertEqual(self.switch.orders, [])

    def test_many(self) -> None:
        """More than max_blast need a yes."""
        refused = self.failureResultOf(self.restart("all"), Refused).value
        self.assertIn("max_blast allows (3)", refused.message)
        self.restart("all", "--yes")
        self.assertIn(("off", 5), self.switch.orders)

    def test_deaf(self) -> None:
        """A switch that does not obey: reason, exit status 1, and the port is on."""
        self.switch.deaf = {2}
        done = self.restart("pi2")
        self.clock.pump([0.5] * 400)
        self.assertEqual(self.successResultOf(done), 1)
        self.assertIn("pi2: failed", self.output.getvalue())
        self.assertIn("was ordered off and is not", self.output.getvalue())
        self.assertTrue(self.all_on())

    def test_refused(self) -> None:
        """A switch that refuses and has done nothing: no port is called dark, and none is ordered on."""
        refused = PowerRefused("rack-a port 2: we may only read there.", "Give piman a community that may write.")
        refused.nothing_done = True
        self.switch.failure = refused
        self.assertEqual(self.successResultOf(self.restart("pi2")), 1)
        self.assertIn("we may only read there", self.output.getvalue())
        self.assertNotIn("may be off", self.output.getvalue())
        self.assertEqual(self.switch.orders, [("off", 2)])

    def test_left_dark(self) -> None:
        """A switch that dies in between: it is said that the port may be off, and what to do."""
        done = self.restart("pi2")
        self.clock.pump([0.25] * 10)
        self.switch.failure = PowerUnreachable("rack-a does not answer.", "Is it on?")
        self.clock.pump([1.0] * 600)
        self.assertEqual(self.successResultOf(done), 1)
        self.assertIn("may be off now", self.output.getvalue())
        self.assertIn("Switch it on by hand", self.output.getvalue())

    def test_interrupted(self) -> None:
        """Ctrl-C at any moment gives each port its power back, begins nothing more, and then ends."""
        for moment in range(30):
            self.switch.orders.clear()
            done = self.restart("pi2", "pi3", "pi4", "--at-most", "2")
            self.clock.pump([0.25] * moment)
            done.cancel()
            begun = {port for order, port in self.switch.orders if order == "off"}
            self.clock.pump([0.25] * 40)
            self.failureResultOf(done, CancelledError)
            self.assertTrue(self.all_on(), moment)
            self.assertEqual({port for order, port in self.switch.orders if order == "off"}, begun)

    def test_stop_after(self) -> None:
        """After so many failures nothing more is begun."""
        self.switch.deaf = {2}
        done = self.restart("pi2", "pi3", "--at-most", "1", "--stop-after", "1", "--json")
        self.clock.pump([0.5] * 400)
        self.assertEqual(self.successResultOf(done), 1)
        found = json.loads(self.output.getvalue())
        self.assertEqual([report["step"] for report in found["reports"]], ["failed", "cancelled"])
        self.assertNotIn(("off", 3), self.switch.orders)

    def test_nothing_drawn(self) -> None:
        """A port on which nothing draws power is on, and that is what is said."""
        self.switch.faults = {2: "searching"}
        done = self.restart("pi2")
        self.clock.pump([0.25] * 100)
        self.assertEqual(self.successResultOf(done), 0)
        self.assertIn("nothing draws power there yet", self.output.getvalue())


class FindPortTests(_Case):
    """``find-port``"""

    def find(self, board: str) -> "Deferred[Any]":
        """Ask the switches."""
        return Deferred.fromCoroutine(find_port_directly(self.clock, self.config, board, self.switches))

    def test_found(self) -> None:
        """By MAC or name, where the switch has learned it."""
        self.switch.macs = {2: {PI2}}
        for board in ("pi2", str(PI2).upper()):
            found = self.successResultOf(self.find(board))
            self.assertEqual((found["name"], found["port"]["port"], len(found["seen"])), ("pi2", 2, 1))
        self.assertEqual(self.closed, [True, True])

    def test_no_board(self) -> None:
        """What is neither a node nor a MAC is refused."""
        self.failureResultOf(self.find("pi9"), Refused)
