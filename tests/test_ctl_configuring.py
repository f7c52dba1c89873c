"""
Tests for :mod:`piman.ctl.configuring`: ``piman config``.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import Site
from twisted.web.test.requesthelper import DummyRequest

from piman.ctl.client import JSON, NoManager, NotAllowed
from piman.ctl.configuring import WAITS, ConfigOptions, Neighbour, root, service
from piman.web.access.guard import AccessSettings, Guard
from tests.editing_support import AtADesk

from twisted.internet.testing import MemoryReactorClock  # isort: skip


class _Manager:
    """What a manager answers."""

    def __init__(self, path: Path | None, wrong: Exception | None = None) -> None:
        self.path = path
        self.wrong = wrong
        self.asked: list[str] = []

    async def get(self, path: str) -> JSON:
        """Which file it goes by."""
        if self.wrong is not None:
            raise self.wrong
        return {"path": str(self.path)}

    async def post(self, path: str) -> JSON:
        """It reads again."""
        self.asked.append(path)
        return {"taken": True, "at_once": ["hosts"], "at_restart": [], "warnings": [], "note": ""}


class NeighbourTests(AtADesk):
    """The manager beside it."""

    def neighbour(self, manager: _Manager) -> Neighbour:
        """The one that is asked."""
        self.sockets: list[Path] = []

        def ask(path: Path) -> Any:
            self.sockets.append(path)
            return manager

        return Neighbour(self.path, ask)

    def test_told(self) -> None:
        """A manager with the same file is asked to read it again, at the socket that the file names."""
        manager = _Manager(self.path)
        found = self.successResultOf(Deferred.fromCoroutine(self.neighbour(manager).apply()))
        self.assertEqual((found.taken, found.at_once), (True, ("hosts",)))
        self.assertEqual(manager.asked, ["/api/v1/config/apply"])
        self.assertEqual(self.sockets, [self.folder / "state" / "control.sock"])
        self.assertIn("at once", self.successResultOf(Deferred.fromCoroutine(self.neighbour(manager).note())))

    def test_none(self) -> None:
        """Without a manager, or with a file that has mistakes, the files wait for its start."""
        manager = _Manager(None, NoManager("nobody"))
        for _ in range(2):
            found = self.successResultOf(Deferred.fromCoroutine(self.neighbour(manager).apply()))
            self.assertEqual((found.taken, found.note), (False, WAITS))
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.neighbour(manager).note())), "")
            self.path.write_text("nonsense")

    def test_another_file(self) -> None:
        """A manager that goes by another file is left alone."""
        manager = _Manager(self.folder / "other.yaml")
        found = self.successResultOf(Deferred.fromCoroutine(self.neighbour(manager).apply()))
        self.assertIn("another file", found.note)
        self.assertEqual(manager.asked, [])

    def test_not_allowed(self) -> None:
        """A manager whose socket is not for us is told of."""
        manager = _Manager(self.path, NotAllowed("the socket is not for you"))
        found = self.successResultOf(Deferred.fromCoroutine(self.neighbour(manager).apply()))
        self.assertIn("not for you", found.note)
        self.assertFalse(found.taken)


class OptionsTests(AtADesk):
    """The command line."""

    def parse(self, *words: str) -> ConfigOptions:
        """Options of a command line."""
        options = ConfigOptions()
        options.parseOptions(list(words))
        return options

    def test_names(self) -> None:
        """As the original took them; whatever the files are called."""
        options = self.parse("Dubai", str(self.folder / ".yaml"), str(self.folder / "boards"), "--port", "5001")
        found = (options["organisation"], options["config"].name, options["hosts"].name, options["port"])
        self.assertEqual(found, ("Dubai", ".yaml", "boards", 5001))
        self.assertIsNone(self.parse("Dubai")["hosts"])

    def test_mistakes(self) -> None:
        """No organisation, too many names, no such folder, no such port: one line, status 2."""
        for words in ((), ("a", "b", "c", "d"), ("a", "/nowhere/at/all.yaml"), ("a", "--port", "70000")):
            told = io.StringIO()
            with contextlib.redirect_stderr(told):
                self.assertEqual(self.assertRaises(SystemExit, self.parse, *words).code, 2)
            self.assertEqual(told.getvalue().count("\n"), 1)


class SiteTests(AtADesk):
    """What is served."""

    def test_loopback(self) -> None:
        """The port is bound on the loopback alone."""
        reactor = MemoryReactorClock()
        options = ConfigOptions()
        options.parseOptions(["Dubai", str(self.path), str(self.hosts_path)])
        found = service(reactor, options, lambda path: None)  # type: ignore[arg-type,return-value]
        found.privilegedStartService()
        self.assertEqual([(each[0], each[3]) for each in reactor.tcpServers], [(5000, "127.0.0.1")])
        self.assertIsInstance(reactor.tcpServers[0][1], Site)

    def test_guarded(self) -> None:
        """A name that is not this machine's is refused, and so is everything but the two pages."""
        reactor: Any = MemoryReactorClock()
        options = ConfigOptions()
        options.parseOptions(["Dubai", str(self.path), str(self.hosts_path)])
        made = root(reactor, options, lambda path: None, Guard(reactor, AccessSettings()))  # type: ignore[arg-type,return-value]
        self.assertEqual(self.status(made, b"config", b"evil.example"), 421)
        self.assertEqual(self.status(made, b"nodes", b"localhost:5000"), 404)
        self.assertEqual(self.status(made, b"", b"localhost:5000"), 303)

    def status(self, made: Any, first: bytes, host: bytes) -> int | None:
        """The status of a refusal, or of a way elsewhere."""
        request: Any = DummyRequest([first])
        request.uri = request.path = b"/" + first
        request.prepath, request.postpath = [first], []
        request.requestHeaders.setRawHeaders(b"host", [host])
        address = type("Address", (), {"host": "127.0.0.1"})()
        request.getClientAddress = request.getHost = lambda: address
        request.setComponent = lambda *args: None
        request.isSecure = lambda: False
        resource = made.getChildWithDefault(first, request)
        resource.render(request)
        return request.responseCode
