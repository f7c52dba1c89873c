# -*- test-case-name: tests.test_monitor_agent -*-
"""
The agent: runs on each node and tells how it is, ``twistd -n piman-agent``.

``GET /events`` (and ``/event/``, as the original's agents) answers with JSON, ``GET /metrics`` with Prometheus text.
It reads, and nothing that is asked of it changes anything.  An answer is the latest sample, from memory: asking often
costs the node little.  A connection is good for one question, there are few at a time, and the oldest gives way to a
new one: who asks or reads slowly keeps nobody else waiting.

It runs on boards with 512 MB, from a folder that holds these modules and little else (install/node/add_to_image): what
the manager needs is not imported here.
"""

from piman.reactor import WrongReactor, install, wall_clock

try:
    install()
except WrongReactor as reason:
    raise SystemExit(f"piman-agent: {reason}") from None

import sys
from typing import Any, NoReturn, cast

from klein import Klein
from twisted.application import strports
from twisted.application.service import IService
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python import usage
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from piman.monitor.exposition import CONTENT_TYPE, Exposition
from piman.monitor.sampling import Sampler, SamplerService, in_daemon_thread
from piman.ordered import OrderedService, say_in_one_line

PORT = 3000

MOST_CONNECTIONS = 32
"""Each is good for one question; the manager needs one for some milliseconds."""

MOST_BODY_BYTES = 4096
"""No question has a body; so much is passed over, more is refused."""
REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

LONGEST_SECONDS = 30.0
"""A connection ends then, whatever it is doing."""


class AgentPages:
    """What the agent answers."""

    app = Klein()

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._exposition = Exposition(sampler.reading)

    @app.route("/events", methods=["GET"])
    @app.route("/event/", methods=["GET"])
    def events(self, request: IRequest) -> bytes:
        """The reading as JSON."""
        return _answer(request, "application/json", self._sampler.reading().to_json())

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: IRequest) -> bytes:
        """The reading for Prometheus."""
        return _answer(request, CONTENT_TYPE, self._exposition.text())

    def resource(self) -> IResource:
        """All pages."""
        resource: IResource = self.app.resource()
        return resource


def _answer(request: IRequest, kind: str, body: bytes) -> bytes:
    request.setHeader(b"content-type", kind.encode())
    request.setHeader(b"content-length", str(len(body)).encode())
    return body


# Bounds


class OnlyRequest(Request):
    """
    The one question of its connection, without a body.

    Twisted would keep a body of any length in a file, and answers to a thousand questions in memory until somebody
    reads them.
    """

    _is_refused = False

    def gotLength(self, length: int | None) -> None:
        """The length of the body is known; None: it comes in chunks, without end for all we know."""
        self._is_refused = length is None or length > MOST_BODY_BYTES
        super().gotLength(0 if self._is_refused else length)
        self.channel.persistent = False
        self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        if self._is_refused:
            self.channel.write(REFUSAL)
            self.channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        """What came with the header is passed over."""
        if not self._is_refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer, unless that has been done."""
        if not self._is_refused:
            super().requestReceived(command, path, version)


class QuietSite(Site):
    """Keeps no access log, a poll every few seconds is no news; and has no timer to stamp its lines with."""

    noisy = False
    displayTracebacks = False

    def startFactory(self) -> None:
        """Nothing to prepare."""

    def stopFactory(self) -> None:
        """Nothing to clear."""

    def log(self, request: Any) -> None:
        """No line."""


class FewConnections(WrappingFactory):
    """Lets so many in at a time, and each for so long; the oldest gives way when there are too many."""

    noisy = False

    def __init__(self, clock: IReactorTime, site: Site) -> None:
        super().__init__(site)
        self._clock = clock
        self._ends: dict[ProtocolWrapper, IDelayedCall] = {}

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        """A connection begins."""
        if len(self._ends) >= MOST_CONNECTIONS:
            _abort(next(iter(self._ends)))
        super().registerProtocol(p)
        self._ends[p] = self._clock.callLater(LONGEST_SECONDS, _abort, p)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """A connection has ended."""
        super().unregisterProtocol(p)
        end = self._ends.pop(p)
        if end.active():
            end.cancel()


def _abort(connection: Any) -> None:
    connection.abortConnection()


def agent_site(reactor: Any, sampler: Sampler) -> WrappingFactory:
    """The agent's web site, within bounds."""
    pages = AgentPages(sampler).resource()
    return FewConnections(reactor, QuietSite(pages, requestFactory=OnlyRequest, timeout=None, reactor=reactor))


def agent_service(reactor: Any, sampler: Sampler, *, port: int = PORT, address: str = "") -> IService:
    """The agent on a TCP port; a taken port stops the start-up."""
    description = f"tcp6:{port}" if ":" in address else f"tcp:{port}"
    if address:
        description += ":interface=" + address.replace(":", r"\:")
    service: IService = strports.service(description, agent_site(reactor, sampler), reactor=reactor)
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
        ["address", "a", "", "Answer only on this address (default: all of IPv4)"],
    ]

    def parseOptions(self, options: "list[str] | None" = None) -> None:
        """Parse; a mistake is one line on standard error and exit status 2."""
        try:
            super().parseOptions(options)
        except usage.UsageError as mistake:
            _fail(f"{mistake} (see --help)")


def makeService(options: Options) -> IService:
    """What twistd runs; a taken port is one line and exit status 1."""
    from twisted.internet import reactor as running

    reactor: Any = running
    sys.excepthook = say_in_one_line(sys.excepthook)
    sampler = Sampler(reactor, wall=wall_clock, run=in_daemon_thread(reactor))
    top = OrderedService()
    for name, service in (
        ("sampler", SamplerService(reactor, sampler)),
        ("agent", agent_service(reactor, sampler, port=options["port"], address=options["address"])),
    ):
        service.setName(name)
        service.setServiceParent(top)
    return cast(IService, top)


# Without twistd


def main(arguments: list[str]) -> None:
    """
    Run the agent until a signal ends it, as ``twistd -n piman-agent`` does.

    What install/node/add_to_image puts onto a node starts so: twistd loads every plugin of Twisted for its list of
    commands, and wants to write that list down.
    """
    from twisted.internet import reactor as running

    reactor: Any = running
    options = Options()
    options.parseOptions(arguments)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    agent = makeService(options)
    agent.privilegedStartService()
    agent.startService()
    reactor.addSystemEventTrigger("before", "shutdown", agent.stopService)
    reactor.run()
