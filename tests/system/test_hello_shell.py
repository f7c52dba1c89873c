"""
A shell script that says what the deployed installers say, against the real services on loopback.

The script knows only the words, their order and the commands of the images of 2018-2022 (docs/protocols/hello.md): it
is run by ``busybox nc HOST PORT -e SCRIPT`` as their ``init`` did, traces itself into the conversation, and fetches its
image with ``nc | gunzip | tar``.  A folder is its card.
"""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from piman.boot.image_tcp import ImageSettings, image_service
from piman.boot.images import ImageLibrary, in_thread
from piman.fleet.events import (
    ClockSet,
    Event,
    FormatOrdered,
    ImageInterrupted,
    ImageSent,
    ImageStarted,
    Installed,
    InstallerFailed,
    WordUnexpected,
)
from piman.fleet.model import IntentOrigin, Node
from piman.fleet.state.intents import IntentBook
from piman.hello import HelloSettings, hello_service
from piman.testing.fakes import (
    CapturedEvents,
    MemoryAddressBook,
    MemoryDirectory,
    MemoryIntentStore,
    MemoryNeighbours,
)
from tests.hello_support import MAC

LOOPBACK = IPv4Address("127.0.0.1")

# GENERATION: 1 before 2019-11, 2 before 2019-12, 3 before 2020-11, 4 later.
SCRIPT = r"""#!/bin/busybox sh
exec 2>&1
set -x

say() { echo "$1"; }

command_from_manager() {
    text=""
    while read -r line
    do
        [ "$line" = EOM ] && break
        text="$text$line"
    done
    echo "$text"
}

mount_card() {
    say MOUNTING
    if [ "$GENERATION" -ge 4 ]; then say FINISHED_MOUNTING; else say "FINISHED MOUNTING"; fi
}

fetch() {
    busybox nc "$MASTER" "$IMAGE_PORT" | busybox gunzip | busybox tar -xf - -C "$CARD"
}

format_card() {
    [ "$GENERATION" -ge 4 ] && say RECEIVED_FORMAT
    say FORMATTING
    find "$CARD" -mindepth 1 -delete
    say "FINISHED FORMATTING"
    [ "$GENERATION" -eq 1 ] && say IS_FORMATTED
    fetch
    mount_card
    [ "$GENERATION" -ge 2 ] && say IS_FORMATTED
    [ "$GENERATION" -ge 4 ] || exit 0
}

say "Hello World"
say "MAKING NODES"
mknod /nowhere/mmcblk0 b 179 0
say "MADE NODES"
say "CHECKING IF INSTALLED"
{ stat "$CARD/bin" && say IS_INSTALLED && ${UMOUNT:-true}; } || say IS_UNINSTALLED

while true
do
    request="$(command_from_manager)"
    [ -z "$request" ] && exit 1
    say "$request"
    case "$request" in
    boot)
        if [ "$GENERATION" -ge 4 ]; then say RECEIVED_BOOT; else say "RECIEVED BOOT"; fi
        mount_card
        echo booted >"$CARD.booted"
        exit 0
        ;;
    format)
        format_card
        ;;
    reinstall | ip)
        echo "$request" >"$CARD.forbidden"
        exit 0
        ;;
    "busybox date -s "*)
        if [ "$GENERATION" -ge 4 ]; then say RECEIVED_DATE; say SET_DATE
        elif [ "$GENERATION" -eq 3 ]; then say "RECEIVED DATE"
        else say "Sorry don't know how to do $request"; fi
        ;;
    *)
        say "Sorry don't know how to do $request"
        ;;
    esac
done
"""


def rootfs(path: Path, random_bytes: int = 700_000) -> None:
    """A small root file system, with a file that does not compress."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("bin/sh", b"#!"), ("etc/hostname", b"pi\n"), ("var/random", os.urandom(random_bytes))):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


class DeployedInstallerTests(TestCase):
    """Each generation of images, as a real process over real sockets."""

    timeout = 60

    def setUp(self) -> "Deferred[None]":
        """The services, one node behind 127.0.0.1, an empty card."""
        busybox = shutil.which("busybox")
        if busybox is None or b"-e PROG" not in subprocess.run([busybox, "nc", "--help"], capture_output=True).stderr:
            raise SkipTest("needs busybox with nc -e (Debian package busybox)")
        self.reactor: Any = global_reactor
        self.folder = Path(self.mktemp()).absolute()
        self.card = self.folder / "card"
        self.card.mkdir(parents=True)
        self.image = self.folder / "rootfs.tgz"
        rootfs(self.image)
        self.script = self.folder / "hello_protocol.sh"
        self.script.write_text(SCRIPT)
        self.script.chmod(0o755)
        self.events = CapturedEvents()
        self.store = MemoryIntentStore()
        self.neighbours = MemoryNeighbours()
        return Deferred.fromCoroutine(self.start())

    async def start(self) -> None:
        """The manager starts with what is on disk."""
        addresses = MemoryAddressBook({LOOPBACK: MAC})
        library = ImageLibrary({"default": str(self.image)}, run=in_thread(self.reactor))
        self.book = IntentBook(self.store, self.reactor, self.events)
        self.book.load()
        parts: dict[str, Any] = {
            "addresses": addresses,
            "intents": self.book,
            "images": library,
            "events": self.events,
        }
        self.hello = hello_service(
            self.reactor,
            settings=HelloSettings(port=0, address="127.0.0.1"),
            neighbours=self.neighbours,
            nodes=MemoryDirectory([Node(mac=MAC, address=LOOPBACK)]),
            **parts,
        )
        settings = ImageSettings(port=0, address="127.0.0.1")
        self.door = image_service(self.reactor, settings=settings, installers=self.hello, **parts)
        for service in (self.hello, self.door):
            service.privilegedStartService()
            service.startService()
            self.addCleanup(service.stopService)

    async def boot(self, generation: int, **environment: str) -> None:
        """The node starts once: its init calls nc, which runs the script."""
        command = ["busybox", "nc", "127.0.0.1", str(self.hello.port), "-e", str(self.script)]
        variables = {
            "PATH": os.environ["PATH"],
            "MASTER": "127.0.0.1",
            "IMAGE_PORT": str(self.door.port),
            "CARD": str(self.card),
            "GENERATION": str(generation),
            **environment,
        }
        await deferToThread(subprocess.run, command, env=variables, timeout=30, stdin=subprocess.DEVNULL)
        await self.until(lambda: not self.hello._open)

    async def until(self, holds: Callable[[], object]) -> None:
        """Let the reactor turn until it holds; the timeout of the test is the limit."""
        while not holds():
            await deferLater(self.reactor, 0.01, lambda: None)

    def count(self, kind: type[Event]) -> int:
        """Events of a class."""
        return len(self.events.of(kind))

    def is_booted(self) -> bool:
        """Whether the node was told to boot since the last look."""
        mark = Path(f"{self.card}.booted")
        booted = mark.exists()
        mark.unlink(missing_ok=True)
        return booted

    def check_card(self) -> None:
        """The card holds the image, file by file; nothing forbidden was sent."""
        with tarfile.open(self.image) as archive:
            for entry in archive:
                packed = archive.extractfile(entry)
                assert packed is not None
                self.assertEqual((self.card / entry.name).read_bytes(), packed.read())
        self.assertFalse(Path(f"{self.card}.forbidden").exists())

    async def check_life(self, generation: int) -> None:
        """An empty card is installed, the next start boots, a reinstallation formats once more."""
        await self.boot(generation)
        self.check_card()
        self.assertEqual((self.count(FormatOrdered), self.count(ImageSent), self.count(Installed)), (1, 1, 1))
        self.is_booted()
        await self.boot(generation)
        self.assertTrue(self.is_booted())
        self.assertEqual(self.count(FormatOrdered), 1)
        (self.card / "rubbish").write_text("x")
        await self.book.open_intent(MAC, IntentOrigin.OPERATOR, "default")
        await self.boot(generation)
        self.check_card()
        self.assertFalse((self.card / "rubbish").exists())
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (2, 2))
        self.assertEqual(self.count(InstallerFailed), 0, self.events.of(InstallerFailed))
        self.assertEqual(self.count(WordUnexpected), 0, self.events.of(WordUnexpected))

    async def test_before_2019_11(self) -> None:
        """Images that say IS_FORMATTED before they fetch are installed, boot and are reinstalled."""
        await self.check_life(1)
        self.assertEqual(self.count(ClockSet), 0)

    async def test_before_2019_12(self) -> None:
        """Images that are sorry about the date are installed, boot and are reinstalled."""
        await self.check_life(2)
        self.assertEqual(self.count(ClockSet), 0)

    async def test_before_2020_11(self) -> None:
        """Images with the old spellings are installed, boot and are reinstalled."""
        await self.check_life(3)
        self.assertGreater(self.count(ClockSet), 0)

    async def test_later(self) -> None:
        """Images that wait for boot after IS_FORMATTED are installed and told to boot in one conversation."""
        await self.check_life(4)
        self.assertTrue(self.is_booted())
        self.assertGreater(self.count(ClockSet), 0)

    async def test_installed_then_uninstalled(self) -> None:
        """A failing umount makes the script say both; the card is kept and booted."""
        for generation in (1, 2, 3, 4):
            (self.card / "bin").mkdir(exist_ok=True)
            (self.card / "precious").write_text("data")
            await self.boot(generation, UMOUNT="false")
            self.assertTrue(self.is_booted())
            self.assertTrue((self.card / "precious").exists())
        self.assertEqual(self.count(WordUnexpected), 4)
        self.assertEqual(self.count(FormatOrdered), 0)

    async def test_installed_then_uninstalled_with_an_intent(self) -> None:
        """With an operator's intent the same script is formatted once, not twice."""
        (self.card / "bin").mkdir()
        await self.book.open_intent(MAC, IntentOrigin.OPERATOR, "default")
        await self.boot(4, UMOUNT="false")
        self.check_card()
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (1, 1))

    async def test_image_that_cannot_be_had(self) -> None:
        """A node whose image door is shut ends its fetch at once and is installed at the next start."""
        shut = self.door.port
        await self.door.stopService()
        await self.boot(2, IMAGE_PORT=str(shut))
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (1, 0))
        self.door.startService()
        await self.boot(2)
        self.check_card()
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (2, 1))

    async def test_image_cut_off(self) -> None:
        """A stream that is cut off is not called installed, though the script says so; the next start repairs it."""
        rootfs(self.image, 20_000_000)
        script = SCRIPT.replace("busybox gunzip", "busybox head -c 100000 | busybox gunzip")
        self.script.write_text(script)
        await self.boot(3)
        self.assertEqual((self.count(ImageInterrupted), self.count(Installed)), (1, 0))
        self.script.write_text(SCRIPT)
        await self.boot(3)
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (2, 1))

    async def test_manager_stopped_in_between(self) -> None:
        """A manager that goes away during the stream installs again after its return, and only then says Installed."""
        rootfs(self.image, 20_000_000)
        self.script.write_text(SCRIPT.replace("| busybox gunzip", "| { sleep 1; busybox gunzip; }"))
        booting = Deferred.fromCoroutine(self.boot(3))
        await self.until(lambda: self.count(ImageStarted))
        for service in (self.hello, self.door):
            await service.stopService()
        await booting
        await self.start()
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (1, 0))
        self.script.write_text(SCRIPT)
        await self.boot(3)
        self.check_card()
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (2, 1))

    async def test_manager_restarted_afterwards(self) -> None:
        """A restarted manager boots what was installed before."""
        await self.boot(3)
        for service in (self.hello, self.door):
            await service.stopService()
        await self.start()
        self.is_booted()
        await self.boot(3)
        self.assertTrue(self.is_booted())
        self.assertEqual((self.count(FormatOrdered), self.count(Installed)), (1, 1))

    async def test_another_mac_is_there(self) -> None:
        """When the neighbour table shows another board at the address, the card is not touched."""
        self.neighbours.entries[LOOPBACK] = type(MAC).parse("b8:27:eb:99:99:99")
        (self.card / "precious").write_text("data")
        await self.boot(3)
        self.assertTrue((self.card / "precious").exists())
        self.assertEqual(self.count(FormatOrdered), 0)
