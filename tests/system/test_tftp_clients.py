"""
Our TFTP server and clients that nobody here wrote: curl, tftp-hpa, atftp and busybox.
"""

import hashlib
import random
import shutil
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase

from piman.boot.files import BootFiles
from piman.fleet.events import BootFilesServed, LoadingStarted, TransferAborted
from piman.fleet.model import MACAddress, Node
from piman.testing.fakes import CapturedEvents, MemoryAddressBook, MemoryDirectory, MemoryNeighbours
from piman.tftp import TFTPService, TFTPSettings, tftp_service

HOST = "127.0.0.1"
MAC = MACAddress.parse("b8:27:eb:00:00:01")


def pattern(count: int) -> bytes:
    """``count`` bytes that do not repeat with any block size."""
    blocks = (hashlib.blake2b(number.to_bytes(8, "big")).digest() for number in range(count // 64 + 1))
    return b"".join(blocks)[:count]


class ForeignClient(TestCase):
    """The server on loopback, and a folder to receive in."""

    timeout = 30

    async def setUp(self) -> None:
        """Start a server."""
        self.boot = Path(self.mktemp())
        self.boot.mkdir()
        self.received = Path(self.mktemp())
        self.events = CapturedEvents()
        address = IPv4Address(HOST)
        files = BootFiles(
            self.boot,
            nodes=MemoryDirectory([Node(mac=MAC, address=address)]),
            addresses=(book := MemoryAddressBook({address: MAC})),
            neighbours=MemoryNeighbours(),
            server_address=IPv4Address("172.30.4.1"),
        )
        settings = TFTPSettings(
            network=IPv4Network("127.0.0.0/8"), address=HOST, port=0, mtu_bytes=65536, quiet_seconds=0.3
        )
        self.service: TFTPService = tftp_service(
            reactor, settings=settings, files=files, addresses=book, events=self.events
        )
        self.service.privilegedStartService()
        self.service.startService()
        self.addCleanup(self.service.stopService)

    async def run_client(self, program: str, *arguments: str) -> tuple[bytes, bytes, int]:
        """Run a client to its end."""
        path = shutil.which(program)
        if path is None:
            raise SkipTest(f"{program} is not installed")
        result: Any = await getProcessOutputAndValue(path, arguments, env={"LC_ALL": "C"}, reactor=reactor)
        return (result[0], result[1], result[2])

    def write(self, name: str, content: bytes) -> bytes:
        """Put a boot file there."""
        (self.boot / name).write_bytes(content)
        return content

    def assertReceived(self, content: bytes) -> None:
        """The client has exactly this."""
        received = self.received.read_bytes()
        self.assertEqual(len(received), len(content))
        self.assertTrue(received == content, "the content differs")

    def assertNothingAborted(self) -> None:
        """All transfers ended as they should."""
        self.assertEqual(self.events.of(TransferAborted), [])

    async def curl(self, name: str, *options: str) -> tuple[bytes, bytes, int]:
        """Fetch with curl."""
        url = f"tftp://{HOST}:{self.service.port_number}/{name}"
        return await self.run_client("curl", "-sS", "-o", str(self.received), *options, url)

    async def tftp_hpa(self, mode: str, name: str) -> tuple[bytes, bytes, int]:
        """Fetch with tftp-hpa."""
        port = str(self.service.port_number)
        return await self.run_client("tftp", "-m", mode, HOST, port, "-c", "get", name, str(self.received))

    async def atftp(self, name: str, *options: str) -> tuple[bytes, bytes, int]:
        """Fetch with atftp."""
        set_options = [part for option in options for part in ("--option", option)]
        port = str(self.service.port_number)
        return await self.run_client(
            "atftp", *set_options, "-g", "-r", name, "-l", str(self.received), HOST, port
        )


class CurlTests(ForeignClient):
    """curl, which asks for tsize, blksize and timeout."""

    async def test_sizes(self) -> None:
        """Files of every awkward length arrive whole (curl refuses empty ones whatever the server)."""
        for size in (1, 511, 512, 513, 1024, 100_000):
            content = self.write("file", pattern(size))
            _, error, status = await self.curl("file")
            self.assertEqual((error, status), (b"", 0), size)
            self.assertReceived(content)
        self.assertNothingAborted()

    async def test_block_numbers_wrap(self) -> None:
        """40 MB in blocks of 512 bytes pass block 65535."""
        content = self.write("kernel8.img", pattern(40_000_000))
        _, error, status = await self.curl("kernel8.img", "--tftp-blksize", "512")
        self.assertEqual((error, status), (b"", 0))
        self.assertReceived(content)
        self.assertNothingAborted()

    async def test_large_blocks(self) -> None:
        """The largest block that RFC 2348 knows works where the link carries it."""
        content = self.write("file", pattern(1_000_000))
        _, error, status = await self.curl("file", "--tftp-blksize", "65464")
        self.assertEqual((error, status), (b"", 0))
        self.assertReceived(content)

    async def test_no_options(self) -> None:
        """A client that sends no options gets blocks of 512 bytes at once."""
        content = self.write("file", pattern(5_000))
        _, error, status = await self.curl("file", "--tftp-no-options")
        self.assertEqual((error, status), (b"", 0))
        self.assertReceived(content)

    async def test_missing(self) -> None:
        """A missing file is said to be missing, at once: curl's exit status 68."""
        _, _, status = await self.curl("recovery.elf")
        self.assertEqual(status, 68)

    async def test_upload(self) -> None:
        """Uploads are refused: curl's exit status 69 is a permission problem."""
        source = Path(self.mktemp())
        source.write_bytes(b"x")
        url = f"tftp://{HOST}:{self.service.port_number}/evil"
        _, _, status = await self.run_client("curl", "-sS", "-T", str(source), url)
        self.assertEqual(status, 69)
        self.assertEqual(list(self.boot.iterdir()), [])

    async def test_rendered(self) -> None:
        """cmdline.txt names the manager."""
        self.write("cmdline.txt", b"ip=dhcp root=/dev/initrd master=MASTER\n")
        await self.curl("cmdline.txt")
        self.assertReceived(b"ip=dhcp root=/dev/initrd master=172.30.4.1\n")


class TftpHpaTests(ForeignClient):
    """tftp-hpa, which sends no options unless asked and knows netascii."""

    async def test_octet(self) -> None:
        """An empty file and a long one arrive whole."""
        for size in (0, 1_000_000):
            content = self.write("file", pattern(size))
            _, _, status = await self.tftp_hpa("binary", "file")
            self.assertEqual(status, 0)
            self.assertReceived(content)
        self.assertNothingAborted()

    async def test_netascii(self) -> None:
        """Line ends, bare carriage returns and their pairs survive netascii, also in a file longer than our pieces."""
        content = self.write("file", b"one\ntwo\r\nthree\rfour\n" * 10_000)
        _, _, status = await self.tftp_hpa("netascii", "file")
        self.assertEqual(status, 0)
        self.assertReceived(content)
        self.assertNothingAborted()

    async def test_missing(self) -> None:
        """A missing file is said to be missing, at once."""
        output, _, _ = await self.tftp_hpa("binary", "recovery.elf")
        self.assertIn(b"Error code 1: File not found", output)


class AtftpTests(ForeignClient):
    """atftp, which asks for all options, windowsize too."""

    async def test_window(self) -> None:
        """A window of 16 blocks brings the file whole, past block 65535."""
        content = self.write("kernel8.img", pattern(40_000_000))
        output, error, status = await self.atftp("kernel8.img", "windowsize 16", "blksize 512")
        self.assertEqual(status, 0, (output, error))
        self.assertReceived(content)
        self.assertNothingAborted()

    async def test_all_options(self) -> None:
        """tsize, timeout, blksize and a window larger than ours together bring the file whole."""
        content = self.write("file", pattern(3_000_000))
        output, error, status = await self.atftp(
            "file", "tsize enable", "timeout 3", "blksize 1468", "windowsize 200"
        )
        self.assertEqual(status, 0, (output, error))
        self.assertReceived(content)
        self.assertNothingAborted()


class BusyboxTests(ForeignClient):
    """busybox tftp, the one that rescue systems have."""

    async def test_block_size(self) -> None:
        """A file arrives whole in large blocks."""
        content = self.write("file", pattern(500_000))
        port = str(self.service.port_number)
        output, error, status = await self.run_client(
            "busybox", "tftp", "-g", "-b", "4096", "-r", "file", "-l", str(self.received), HOST, port
        )
        self.assertEqual(status, 0, (output, error))
        self.assertReceived(content)


class BlastTests(ForeignClient):
    """A bounded blast of nonsense at all sockets."""

    def shot(self, chance: random.Random) -> bytes:
        """A datagram: noise, or a request or an answer with something wrong in it."""
        noise = chance.randbytes(chance.randrange(40))
        return chance.choice(
            (
                noise,
                b"\0\1" + noise,
                b"\0\1" + noise + b"\0octet\0" + noise,
                b"\0\1kernel8.img\0octet\0windowsize\x0065535\0blksize\0008\0",
                b"\0\1../" + noise + b"\0octet\0",
                b"\0\2kernel8.img\0octet\0" + noise,
                b"\0\4" + chance.randbytes(2),
                b"\0\5\0\0" + noise,
                chance.randbytes(9000),
            )
        )

    async def test_served_amid_it(self) -> None:
        """While 20,000 such datagrams come in a client gets its file; nothing met a mistake of ours."""
        content = self.write("kernel8.img", pattern(3_000_000))
        chance = random.Random(2347)
        ports = (self.service.port_number, *self.service.data_port_numbers)
        guns = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
        for last, gun in enumerate(guns, start=2):  # each its own host: one host's transfers push out each other
            self.addCleanup(gun.close)
            gun.bind((f"127.0.0.{last}", 0))
        fetched = Deferred.fromCoroutine(self.curl("kernel8.img"))
        for _ in range(200):
            for _ in range(100):
                chance.choice(guns).sendto(self.shot(chance), (HOST, chance.choice(ports)))
            await deferLater(reactor, 0)  # type: ignore[arg-type]
        _, error, status = await fetched
        self.assertEqual((error, status), (b"", 0))
        self.assertReceived(content)
        _, error, status = await self.curl("kernel8.img")
        self.assertEqual((error, status), (b"", 0))
        self.assertEqual(self.flushLoggedErrors(), [])


class EventTests(ForeignClient):
    """What the operator hears of it."""

    async def test_one_report(self) -> None:
        """Several files of one boot make one beginning and one report."""
        self.write("config.txt", b"arm_64bit=1\n")
        self.write("start4.elf", pattern(2_000_000))
        await self.curl("config.txt")
        await self.curl("recovery.elf")
        await self.curl("start4.elf")
        for _ in range(100):
            if self.events.of(BootFilesServed):
                break
            await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        self.assertEqual(self.events.of(LoadingStarted), [LoadingStarted(mac=MAC, name="config.txt")])
        [report] = self.events.of(BootFilesServed)
        assert isinstance(report, BootFilesServed)
        self.assertEqual((report.files, report.bytes, report.missing), (2, 2_000_012, ("recovery.elf",)))
