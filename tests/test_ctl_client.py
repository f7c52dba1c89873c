"""
Tests for :mod:`piman.ctl.client`: what is said when the manager is not there, or says no.
"""

import errno
from pathlib import Path
from typing import Any

from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed

from piman.ctl.client import ManagerClient, NoManager, NotAllowed, Refused, WentAway, http_over

SOCKET = Path("/run/piman/control.sock")


class FailingHTTP:
    """Every request fails with the same."""

    def __init__(self, reason: Exception) -> None:
        self._reason = reason

    def request(self, method: str, url: str, **options: Any) -> "Deferred[Any]":
        """Fail."""
        return fail(self._reason)


class AnswerTests(SynchronousTestCase):
    """Answers."""

    def client(self, status: int, body: bytes) -> ManagerClient:
        """Of a manager that always answers so."""
        stub = StubTreq(StringStubbingResource(lambda *request: (status, {}, body)))
        return ManagerClient(Clock(), SOCKET, stub)

    def test_good(self) -> None:
        """A good answer is its JSON."""
        client = self.client(200, b'{"a": 1}')
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(client.get("/x"))), {"a": 1})

    def test_refused(self) -> None:
        """A refusal has its code, and is said with what to do."""
        client = self.client(409, b'{"error": {"code": "refused", "message": "it is busy", "hint": "Wait."}}')
        refused = self.failureResultOf(Deferred.fromCoroutine(client.post("/x", {})), Refused).value
        self.assertEqual((refused.status, refused.code, str(refused)), (409, "refused", "it is busy. Wait."))

    def test_somebody_else(self) -> None:
        """An error that is not a manager's is told by its status."""
        for body in (b"", b"<html>", b'{"error": 1}', b"[]"):
            asked = Deferred.fromCoroutine(self.client(404, body).get("/x"))
            self.assertIn("status 404", str(self.failureResultOf(asked, Refused).value))

    def test_names(self) -> None:
        """A name with any characters stays one part of the path, and parameters are escaped."""
        asked: list[tuple[Any, ...]] = []

        def answer(*request: Any) -> tuple[int, dict[bytes, bytes], bytes]:
            asked.append(request)
            return 200, {}, b"{}"

        client = ManagerClient(Clock(), SOCKET, StubTreq(StringStubbingResource(answer)))
        self.successResultOf(Deferred.fromCoroutine(client.get("/nodes/a b?c", node="x&y")))
        self.assertEqual(asked[0][1], "http://piman/nodes/a%20b%3Fc")
        self.assertEqual(asked[0][2], {b"node": [b"x&y"]})


class UnreachableTests(SynchronousTestCase):
    """No answer."""

    def reason(self, error: Exception) -> Exception:
        """What is said of a request that failed so."""
        client = ManagerClient(Clock(), SOCKET, FailingHTTP(error))
        return self.failureResultOf(Deferred.fromCoroutine(client.get("/x"))).value

    def test_nobody(self) -> None:
        """No socket, and a socket at which nobody listens: there is no manager, and the socket is named."""
        for error in (ConnectError(errno.ENOENT), ConnectionRefusedError(errno.ECONNREFUSED)):
            reason = self.reason(error)
            self.assertIsInstance(reason, NoManager)
            self.assertEqual(str(reason), f"no manager answers at {SOCKET}")

    def test_not_allowed(self) -> None:
        """A socket that is not for us is no missing manager: nobody must go round it to the switches."""
        reason = self.reason(ConnectError(errno.EACCES))
        self.assertIsInstance(reason, NotAllowed)
        self.assertIn("group", str(reason))

    def test_went_away(self) -> None:
        """A manager that ends before it answers may have taken the order."""
        self.assertIsInstance(self.reason(ResponseFailed([Failure(ConnectError())])), WentAway)

    def test_no_folder(self) -> None:
        """A socket with a long path in a folder that is not there: no manager either."""
        self.assertRaises(NoManager, http_over, Clock(), Path("/nonsense") / ("x" * 120) / "control.sock")
