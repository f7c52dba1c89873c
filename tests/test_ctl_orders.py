"""
Tests for :mod:`piman.ctl.orders`: each word against the API itself, with time that passes in memory.
"""

import json
from ipaddress import IPv4Address

from piman.ctl.client import Refused
from piman.ctl.orders import (
    CancelOptions,
    OperationsOptions,
    PowerOptions,
    ReinstallOptions,
    RestartOptions,
    cancel,
    operations,
    power,
    reinstall,
    restart,
)
from piman.fleet import events
from piman.fleet.model import MACAddress, Stage
from tests.ctl_support import InWords, Running
from tests.web_support import PI2, PI3, Half


class _Case(InWords):
    def boot(self, mac: MACAddress) -> None:
        """The node comes up."""
        address = IPv4Address("172.30.4.2")
        self.half.log.emit(events.AddressOffered(mac=mac, address=address, stage=Stage.EEPROM))
        self.half.log.emit(events.NodeUp(mac=mac, evidence="agent"))


class RestartTests(_Case):
    """``restart``"""

    def test_followed(self) -> None:
        """It is followed until the nodes are up, step by step, with what became of each; exit status 0."""
        running = Running(self.half, restart, RestartOptions(), "rack-a", "2", "3")
        running.wait(10)
        self.assertIsNone(running.result)
        self.boot(PI2)
        self.boot(PI3)
        running.wait(10)
        self.assertEqual(running.result, 0)
        lines = running.out.splitlines()
        self.assertEqual(
            [line[10:] for line in lines if "pi2" in line],
            [
                "pi2: switching off",
                "pi2: off",
                "pi2: switching on",
                "pi2: following",
                "pi2: following powered",
                "pi2: following offered",
                "pi2: following up",
                "pi2: done after 10 s: powered 5 s, offered 0 s, up",
            ],
            running.out,
        )
        self.assertRegex(lines[-1], r"^restart [0-9a-f]{8}: 2 done$")

    def test_failed(self) -> None:
        """A node that does not come back: its reason, what to do, exit status 1; the other is done."""
        running = Running(self.half, restart, RestartOptions(), "pi2", "pi3")
        running.wait(10)
        self.boot(PI3)
        running.wait(600, step=1)
        self.assertEqual(running.result, 1)
        self.assertIn("pi2: failed after", running.out)
        self.assertIn("after 3 power cycles", running.out)
        self.assertRegex(running.out.splitlines()[-1], "1 done, 1 failed$")

    def test_json(self) -> None:
        """``--json`` prints the operation at its end, and nothing before."""
        running = Running(self.half, restart, RestartOptions(), "pi2", "--json")
        running.wait(10)
        self.assertEqual(running.out, "")
        self.boot(PI2)
        running.wait(10)
        found = json.loads(running.out)
        self.assertEqual((running.result, found["final"]), (0, True))
        self.assertEqual([report["step"] for report in found["reports"]], ["done"])

    def test_no_wait(self) -> None:
        """``--no-wait`` ends at once; the manager goes on."""
        code, out = self.run_word(restart, RestartOptions(), "pi2", "--no-wait")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^restart ([0-9a-f]{8}): begun; piman operations \1 shows it\n$")

    def test_dry_run(self) -> None:
        """``--dry-run`` prints which port was found by which rule, and touches nothing."""
        code, out = self.run_word(restart, RestartOptions(), "rack-a", "2", "pi3", "--dry-run")
        self.assertEqual(code, 0)
        self.assertEqual(
            out.splitlines(),
            [
                "node  board              port           found by",
                f"pi2   {PI2}  rack-a port 2  172.30.4.2 ends in 2",
                f"pi3   {PI3}  rack-a port 3  172.30.4.3 ends in 3",
                "power: 2 ports of rack-a may draw 12 W; it gives 32 of 123.2 W now",
                "restart of 2, some 97 s when all goes well",
            ],
        )
        self.assertEqual(self.half.switch.orders, [])

    def test_timeout(self) -> None:
        """After ``--timeout`` it says that the operation goes on; exit status 1."""
        running = Running(self.half, restart, RestartOptions(), "pi2", "--timeout", "20")
        running.wait(30)
        self.assertEqual(running.result, 1)
        self.assertIn("after 20 s it still goes on", running.err)
        self.assertFalse(self.half.operations.operations()[0].is_final)

    def test_interrupted(self) -> None:
        """Ctrl-C ends the following, not the operation; no timer is left."""
        running = Running(self.half, restart, RestartOptions(), "pi2")
        running.wait(3)
        running.cancel()
        self.assertIsNotNone(running.result)
        self.assertIn("goes on; piman cancel", running.err)
        self.assertFalse(self.half.operations.operations()[0].is_final)

    def test_refused(self) -> None:
        """What is refused is refused in the manager's words."""
        refused = self.assertRaises(Refused, self.run_word, restart, RestartOptions(), "rack-a", "8")
        self.assertEqual((refused.status, refused.code), (422, "bad-targets"))
        self.assertIn("protected_ports", str(refused))

    def test_yes(self) -> None:
        """More than max_blast need ``--yes``."""
        self.half = Half(max_blast=1)
        refused = self.assertRaises(Refused, self.run_word, restart, RestartOptions(), "pi2", "pi3", "--no-wait")
        self.assertIn("--yes", refused.hint)
        self.assertEqual(self.run_word(restart, RestartOptions(), "pi2", "pi3", "--no-wait", "--yes")[0], 0)


class OtherOrderTests(_Case):
    """``reinstall``, ``power``"""

    def test_reinstall(self) -> None:
        """An image may be named after the nodes, as people write it."""
        self.run_word(reinstall, ReinstallOptions(), "172.30.4.254", "2", "--image", "default", "--no-wait")
        (operation,) = self.half.operations.operations()
        self.assertEqual((operation.action.value, operation.image), ("reinstall", "default"))

    def test_power(self) -> None:
        """Off, then on."""
        for word in ("off", "on"):
            running = Running(self.half, power, PowerOptions(), word, "pi2")
            running.wait(1)
            self.boot(PI2)
            running.wait(5)
            self.assertEqual(running.result, 0, running.out)
        self.assertEqual(self.half.switch.orders, [("off", 2), ("on", 2)])

    def test_rolling(self) -> None:
        """``--at-most`` and ``--stop-after`` reach the manager."""
        self.run_word(restart, RestartOptions(), "pi2", "--at-most=4", "--stop-after", "2", "--no-wait")
        (operation,) = self.half.operations.operations()
        self.assertEqual((operation.at_most, operation.stop_after), (4, 2))


class GivenOrderTests(_Case):
    """``cancel``, ``operations``"""

    def test_cancel(self) -> None:
        """What has not begun is not done, and that is said."""
        self.run_word(restart, RestartOptions(), "pi2", "pi3", "--at-most", "1", "--no-wait")
        identity = self.half.operations.operations()[0].id
        code, out = self.run_word(cancel, CancelOptions(), identity)
        self.assertEqual((code, out), (0, f"restart {identity}: 1 not begun, 1 under way go on to their end\n"))

    def test_list(self) -> None:
        """All operations, with who, when and what became of them."""
        self.run_word(restart, RestartOptions(), "pi2", "--no-wait")
        _, out = self.run_word(operations, OperationsOptions())
        header, row = out.splitlines()
        self.assertEqual(header.split(), ["id", "action", "who", "begun", "state", "nodes"])
        self.assertRegex(row, r"^[0-9a-f]{8}  restart  ada  .*  under way  1 switching off$")

    def test_one(self) -> None:
        """One operation, node by node."""
        self.run_word(restart, RestartOptions(), "pi2", "--no-wait")
        identity = self.half.operations.operations()[0].id
        code, out = self.run_word(operations, OperationsOptions(), identity)
        self.assertEqual(code, 0)
        self.assertIn("pi2: switching off", out)
