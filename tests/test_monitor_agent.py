"""
Tests for :mod:`piman.monitor.agent`.
"""

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from treq.testing import StubTreq
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.walltime import WallTime
from piman.monitor.agent import AgentPages, Options, Sampler, agent_service, agent_site, temperature, throttled
from piman.monitor.readings import Reading

ROOT = Path(__file__).resolve().parent.parent


class FakeSystem:
    """A machine whose load is what the test says."""

    def __init__(self) -> None:
        self.load = 12.5
        self.asked = 0

    def cpu_percent(self, interval: float | None = None) -> float:
        """The load; it must not wait for it."""
        assert interval is None
        self.asked += 1
        return self.load

    def virtual_memory(self) -> Any:
        """40 per cent."""
        return SimpleNamespace(percent=40.0)

    def disk_usage(self, path: str) -> Any:
        """63 per cent of the root file system."""
        return SimpleNamespace(percent={"/": 63.0}[path])

    def pids(self) -> Sequence[int]:
        """Three processes."""
        return [1, 2, 30]

    def sensors_temperatures(self) -> dict[str, list[Any]]:
        """As psutil shows a Pi 4: the processor and the RP1 or PMIC beside it."""
        return {"rp1_adc": [SimpleNamespace(current=60.0)], "cpu_thermal": [SimpleNamespace(current=51.5)]}


class SamplerTests(SynchronousTestCase):
    """Readings of the machine."""

    def setUp(self) -> None:
        """A machine at a known time."""
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.system = FakeSystem()
        self.flags = Path(self.mktemp())

    def sampler(self) -> Sampler:
        """A sampler of the machine."""
        return Sampler(self.clock, system=self.system, throttled_file=self.flags)

    def test_values(self) -> None:
        """Each value comes from where it should."""
        self.flags.write_text("50005\n")
        expected = Reading(
            time=1000.0,
            cpu_percent=12.5,
            memory_percent=40.0,
            disk_percent=63.0,
            num_pids=3,
            temp=51.5,
            throttled=0x50005,
        )
        self.assertEqual(self.sampler().read(), expected)

    def test_first_load(self) -> None:
        """The load is measured from the start on: psutil's first answer means nothing and is thrown away."""
        self.sampler()
        self.assertEqual(self.system.asked, 1)

    def test_fresh(self) -> None:
        """Two questions at once get the same reading; a second later it is a new one."""
        sampler = self.sampler()
        first = sampler.read()
        self.system.load = 99.0
        self.clock.advance(0.5)
        self.assertIs(sampler.read(), first)
        self.clock.advance(0.5)
        self.assertEqual((sampler.read().cpu_percent, sampler.read().time), (99.0, 1001.0))

    def test_clock_set_back(self) -> None:
        """When the node's clock is set back, the reading is a new one."""
        sampler = self.sampler()
        sampler.read()
        self.clock.rightNow = 10.0
        self.assertEqual(sampler.read().time, 10.0)

    def test_two_clocks(self) -> None:
        """What is told is the node's own time, also after somebody has set it; freshness is not measured by it."""
        wall = WallTime(self.clock, lambda: self.clock.seconds() + 5e8)
        sampler = Sampler(self.clock, system=self.system, throttled_file=self.flags, wall=wall)
        self.assertEqual(sampler.read().time, 1000.0 + 5e8)
        self.assertIs(sampler.read(), sampler.read())

    def test_no_sensors(self) -> None:
        """A board without sensors, or a platform without the call, has no temperature."""
        self.assertIsNone(temperature(SimpleNamespace()))
        self.assertIsNone(temperature(SimpleNamespace(sensors_temperatures=dict)))

    def test_other_sensor(self) -> None:
        """Where no sensor has a known name, the first one that tells anything counts."""
        sensors = {"a": [], "b": [SimpleNamespace(current=33.0)]}
        self.assertEqual(temperature(SimpleNamespace(sensors_temperatures=lambda: sensors)), 33.0)

    def test_no_firmware(self) -> None:
        """Without the firmware's file, or with nonsense in it, there are no flags."""
        self.assertIsNone(throttled(self.flags))
        self.flags.write_text("no")
        self.assertIsNone(throttled(self.flags))


class PagesTests(SynchronousTestCase):
    """What the agent answers over HTTP."""

    def setUp(self) -> None:
        """The agent's pages without a socket."""
        sampler = Sampler(Clock(), system=FakeSystem(), throttled_file=Path(self.mktemp()))
        self.client = StubTreq(AgentPages(sampler).resource())

    def get(self, path: str, method: str = "GET") -> tuple[int, str, bytes]:
        """Status, content type and body."""
        response = self.successResultOf(self.client.request(method, f"http://node:3000{path}"))
        kind = response.headers.getRawHeaders("content-type", [""])[0]
        return response.code, kind, self.successResultOf(response.content())

    def test_events(self) -> None:
        """/events and, for the original's managers, /event/ answer with the same JSON reading."""
        for path in ("/events", "/event/"):
            code, kind, body = self.get(path)
            self.assertEqual((code, kind), (200, "application/json"))
            self.assertEqual(Reading.from_json(body).cpu_percent, 12.5)

    def test_metrics(self) -> None:
        """/metrics answers with Prometheus text."""
        code, kind, body = self.get("/metrics")
        self.assertEqual((code, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn(b"\npiman_node_num_pids 3\n", body)

    def test_nothing_else(self) -> None:
        """Other pages are not found, and nothing can be changed."""
        self.assertEqual(self.get("/")[0], 404)
        self.assertEqual(self.get("/events", "POST")[0], 405)


class ServiceTests(SynchronousTestCase):
    """The agent on a port."""

    def sampler(self) -> Sampler:
        """A sampler of a machine that is not there."""
        return Sampler(Clock(), system=FakeSystem(), throttled_file=Path(self.mktemp()))

    def test_listens(self) -> None:
        """It binds port and address before rights are dropped, and lets go."""
        reactor = MemoryReactorClock()
        service = agent_service(reactor, port=3000, address="172.30.4.13", sampler=self.sampler())
        service.privilegedStartService()
        self.assertEqual([(port, interface) for port, _, _, interface in reactor.tcpServers], [(3000, "172.30.4.13")])
        service.startService()
        self.successResultOf(service.stopService())

    def test_taken_port(self) -> None:
        """A taken port stops the start-up."""
        reactor = MemoryReactorClock()

        def refuse(port: int, *rest: Any, **more: Any) -> None:
            raise CannotListenError("", port, OSError("taken"))

        reactor.listenTCP = refuse
        service = agent_service(reactor, sampler=self.sampler())
        self.assertRaises(CannotListenError, service.privilegedStartService)

    def test_quiet(self) -> None:
        """The site writes no access log."""
        site = agent_site(self.sampler())
        self.assertIsNone(site.log(object()))
        self.assertFalse(site.noisy)

    def test_options(self) -> None:
        """Port and address come from the command line, 3000 on all addresses without it."""
        options = Options()
        options.parseOptions([])
        self.assertEqual((options["port"], options["address"]), (3000, ""))
        options.parseOptions(["--port", "3001", "--address", "127.0.0.1"])
        self.assertEqual((options["port"], options["address"]), (3001, "127.0.0.1"))

    def test_wrong_option(self) -> None:
        """A wrong port is one line on standard error and exit status 2, under twistd too."""
        folder = self.mktemp()
        Path(folder).mkdir()
        command = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "piman-agent", "--port", "70000"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertIn("a port from 0 to 65535 is expected", done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)

    def test_taken_port_under_twistd(self) -> None:
        """A port that somebody has already is one line, no traceback, and exit status 1."""
        folder = self.mktemp()
        Path(folder).mkdir()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            command = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "piman-agent"]
            command += ["--address", "127.0.0.1", "--port", port]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 1, said)
        self.assertEqual(said.count(f"agent cannot start: Couldn't listen on 127.0.0.1:{port}"), 1, said)
        self.assertNotIn("Traceback", said)

    def test_unit(self) -> None:
        """The unit file starts what the plugin is called, on the port where managers ask."""
        unit = (ROOT / "install/node/piman-agent.service").read_text()
        self.assertIn("/twistd -n --pidfile= piman-agent --port 3000\n", unit)
