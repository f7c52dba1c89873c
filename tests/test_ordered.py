"""
Tests for :mod:`piman.ordered`.
"""

import io

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from piman.ordered import OrderedService, StartupError, say_in_one_line


class _Child(Service):
    """Writes down what is done to it."""

    def __init__(self, name: str, book: list[str], fails: Exception | None = None) -> None:
        self.setName(name)
        self.book = book
        self.fails = fails
        self.stopping: Deferred[None] | None = None

    def privilegedStartService(self) -> None:
        if self.fails:
            raise self.fails
        self.book.append(f"bind {self.name}")

    def startService(self) -> None:
        self.book.append(f"start {self.name}")

    def stopService(self) -> "Deferred[None] | None":
        self.book.append(f"stop {self.name}")
        return self.stopping


def _service(*children: _Child) -> OrderedService:
    service = OrderedService()
    for child in children:
        child.setServiceParent(service)
    return service


class OrderTests(SynchronousTestCase):
    """First to last, and back."""

    def setUp(self) -> None:
        """An empty book."""
        self.book: list[str] = []

    def test_stops_in_reverse_one_after_the_other(self) -> None:
        """The first child is stopped only after the second has finished stopping."""
        first, second = _Child("first", self.book), _Child("second", self.book)
        service = _service(first, second)
        service.startService()
        second.stopping = Deferred()
        done = service.stopService()
        self.assertEqual(self.book, ["start first", "start second", "stop second"])
        second.stopping.callback(None)
        self.successResultOf(done)
        self.assertEqual(self.book[-1], "stop first")

    def test_failure_to_stop(self) -> None:
        """A child that fails to stop is logged, and the others are stopped all the same."""
        first, second = _Child("first", self.book), _Child("second", self.book)
        service = _service(first, second)
        second.stopping = Deferred()
        done = service.stopService()
        second.stopping.errback(RuntimeError("stuck"))
        self.successResultOf(done)
        self.assertEqual(self.book, ["stop second", "stop first"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_taken_port(self) -> None:
        """A child that cannot bind stops those before it and is named with its reason; those after it never begin."""
        taken = _Child("dhcp", self.book, CannotListenError("0.0.0.0", 67, "taken: stop dnsmasq"))
        service = _service(_Child("store", self.book), taken, _Child("web", self.book))
        error = self.assertRaises(StartupError, service.privilegedStartService)
        self.assertIn("dhcp cannot start", str(error))
        self.assertIn("stop dnsmasq", str(error))
        self.assertEqual(self.book[0], "bind store")
        self.assertIn("stop store", self.book)
        self.assertNotIn("bind web", self.book)


class OneLineTests(SynchronousTestCase):
    """What a user sees when the manager cannot start."""

    def test_startup_error(self) -> None:
        """Only the text, no traceback."""
        stream = io.StringIO()
        say_in_one_line(self.fail, stream)(StartupError, StartupError("dhcp cannot start: taken"), None)
        self.assertEqual(stream.getvalue(), "piman: dhcp cannot start: taken\n")

    def test_other_error(self) -> None:
        """A mistake of ours keeps its traceback."""
        seen: list[object] = []
        error = ValueError("ours")
        say_in_one_line(lambda *report: seen.extend(report))(ValueError, error, None)
        self.assertEqual(seen, [ValueError, error, None])
