"""
The installer that we ship, run under busybox against the real hello service and the real HTTP door: conversations
that break, and managers that restart, while it is at work.

The card is made of files (:mod:`tests.test_initram`); everything that is said and fetched goes through real sockets on
loopback.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from piman.boot.image_http import ImageHTTPSettings, image_http_service
from piman.boot.images import ImageLibrary, in_thread
from piman.fleet.events import (
    BootOrdered,
    Event,
    FormatOrdered,
    ImageInterrupted,
    ImageSent,
    ImageStarted,
    Installed,
    InstallerConnected,
    InstallerFailed,
    InstallerReported,
    IntentClosed,
)
from piman.fleet.model import IntentOrigin, MACAddress, Node
from piman.fleet.state.intents import IntentBook
from piman.hello import HelloSettings, hello_service
from piman.testing.fakes import (
    CapturedEvents,
    MemoryAddressBook,
    MemoryDirectory,
    MemoryIntentStore,
    MemoryNeighbours,
)
from tests.test_initram import BUSYBOX, Card, root_archive

MAC = MACAddress.parse("b8:27:eb:01:02:03")
LOOPBACK = IPv4Address("127.0.0.1")
HALF = "in the middle"
GATE = """
report_share() {{
    progress unpack 0.50 "{half}"
    until [ -e {folder}/gate ]; do sleep 0.1; done
}}
"""
"""After its first piece of the image the installer waits until the test lets it go on."""


class ResumeTests(TestCase):
    """Each test is one installation that does not go smoothly."""

    timeout = 60

    def setUp(self) -> "Deferred[None]":
        """A node without a system, and a manager."""
        if not BUSYBOX.exists():
            raise SkipTest("there is no /bin/busybox: apt-get install busybox-static")
        self.reactor: Any = global_reactor
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(self.end_work)
        self.card = Card(self.folder)
        self.image = self.folder / "rootfs.tgz"
        self.image.write_bytes(root_archive(9_000_000))
        self.events = CapturedEvents()
        self.store = MemoryIntentStore()
        self.hello_port = self.http_port = 0
        return Deferred.fromCoroutine(self.start())

    async def start(self) -> None:
        """The manager starts with what is on disk, at the ports where it was."""
        self.book = IntentBook(self.store, self.reactor, self.events)
        self.book.load()
        parts: dict[str, Any] = {
            "addresses": MemoryAddressBook({LOOPBACK: MAC}),
            "intents": self.book,
            "images": ImageLibrary({"default": str(self.image)}, run=in_thread(self.reactor)),
            "events": self.events,
        }
        settings = ImageHTTPSettings(port=self.http_port, address="127.0.0.1")
        self.door = image_http_service(self.reactor, settings=settings, **parts)
        self.door.privilegedStartService()
        self.door.startService()
        self.addCleanup(self.door.stopService)
        self.http_port = self.door.port
        self.hello = hello_service(
            self.reactor,
            settings=HelloSettings(port=self.hello_port, address="127.0.0.1", http_port=self.http_port),
            neighbours=MemoryNeighbours(),
            nodes=MemoryDirectory([Node(mac=MAC, address=LOOPBACK)]),
            **parts,
        )
        self.hello.privilegedStartService()
        self.hello.startService()
        self.addCleanup(self.hello.stopService)
        self.hello_port = self.hello.port

    def call(self) -> "Deferred[int]":
        """What init does: nc runs the installer; fires with its status."""
        program = self.card.program("main call", GATE.format(folder=self.folder, half=HALF))
        command = [BUSYBOX, "nc", "-w", "15", "127.0.0.1", str(self.hello_port), "-e", str(program)]
        environment = {**self.card.environment, "manager": "127.0.0.1", "hello_port": str(self.hello_port)}

        def run() -> int:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=50,
                check=False,
            )
            return done.returncode

        return deferToThread(run)

    def end_work(self) -> None:
        """A test that failed leaves no process behind: the work is a process group of its own."""
        try:
            group = int((self.card.scratch / "work").read_text())
            os.killpg(group, signal.SIGKILL)
        except (OSError, ValueError):
            pass

    def go_on(self) -> None:
        """The installer takes the rest of its image."""
        (self.folder / "gate").touch()

    async def until(self, holds: Callable[[], object]) -> None:
        """Let the reactor turn until it holds; the timeout of the test is the limit."""
        while not holds():
            await deferLater(self.reactor, 0.01)

    def count(self, kind: type[Event]) -> int:
        """Events of a class."""
        return len(self.events.of(kind))

    async def until_half(self) -> None:
        """Until the manager has heard that the node is in the middle of its image."""
        await self.until(lambda: any(HALF in str(event) for event in self.events.of(InstallerReported)))

    def break_off(self) -> None:
        """The line breaks: the manager's end of the conversation is gone."""
        for protocol in tuple(self.hello._open):
            protocol.transport.abortConnection()

    async def stop(self) -> None:
        """The manager goes away."""
        await self.hello.stopService()
        await self.door.stopService()

    def check_installed(self, formats: int = 1) -> None:
        """The card holds the image, the intent is fulfilled once, and the node was told to boot."""
        self.assertEqual((self.card.root / "stamp").read_bytes(), b"new")
        self.assertTrue((self.card.root / ".piman-installed").exists())
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (formats, 1))
        self.assertEqual(self.count(BootOrdered), 1)
        self.assertEqual(self.card.calls.read_text().splitlines().count("write_partitions"), formats)

    async def test_smooth(self) -> None:
        """In one conversation: formatted, filled, verified, booted."""
        self.go_on()
        self.assertEqual(await self.call(), 0)
        self.check_installed()
        self.assertEqual((self.count(InstallerConnected), self.count(ImageSent)), (1, 1))

    async def test_the_conversation_breaks(self) -> None:
        """The work goes on, the node calls again with its token, and tells the end of the work there."""
        running = self.call()
        await self.until_half()
        self.break_off()
        await self.until(lambda: self.hello.intent_at_work(MAC) is None)
        await self.until(lambda: self.hello.intent_at_work(MAC) is not None)
        self.go_on()
        self.assertEqual(await running, 0)
        self.check_installed()
        self.assertEqual((self.count(InstallerConnected), self.count(ImageInterrupted)), (2, 0))
        self.assertEqual(self.count(ImageStarted), 1)

    async def test_the_conversation_breaks_twice(self) -> None:
        """A conversation that was taken up may break too."""
        running = self.call()
        await self.until_half()
        for _ in range(2):
            self.break_off()
            await self.until(lambda: self.hello.intent_at_work(MAC) is None)
            await self.until(lambda: self.hello.intent_at_work(MAC) is not None)
        self.go_on()
        self.assertEqual(await running, 0)
        self.check_installed()
        self.assertEqual(self.count(InstallerConnected), 3)

    async def test_the_manager_restarts(self) -> None:
        """A restart in the middle of the image costs no second format: the rest is asked for, the token is durable."""
        running = self.call()
        await self.until_half()
        await self.stop()
        await self.start()
        self.go_on()
        self.assertEqual(await running, 0)
        self.check_installed()
        # The new manager sent the rest only, and does not know of the beginning: the digest was the proof.
        self.assertEqual((self.count(ImageInterrupted), self.count(ImageSent)), (1, 0))

    async def test_the_operator_orders_anew(self) -> None:
        """A token of an intent that is over resumes nothing: the work is stopped, and the card formatted anew."""
        running = self.call()
        await self.until_half()
        await self.book.open_intent(MAC, IntentOrigin.OPERATOR, "default")
        self.break_off()
        await self.until(lambda: self.count(FormatOrdered) == 2)
        self.go_on()
        self.assertEqual(await running, 0)
        self.check_installed(formats=2)

    async def test_a_failure_that_nobody_heard(self) -> None:
        """FAILED that was said into a broken conversation is said again in the next one, and ends the intent."""
        self.image.write_bytes(root_archive(9_000_000, with_init=False))
        running = self.call()
        await self.until_half()
        await self.hello.stopService()
        self.go_on()
        self.assertEqual(await running, 1)
        self.hello.startService()
        self.hello_port = self.hello.port
        self.assertEqual(await self.call(), 1)
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (1, 0))
        reasons = [event.reason for event in self.events.of(IntentClosed) if isinstance(event, IntentClosed)]
        self.assertEqual(reasons, ["the image holds no /sbin/init: no system can start"])
        self.assertEqual(self.count(InstallerFailed), 1)
