# -*- test-case-name: tests.test_monitor_agent -*-
"""
The agent: runs on each node and tells how it is, ``twistd -n piman-agent``.

``GET /events`` (and ``/event/``, as the original's agents) answers with JSON, ``GET /metrics`` with Prometheus text.
It reads, and nothing that is asked of it changes anything.
"""

from piman.reactor import WrongReactor, install, wall_clock

try:
    install()
except WrongReactor as reason:
    raise SystemExit(f"piman-agent: {reason}") from None

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import psutil
from klein import Klein
from twisted.application import strports
from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python import usage
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Site

from piman.fleet.walltime import WallTime
from piman.monitor.readings import Reading
from piman.ordered import OrderedService, say_in_one_line

PORT = 3000

FRESH_SECONDS = 1.0
"""A reading younger than this is told again: the processor's load is measured between two readings."""

PROCESSOR_SENSORS = ("cpu_thermal", "cpu-thermal", "soc_thermal", "coretemp", "k10temp")
"""Names of the processor's sensor, a Raspberry Pi's first."""

THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
"""The Pi's firmware tells here, in hexadecimal, that it throttles, and why."""


class System(Protocol):
    """What is needed of psutil."""

    def cpu_percent(self, interval: float | None = None) -> float:
        """Load since the last call."""

    def virtual_memory(self) -> Any:
        """Memory; ``.percent`` in use."""

    def disk_usage(self, path: str) -> Any:
        """A file system; ``.percent`` in use."""

    def pids(self) -> Sequence[int]:
        """Processes."""


def temperature(system: Any) -> float | None:
    """The processor's temperature; None where the board does not tell."""
    try:
        sensors: Mapping[str, Sequence[Any]] = system.sensors_temperatures()
    except (AttributeError, OSError):
        return None
    for name in (*PROCESSOR_SENSORS, *sensors):
        if sensors.get(name):
            return float(sensors[name][0].current)
    return None


def throttled(path: Path) -> int | None:
    """The firmware's throttling bits; None where there is no such firmware."""
    try:
        return int(path.read_text("ascii").strip(), 16)
    except (OSError, ValueError):
        return None


class Sampler:
    """Takes readings of the machine it runs on."""

    def __init__(
        self,
        clock: IReactorTime,
        *,
        system: System = psutil,
        throttled_file: Path = THROTTLED,
        wall: WallTime | None = None,
    ) -> None:
        self._clock = clock
        self._wall = wall or WallTime(clock)
        self._system = system
        self._throttled_file = throttled_file
        self._latest: tuple[float, Reading] | None = None
        system.cpu_percent(interval=None)  # the first call has nothing to compare with

    def read(self) -> Reading:
        """How the machine is now."""
        now = self._clock.seconds()
        if self._latest is None or not 0 <= now - self._latest[0] < FRESH_SECONDS:
            self._latest = (now, self._measure(self._wall.now()))
        return self._latest[1]

    def _measure(self, now: float) -> Reading:
        return Reading(
            time=now,
            cpu_percent=self._system.cpu_percent(interval=None),
            memory_percent=self._system.virtual_memory().percent,
            disk_percent=self._system.disk_usage("/").percent,
            num_pids=len(self._system.pids()),
            temp=temperature(self._system),
            throttled=throttled(self._throttled_file),
        )


class AgentPages:
    """What the agent answers."""

    app = Klein()
    _log = Logger()

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    @app.route("/events", methods=["GET"])
    @app.route("/event/", methods=["GET"])
    def events(self, request: IRequest) -> bytes:
        """The reading as JSON."""
        request.setHeader(b"content-type", b"application/json")
        return self._sampler.read().to_json()

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: IRequest) -> bytes:
        """The reading for Prometheus."""
        request.setHeader(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        return self._sampler.read().to_metrics()

    def resource(self) -> IResource:
        """All pages."""
        resource: IResource = self.app.resource()
        return resource


def agent_site(sampler: Sampler) -> Site:
    """The agent's web site; it keeps no access log, a poll every few seconds is no news."""
    site = Site(AgentPages(sampler).resource(), timeout=60)
    site.noisy = False
    site.log = lambda request: None  # type: ignore[method-assign]
    return site


def agent_service(reactor: Any, *, port: int = PORT, address: str = "", sampler: Sampler | None = None) -> IService:
    """The agent on a TCP port; a taken port stops the start-up."""
    interface = f":interface={address}" if address else ""
    site = agent_site(sampler or Sampler(reactor))
    service: IService = strports.service(f"tcp:{port}{interface}", site, reactor=reactor)
    return service


# twistd piman-agent


def _port(text: str) -> int:
    if not 0 <= int(text) <= 65535:
        raise ValueError("a port from 0 to 65535 is expected")
    return int(text)


def _fail(text: str) -> NoReturn:
    print(f"piman-agent: {text}", file=sys.stderr)
    sys.exit(2)


class Options(usage.Options):
    """The options of ``twistd piman-agent``."""

    optParameters = [
        ["port", "p", PORT, "The TCP port to answer on", _port],
        ["address", "a", "", "Answer only on this address (default: all)"],
    ]

    def parseOptions(self, options: "list[str] | None" = None) -> None:
        """Parse; a mistake is one line on standard error and exit status 2."""
        try:
            super().parseOptions(options)
        except usage.UsageError as mistake:
            _fail(f"{mistake} (see --help)")


def makeService(options: Options) -> IService:
    """What twistd runs; a taken port is one line and exit status 1."""
    from twisted.internet import reactor

    sys.excepthook = say_in_one_line(sys.excepthook)
    sampler = Sampler(reactor, wall=WallTime(reactor, wall_clock))
    agent = agent_service(reactor, port=options["port"], address=options["address"], sampler=sampler)
    agent.setName("agent")
    top = OrderedService()
    agent.setServiceParent(top)
    return cast(IService, top)
