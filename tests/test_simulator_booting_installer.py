"""
The installer: both versions of the hello protocol, the image over HTTP and as a raw stream.
"""

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.card import Card
from piman.simulator.booting.dhcp_client import Lease
from piman.simulator.booting.http_client import Download, Refused
from piman.simulator.booting.installer import install
from piman.simulator.booting.journal import Step
from piman.wire import hello
from tests.simulator_support import ADDRESS, SERVER, Bench

IMAGE = b"a root file system" * 100
DIGEST = sha256(IMAGE).hexdigest()
URL = f"http://172.30.4.1:4480/images/{DIGEST}?token=77"
ORDER = hello.FormatOrder(url=URL, sha256=DIGEST, size=len(IMAGE), image="default").to_wire()
LEASE = Lease(address=ADDRESS, server=SERVER, boot_server=SERVER, seconds=600.0)
DATE = b"busybox date -s 202611231115.30\nEOM\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1800\r\n\r\n"


def calling(version: int = 2, card: Card | None = None) -> tuple[Bench, Card]:
    """A board whose installer has just connected."""
    bench, card = Bench(), card or Card()
    bench.run(install(bench.machine, card, LEASE, SERVER, version))
    bench.stream.open()
    return bench, card


def installed() -> Card:
    """A card with a system."""
    card = Card()
    card.keep(DIGEST)
    return card


class Version2Tests(SynchronousTestCase):
    """What our own initramfs says and does."""

    def ordered(self) -> tuple[Bench, Card]:
        """A board that was told to format and asks for its image now."""
        bench, card = calling()
        bench.stream.receive(DATE + b"WELCOME 2\n" + ORDER)
        bench.clock.pump([1.0] * 40)
        return bench, card

    def test_greeting(self) -> None:
        """The first line says who calls and that nothing is on the card."""
        bench, _ = calling()
        self.assertEqual(bench.stream.peer, (str(SERVER), 3333))
        greeting = hello.from_wire_2(bench.stream.written)
        assert isinstance(greeting, hello.Hello)
        self.assertEqual((greeting.mac, greeting.serial), (bench.board.mac, bench.board.serial))
        self.assertEqual((greeting.installed, greeting.digest), (False, ""))

    def test_boot(self) -> None:
        """BOOT ends the conversation when there is a system on the card."""
        bench, _ = calling(card=installed())
        self.assertIn(f'"installed":true,"digest":"{DIGEST}"', bench.stream.written.decode())
        bench.stream.receive(DATE + b"WELCOME 2\nBOOT\n")
        self.assertTrue(bench.result)
        self.assertFalse(bench.stream.is_open)

    def test_boot_without_system(self) -> None:
        """BOOT with an empty card is a failure, said in words."""
        bench, _ = calling()
        bench.stream.receive(b"WELCOME 2\nBOOT\n")
        self.assertIn("FAILED", bench.stream.lines()[-1])
        self.assertFalse(bench.has_ended)

    def test_clock(self) -> None:
        """The manager's date is taken, and said so once."""
        bench, _ = calling()
        bench.stream.lines()
        bench.stream.receive(DATE + b"WELCOME 2\n")
        self.assertEqual(bench.stream.lines(), ["CLOCK_SET"])
        # date -u -d "2026-11-23 11:15:30" +%s
        self.assertEqual(bench.journal.clock_error, 1_795_432_530.0)

    def test_installs(self) -> None:
        """Partitions, file systems, image, digest: the card holds it, and BOOT is waited for."""
        bench, card = self.ordered()
        conversation, image = bench.network.streams
        self.assertEqual(image.peer, ("172.30.4.1", 4480))
        image.open()
        request = image.written.decode()
        self.assertTrue(request.startswith(f"GET /images/{DIGEST}?token=77 HTTP/1.1\r\nHost: 172.30.4.1:4480\r\n"))
        self.assertIn("Range: bytes=0-\r\n", request)
        self.assertTrue(card.is_installing)
        image.receive(OK + IMAGE)
        bench.clock.advance(6.0)
        self.assertTrue(card.is_installed)
        self.assertEqual(card.digest, DIGEST)
        words = [line.split()[0] for line in conversation.lines()]
        self.assertEqual(words[0], "HELLO")
        self.assertEqual((words[-1], bench.journal.installations), ("IS_FORMATTED", 1))
        conversation.receive(b"BOOT\n")
        self.assertTrue(bench.result)
        steps = [step for step, _ in bench.journal.steps]
        self.assertEqual(steps, [Step.GREETING, Step.FORMATTING, Step.IMAGING])

    def test_resumes(self) -> None:
        """When the image breaks off, the rest is asked for, and the whole is hashed."""
        bench, card = self.ordered()
        bench.stream.open()
        bench.stream.receive(OK + IMAGE[:700])
        bench.stream.end()
        bench.clock.advance(2.0)
        self.assertEqual(len(bench.network.streams), 3)
        bench.stream.open()
        self.assertIn("Range: bytes=700-\r\n", bench.stream.written.decode())
        bench.stream.receive(b"HTTP/1.1 206 Partial Content\r\n\r\n" + IMAGE[700:])
        bench.clock.advance(6.0)
        self.assertEqual(card.digest, DIGEST)

    def test_damaged(self) -> None:
        """An image with another digest is not kept."""
        bench, card = self.ordered()
        bench.stream.open()
        bench.stream.receive(OK + IMAGE[:-1] + b"?")
        self.assertIn("damaged", bench.network.streams[0].lines()[-1])
        self.assertFalse(card.is_installed)

    def test_refused(self) -> None:
        """A 4xx ends the attempt, and says which."""
        bench, card = self.ordered()
        bench.stream.open()
        bench.stream.receive(b"HTTP/1.1 410 Gone\r\n\r\nThe installation is over.\n")
        self.assertIn("HTTP 410", bench.network.streams[0].lines()[-1])
        self.assertTrue(card.is_installing)

    def test_busy(self) -> None:
        """A 503 is asked again, and its body is no part of the image."""
        bench, _ = self.ordered()
        bench.stream.open()
        bench.stream.receive(b"HTTP/1.1 503 Busy\r\n\r\nToo many nodes fetch images.\n")
        bench.clock.advance(2.0)
        bench.stream.open()
        self.assertIn("Range: bytes=0-\r\n", bench.stream.written.decode())

    def test_conversation_breaks(self) -> None:
        """The work goes on when the conversation breaks; the node calls again with its token and ends it there."""
        bench, card = self.ordered()
        conversation, image = bench.network.streams
        image.open()
        image.receive(OK + IMAGE[:700])
        conversation.end()
        bench.clock.advance(1.0)
        again = bench.stream
        self.assertEqual(again.peer, (str(SERVER), 3333))
        again.open()
        self.assertIn('"installed":false,"digest":"","token":"77"', again.lines()[0])
        again.receive(DATE + b"WELCOME 2\nCONTINUE\n")
        self.assertEqual([line.split()[0] for line in again.lines()], ["CLOCK_SET", "PROGRESS"])
        image.receive(IMAGE[700:])
        bench.clock.advance(6.0)
        self.assertEqual(card.digest, DIGEST)
        self.assertEqual(again.lines()[-1], f'IS_FORMATTED {{"sha256":"{DIGEST}"}}')
        again.receive(b"BOOT\n")
        self.assertTrue(bench.result)
        self.assertFalse(again.is_open)
        self.assertEqual(len(bench.network.streams), 3)

    def test_nobody_answers_meanwhile(self) -> None:
        """While it works it calls after 1, 2, 4, 8, 16 and then every 30 s; a finished card tells its digest."""
        bench, _ = self.ordered()
        conversation, image = bench.network.streams
        conversation.end()
        image.open()
        image.receive(OK + IMAGE[:700])
        calls = []
        for second in range(100):
            if len(bench.network.streams) > 2 and bench.stream.is_open:
                calls.append(second)
                bench.stream.end()
            if second % 50 == 0:
                image.receive(IMAGE[700 + second : 750 + second])
            bench.clock.advance(1.0)
        self.assertEqual(calls, [1, 3, 7, 15, 31, 61, 91])
        image.receive(IMAGE[800:])
        bench.clock.pump([1.0] * 16)
        bench.stream.open()
        greeting = bench.stream.written.decode()
        self.assertIn(f'"installed":true,"digest":"{DIGEST}"', greeting)
        self.assertNotIn("token", greeting)

    def test_ordered_anew(self) -> None:
        """FORMAT while it works stops the work and begins anew; BOOT means nothing meanwhile."""
        bench, card = self.ordered()
        conversation, image = bench.network.streams
        image.open()
        conversation.receive(b"BOOT\n" + ORDER.replace(b"token=77", b"token=88"))
        self.assertFalse(image.is_open)
        bench.clock.pump([1.0] * 40)
        bench.stream.open()
        self.assertIn(f"GET /images/{DIGEST}?token=88 HTTP/1.1", bench.stream.written.decode())
        bench.stream.receive(OK + IMAGE)
        bench.clock.advance(6.0)
        self.assertEqual((card.digest, bench.journal.installations), (DIGEST, 1))

    def test_unheard_failure(self) -> None:
        """FAILED that was said into a broken conversation is said again in the next one."""
        bench, _ = self.ordered()
        conversation, image = bench.network.streams
        conversation.end()
        image.open()
        image.receive(b"HTTP/1.1 410 Gone\r\n\r\nThe installation is over.\n")
        bench.clock.pump([1.0] * 11)
        bench.stream.open()
        self.assertIn('"token":"77"', bench.stream.lines()[0])
        bench.stream.receive(b"WELCOME 2\nCONTINUE\n")
        self.assertIn("HTTP 410", bench.stream.lines()[-1])

    def test_gives_up(self) -> None:
        """The image is given up after five minutes without a byte."""
        bench, _ = self.ordered()
        for _ in range(400):
            bench.stream.end()
            bench.clock.advance(1.0)
        self.assertIn("ended at byte 0", bench.network.streams[0].lines()[-1])

    def test_calls_again(self) -> None:
        """Nobody there: 10 s, then twice as long up to 120 s; after ten failures the board restarts."""
        bench = Bench()
        bench.run(install(bench.machine, Card(), LEASE, SERVER, 2))
        calls = []
        for second in range(1200):
            if bench.network.streams[-1].is_open:
                calls.append(second)
                bench.stream.end()
            bench.clock.advance(1.0)
        self.assertEqual(calls, [0, 10, 30, 70, 150, 270, 390, 510, 630, 750])
        self.assertEqual((bench.has_ended, bench.result), (True, False))

    def test_unanswered_call(self) -> None:
        """A connection that does not come about within 15 s is given up."""
        bench = Bench()
        bench.run(install(bench.machine, Card(), LEASE, SERVER, 2))
        bench.clock.pump([5.0] * 3)
        self.assertFalse(bench.stream.is_open)


class Version1Tests(SynchronousTestCase):
    """What images of 2020 say and do."""

    def test_installs(self) -> None:
        """format, the raw stream until its end, IS_FORMATTED; then boot and, 5 s later, the system."""
        bench, card = calling(1)
        lines = bench.stream.lines()
        self.assertIn("IS_UNINSTALLED", lines)
        self.assertIn("+ echo IS_UNINSTALLED", lines)
        talk = bench.stream
        talk.receive(DATE + b"format\nEOM\n")
        bench.clock.pump([1.0] * 20)
        self.assertEqual(bench.stream.peer, (str(SERVER), 4444))
        bench.stream.open()
        bench.stream.receive(IMAGE)
        bench.stream.end()
        bench.clock.pump([1.0] * 6)
        self.assertEqual((card.digest, talk.lines()[-1]), (DIGEST, "IS_FORMATTED"))
        talk.receive(b"boot\nEOM\n")
        self.assertIn("RECEIVED_BOOT", talk.lines())
        self.assertFalse(bench.has_ended)
        bench.clock.advance(5.0)
        self.assertTrue(bench.result)

    def test_checks_nothing(self) -> None:
        """Half an image is kept like a whole one: version 1 does not look."""
        bench, card = calling(1)
        bench.stream.receive(b"format\nEOM\n")
        bench.clock.pump([1.0] * 20)
        bench.stream.open()
        bench.stream.receive(IMAGE[:9])
        bench.stream.end()
        bench.clock.pump([1.0] * 6)
        self.assertTrue(card.is_installed)
        self.assertNotEqual(card.digest, DIGEST)

    def test_closed_door(self) -> None:
        """When nothing comes through the door, nothing is on the card."""
        bench, card = calling(1)
        bench.stream.receive(b"format\nEOM\n")
        bench.clock.pump([1.0] * 20)
        bench.stream.end()
        bench.clock.pump([1.0] * 6)
        self.assertFalse(card.has_system)

    def test_switches_anyway(self) -> None:
        """When the conversation ends without a word, init still starts what is on the card."""
        bench, _ = calling(1, installed())
        bench.stream.end()
        bench.clock.advance(5.0)
        self.assertTrue(bench.result)


class DownloadTests(SynchronousTestCase):
    """An image as it comes, in pieces of any size."""

    def test_pieces(self) -> None:
        """Head and body may arrive octet by octet."""
        download = Download(URL, DIGEST, len(IMAGE))
        download.request()
        for octet in OK + IMAGE:
            download.take(bytes((octet,)))
        self.assertTrue(download.is_complete)
        self.assertEqual(download.digest, DIGEST)

    def test_whole_for_a_part(self) -> None:
        """A 200 where the rest was asked for would spoil the digest: refused."""
        download = Download(URL, DIGEST, len(IMAGE))
        download.request()
        download.take(OK + IMAGE[:5])
        download.request()
        self.assertRaises(Refused, download.take, OK)

    def test_no_more_than_wanted(self) -> None:
        """Octets after the end are not taken."""
        download = Download(URL, DIGEST, len(IMAGE))
        download.request()
        download.take(OK + IMAGE + b"more")
        self.assertEqual(download.digest, DIGEST)

    def test_endless_head(self) -> None:
        """A head that does not end is refused."""
        download = Download(URL, DIGEST, 1)
        download.request()
        self.assertRaises(Refused, download.take, b"x" * 70_000)

    def test_progress(self) -> None:
        """How far it is is said after each 4 MiB and at the end."""
        said: list[int] = []
        download = Download(URL, DIGEST, 9 << 20, said.append)
        download.request()
        download.take(OK)
        for _ in range(9):
            download.take(bytes(1 << 20))
        self.assertEqual([offset >> 20 for offset in said], [4, 8, 9])
