# -*- test-case-name: tests.test_ctl_client -*-
"""
Speaking with the manager: HTTP on its control socket.
"""

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import quote, urlencode

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from piman.host.unix_socket import SocketAddress

JSON = dict[str, Any]

Heard = Callable[[bytes], bool]
"""Takes a piece of a stream; True: that was enough."""

CONNECT_SECONDS = 5.0


class NoManager(Exception):
    """Nobody answers at the socket; the text is one line that names it."""


class NotAllowed(Exception):
    """The socket may not be used by us; the text is one line that names it, and what to do."""


class WentAway(Exception):
    """The manager ended, or hung up, before it had answered."""


class Refused(Exception):
    """
    The manager answers that it will not, or cannot.

    :ivar status: of HTTP.
    """

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


class HTTP(Protocol):
    """What is needed of treq."""

    def request(self, method: str, url: str, **options: Any) -> "Deferred[Any]":
        """Ask."""


@implementer(IAgentEndpointFactory)
class _OneSocket:
    """Every address leads to the same UNIX socket."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._endpoint = UNIXClientEndpoint(reactor, path, timeout=CONNECT_SECONDS)

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:
        """The socket."""
        return self._endpoint


def http_over(reactor: Any, path: Path) -> HTTP:
    """
    A client of whoever listens at a UNIX socket; it keeps no connections.

    :raises NoManager: when the folder of a socket with a long path is not there.
    """
    try:
        address = SocketAddress(path)
    except OSError as reason:
        raise NoManager(f"no manager answers at {path} ({reason.strerror})") from reason
    client: Any = HTTPClient(Agent.usingEndpointFactory(reactor, _OneSocket(reactor, address.text)))
    return cast(HTTP, client)


class ManagerClient:
    """
    The manager, as its API shows it.

    :param path: of its socket, for what is said of it.
    :ivar reactor: for whoever waits between two attempts.
    """

    def __init__(self, reactor: Any, path: Path, http: HTTP | None = None) -> None:
        self.reactor = reactor
        self.path = path
        self._http = http or http_over(reactor, path)

    async def get(self, path: str, **query: Any) -> JSON:
        """
        Ask for something.

        :raises NoManager: when nobody answers.
        :raises NotAllowed: when we may not ask.
        :raises Refused: when the answer is no.
        :raises WentAway: when the answer breaks off.
        """
        return await self._ask("GET", path, query)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> JSON:
        """Order something; raises as :meth:`get`."""
        data = json.dumps(body).encode("ascii") if body is not None else None
        return await self._ask("POST", path, {}, data)

    async def read(self, path: str, query: Mapping[str, Any], heard: Heard, known: str = "") -> None:
        """
        Hand each piece of a stream to ``heard``, until it ends or is enough.

        :param known: the id of the last message that is known.
        """
        headers = {"last-event-id": known} if known else {}
        response = await self._request("GET", path, query, headers=headers, unbuffered=True)
        if response.code != 200:
            raise _refused(response.code, await _body(response))
        await _deliver(response, heard)

    async def _ask(self, method: str, path: str, query: Mapping[str, Any], data: bytes | None = None) -> JSON:
        response = await self._request(method, path, query, data=data, unbuffered=True)
        body = await _body(response)
        if response.code >= 400:
            raise _refused(response.code, body)
        found: JSON = json.loads(body)
        return found

    async def _request(self, method: str, path: str, query: Mapping[str, Any], **options: Any) -> Any:
        url = f"http://piman{quote(path)}{'?' + urlencode(query) if query else ''}"
        try:
            return await self._http.request(method, url, **options)
        except ConnectError as reason:
            raise self._unreachable(reason) from reason
        except ResponseFailed as reason:
            raise WentAway(f"the manager at {self.path} went away before it answered") from reason

    def _unreachable(self, reason: ConnectError) -> Exception:
        number = reason.osError if isinstance(reason.osError, int) else None
        if number in (errno.EACCES, errno.EPERM):
            hint = "be root, or join the group of the socket"
            return NotAllowed(f"the manager's socket {self.path} is not for you: {hint}")
        return NoManager(f"no manager answers at {self.path}")


class _Body(StreamProtocol):
    """Hands on what arrives; fires at the end, fails when it breaks off; cancelling it hangs up."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self.over: Deferred[None] = Deferred(lambda _: self._hang_up())

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Hand it on."""
        if not self.over.called and self._heard(data):
            self.over.callback(None)
            self._hang_up()

    def connectionLost(self, reason: Failure = ResponseDone) -> None:  # type: ignore[assignment]
        """The end."""
        if self.over.called:
            return
        if reason.check(ResponseDone):
            self.over.callback(None)
        else:
            self.over.errback(WentAway("the manager's answer broke off"))


async def _deliver(response: Any, heard: Heard) -> None:
    body = _Body(heard)
    response.deliverBody(body)
    await body.over


async def _body(response: Any) -> bytes:
    pieces: list[bytes] = []

    def keep(piece: bytes) -> bool:
        pieces.append(piece)
        return False

    await _deliver(response, keep)
    return b"".join(pieces)


def _refused(status: int, body: bytes) -> Refused:
    """An error as the manager tells it; one that it does not tell is told by its number."""
    try:
        error = json.loads(body)["error"]
        return Refused(status, str(error["code"]), str(error["message"]), str(error["hint"]))
    except (ValueError, KeyError, TypeError):
        return Refused(status, "unknown", f"found an answer with status {status}", "Is that socket a manager's?")
