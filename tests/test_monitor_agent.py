"""
Tests for :mod:`piman.monitor.agent`.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from treq.testing import StubTreq
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from piman.monitor.agent import (
    LONGEST_SECONDS,
    MOST_BODY_BYTES,
    MOST_CONNECTIONS,
    AgentPages,
    Options,
    agent_service,
    agent_site,
)
from piman.monitor.readings import Reading
from piman.monitor.sampling import Sampler

ROOT = Path(__file__).resolve().parent.parent


READING = Reading(time=1.5, cpu_percent=12.5, memory_percent=40.0, disk_percent=63.0, num_pids=3, temp=51.5)


QUESTION = b"GET /events HTTP/1.1\r\nHost: node\r\n\r\n"


class FixedSampler:
    """A machine that always has the same to tell."""

    def reading(self) -> Reading:
        """It."""
        return READING


def sampler() -> Sampler:
    """In the place of a real one."""
    return cast(Sampler, FixedSampler())


class PagesTests(SynchronousTestCase):
    """What the agent answers over HTTP."""

    def setUp(self) -> None:
        """The agent's pages without a socket."""
        self.client = StubTreq(AgentPages(sampler()).resource())

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
            self.assertEqual(Reading.from_json(body), READING)

    def test_metrics(self) -> None:
        """/metrics answers with Prometheus text."""
        code, kind, body = self.get("/metrics")
        self.assertEqual((code, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn(b"\npiman_node_num_pids 3.0\n", body)

    def test_nothing_else(self) -> None:
        """Other pages are not found, and nothing can be changed."""
        self.assertEqual(self.get("/")[0], 404)
        for method in ("POST", "PUT", "DELETE"):
            self.assertEqual(self.get("/events", method)[0], 405)


class Wire(StringTransportWithDisconnection):
    """A connection that remembers how it ended; the other side reads when the test says so."""

    aborted = False

    def abortConnection(self) -> None:
        """Ended at once."""
        self.aborted = True
        self.loseConnection()


class BoundsTests(SynchronousTestCase):
    """What a stranger, or a manager in trouble, can cost a node."""

    def setUp(self) -> None:
        """The agent's site."""
        self.clock = Clock()
        self.site = agent_site(self.clock, sampler())
        self.site.doStart()

    def connect(self) -> tuple[Any, Wire]:
        """A connection to it."""
        protocol: Any = self.site.buildProtocol(IPv4Address("TCP", "172.30.4.1", 12345))
        wire = Wire()
        wire.protocol = protocol
        protocol.makeConnection(wire)
        return protocol, wire

    def tearDown(self) -> None:
        """No connection and no timer is left."""
        for protocol in list(self.site.protocols):
            protocol.transport.loseConnection()
        self.site.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answer(self) -> None:
        """A question is answered, and the connection ends."""
        protocol, wire = self.connect()
        protocol.dataReceived(QUESTION)
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"Connection: close\r\n", wire.value())
        self.assertTrue(wire.value().endswith(READING.to_json()))
        self.assertFalse(wire.connected)

    def test_many_questions(self) -> None:
        """Of many questions on one connection the first is answered: no answers pile up for who does not read."""
        protocol, wire = self.connect()
        protocol.dataReceived(QUESTION * 1000)
        self.assertEqual(wire.value().count(b"HTTP/1.1"), 1)
        self.assertFalse(wire.connected)

    def test_many_connections(self) -> None:
        """One connection too many ends the oldest, and whoever comes last is answered."""
        wires = [self.connect()[1] for _ in range(MOST_CONNECTIONS)]
        self.assertFalse(any(wire.aborted for wire in wires))
        protocol, _ = self.connect()
        self.assertEqual([wire.aborted for wire in wires], [True] + [False] * (MOST_CONNECTIONS - 1))
        protocol.dataReceived(QUESTION)
        self.assertIn(READING.to_json(), protocol.transport.value())

    def test_room_again(self) -> None:
        """Connections that have ended count no more."""
        for _ in range(MOST_CONNECTIONS + 1):
            protocol, wire = self.connect()
            protocol.dataReceived(QUESTION)
            self.assertFalse(wire.aborted)
        self.assertEqual(len(self.site.protocols), 0)

    def test_idle(self) -> None:
        """A connection on which nothing is asked ends."""
        _, wire = self.connect()
        self.clock.advance(LONGEST_SECONDS)
        self.assertFalse(wire.connected)

    def test_drip(self) -> None:
        """Nor does it last longer for a byte now and then."""
        protocol, wire = self.connect()
        protocol.dataReceived(b"GET /events HTTP/1.1\r\n")
        for _ in range(int(LONGEST_SECONDS)):
            self.clock.advance(1)
            if wire.connected:
                protocol.dataReceived(b"X")
        self.assertFalse(wire.connected)

    def test_bodies(self) -> None:
        """A body that is long, or of unknown length, is refused before it is read."""
        for header in (f"Content-Length: {MOST_BODY_BYTES + 1}", "Transfer-Encoding: chunked"):
            protocol, wire = self.connect()
            protocol.dataReceived(f"POST /events HTTP/1.1\r\nHost: node\r\n{header}\r\n\r\n".encode())
            self.assertTrue(wire.value().startswith(b"HTTP/1.1 413 "), wire.value())
            self.assertFalse(wire.connected)

    def test_body_in_one_piece(self) -> None:
        """So is one that came with its header; it is not answered twice."""
        protocol, wire = self.connect()
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n0\r\n\r\n"
        protocol.dataReceived(b"GET /events HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        self.assertEqual(wire.value().count(b"HTTP/1.1"), 1)

    def test_short_body(self) -> None:
        """A short one is passed over."""
        protocol, wire = self.connect()
        protocol.dataReceived(b"GET /events HTTP/1.1\r\nHost: node\r\nContent-Length: 2\r\n\r\n{}")
        self.assertIn(READING.to_json(), wire.value())

    def test_endless_header(self) -> None:
        """A header without end is cut off."""
        protocol, wire = self.connect()
        protocol.dataReceived(b"GET /events HTTP/1.1\r\n")
        for _ in range(100):
            if wire.connected:
                protocol.dataReceived(b"X-A: " + b"x" * 1000 + b"\r\n")
        self.assertFalse(wire.connected)


class ServiceTests(SynchronousTestCase):
    """The agent on a port."""

    def test_listens(self) -> None:
        """It binds port and address before rights are dropped, and lets go."""
        for address in ("172.30.4.13", "::1", ""):
            reactor = MemoryReactorClock()
            service = agent_service(reactor, sampler(), port=3000, address=address)
            service.privilegedStartService()
            bound = [(port, interface) for port, _, _, interface in reactor.tcpServers]
            self.assertEqual(bound, [(3000, address)])
            service.startService()
            self.successResultOf(service.stopService())

    def test_taken_port(self) -> None:
        """A taken port stops the start-up."""
        reactor = MemoryReactorClock()

        def refuse(port: int, *rest: Any, **more: Any) -> None:
            raise CannotListenError("", port, OSError("taken"))

        reactor.listenTCP = refuse
        service = agent_service(reactor, sampler())
        self.assertRaises(CannotListenError, service.privilegedStartService)

    def test_quiet(self) -> None:
        """The site writes no access log."""
        site = agent_site(Clock(), sampler())
        site.doStart()
        site.wrappedFactory.log(object())
        site.doStop()
        self.assertFalse(site.noisy or site.wrappedFactory.noisy)

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
        """The unit starts what add_to_image writes, on the port where managers ask."""
        unit = (ROOT / "install/node/piman-agent.service").read_text()
        self.assertIn(" /opt/piman-agent/bin/piman-agent --port 3000\n", unit)
        self.assertTrue(os.access(ROOT / "install/node/piman-agent", os.X_OK))

    def test_light(self) -> None:
        """It imports nothing that only the manager needs: a Pi Zero 2 has 512 MB."""
        code = "import sys, piman.monitor.agent; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
        modules = set(done.stdout.split())
        heavy = {"pysnmp", "yaml", "rich", "treq", "sqlite3", "pyasn1", "twisted.conch", "twisted.names"}
        self.assertEqual(modules & heavy, set(), done.stderr)
        script = (ROOT / "install/node/add_to_image").read_text()
        (listed,) = re.findall(r'(?s)MODULES="(.*?)"', script)
        files = {name.replace(".", "/") for name in modules if name.partition(".")[0] == "piman"}
        self.assertEqual(
            {f"piman/{path}" for path in listed.split()},
            {f"{file}/__init__.py" if (ROOT / file).is_dir() else f"{file}.py" for file in files},
        )
