"""
A virtual rack with the real manager: real sockets, a real process.
"""

from io import StringIO
from pathlib import Path

from rich.console import Console
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from piman.ctl.client import ManagerClient
from piman.simulator.rack import Rack, RackOptions, simulate
from piman.simulator.running.manager import ManagerFailed
from piman.simulator.wiring.faults import Faults


class RackTests(TestCase):
    """From power-on to up, with everything real but the boards."""

    timeout = 120

    async def run_rack(self, options: RackOptions) -> tuple[int, str]:
        """The exit status and what was shown."""
        console = Console(file=StringIO(), width=200)
        status = await simulate(reactor, options, console)
        return status, console.file.getvalue()  # type: ignore[attr-defined]

    async def test_all_kinds(self) -> None:
        """One board of each kind, one of them from the pool, comes up; manager and boards agree; status 0."""
        status, text = await self.run_rack(RackOptions(count=4, speed=50, pool_share=0.25, timeout_seconds=60))
        self.assertEqual(status, 0, text)
        self.assertIn("4 of 4 boards up", text)
        self.assertIn("4 installations", text)
        self.assertIn("The manager's files say the same", text)

    async def test_version_1(self) -> None:
        """Boards with images of 2020 come up by the old protocol and the raw stream."""
        options = RackOptions(count=2, models=("3B+", "4B"), speed=50, version_1=1.0, timeout_seconds=60)
        status, text = await self.run_rack(options)
        self.assertEqual(status, 0, text)

    async def test_killed_manager(self) -> None:
        """The manager is killed and comes back: all boards come up, no lease differs, nothing is installed twice."""
        options = RackOptions(count=6, speed=20, pool_share=0.5, kill_manager=True, timeout_seconds=100)
        status, text = await self.run_rack(options)
        self.assertEqual(status, 0, text)
        self.assertIn("0 leases on disk differed", text)
        self.assertIn("manager started 2 times", text)

    async def test_switches(self) -> None:
        """Boards on switches come up by their power; the manager finds each of them on its port."""
        found: list[tuple[str, str]] = []

        async def look(rack: Rack) -> None:
            client = ManagerClient(reactor, rack.directory / "state" / "control.sock")
            rows = (await client.get("/api/v1/map"))["rows"]
            found.extend((row["name"], f"{row['port']['label']} {row['port']['port']}") for row in rows)

        directory = Path(self.mktemp())
        options = RackOptions(count=4, switches=2, speed=50, pool_share=0.25, timeout_seconds=60, poll_seconds=1.0)
        report = await Rack(reactor, options, directory, Console(file=StringIO()), errand=look).run()
        self.assertTrue(report.is_good, report.problems)
        self.assertEqual(sorted(found), [("pi1", "sw1 1"), ("pi2", "sw1 2"), ("pi3", "sw2 1"), ("pi4", "sw2 2")])
        self.assertIn("2 switches answered", report.notes[-1])

    async def test_left_behind(self) -> None:
        """Boards that do not come up in time cost status 1, by name and step, and the files are kept."""
        directory = Path(self.mktemp())
        options = RackOptions(count=2, loss=0.9, speed=50, timeout_seconds=1, directory=directory)
        status, text = await self.run_rack(options)
        self.assertEqual(status, 1)
        self.assertIn("pi1 is left behind", text)
        self.assertTrue((directory / "state" / "state.db").exists())

    async def test_no_manager(self) -> None:
        """A manager that does not start is said so, with its own words; status 1; nothing is left open."""
        directory = Path(self.mktemp())
        console = Console(file=StringIO(), width=200)
        rack = Rack(reactor, RackOptions(count=1), directory, console)
        (directory / "piman.yaml").write_text("what: is this\n")
        try:
            await rack.run()
        except ManagerFailed as failure:
            self.assertIn("what", str(failure))
        else:
            self.fail("it should not have started")


class OptionTests(SynchronousTestCase):
    """Options and what follows from them."""

    def test_faults(self) -> None:
        """The shares are those of each board's line."""
        options = RackOptions(loss=0.1, duplicate=0.2, reorder=0.3, stall=0.4, cut=0.5)
        self.assertEqual(options.faults, Faults(loss=0.1, duplicate=0.2, reorder=0.3, stall=0.4, cut=0.5))
        self.assertFalse(RackOptions().faults.are_any)
