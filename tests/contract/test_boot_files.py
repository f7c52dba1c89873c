"""
What every view of boot files promises: the real one, for small and for large files, and its fake alike.
"""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.boot.content import SMALL_BYTES
from piman.boot.files import BootFiles
from piman.fleet.interfaces import BootFileMissing, BootFileRefused, IBootFiles
from piman.fleet.model import MACAddress, Node
from piman.testing.fakes import MemoryAddressBook, MemoryBootFiles, MemoryDirectory, MemoryNeighbours
from tests.fleet_support import ADDRESS, MAC

NOBODY = IPv4Address("172.30.4.99")


class BootFilesMixin:
    """
    The contract of :class:`IBootFiles`.

    :cvar ONE: a content.
    :cvar OTHER: another one, as long.
    """

    ONE = bytes(range(256))
    OTHER = bytes(reversed(range(256)))

    files: Any

    def make(self, nodes: dict[IPv4Address, MACAddress]) -> Any:
        """Views in which these nodes are at these addresses, and no file is there."""
        raise NotImplementedError

    def put(self, name: str, content: bytes) -> None:
        """Put a file there for all; one of that name is replaced, not rewritten."""
        raise NotImplementedError

    def setUp(self) -> None:
        """One node, two files."""
        self.files = self.make({ADDRESS: MAC})
        self.put("start4.elf", self.ONE)
        self.put("overlays/README", self.OTHER)

    def open(self, name: bytes) -> Any:
        """Open it as the node; closed at the end."""
        file = self.files.open(ADDRESS, name)
        self.addCleanup(file.close)  # type: ignore[attr-defined]
        return file

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(IBootFiles, self.files)

    def test_whole(self) -> None:
        """A file that is there has its name, its size and its content."""
        file = self.open(b"start4.elf")
        self.assertEqual((file.name, file.size_bytes), ("start4.elf", len(self.ONE)))
        self.assertTrue(file.read(0, file.size_bytes) == self.ONE)

    def test_pieces(self) -> None:
        """Reads may come in any order; at the end of the file they are short, behind it empty."""
        file, size = self.open(b"start4.elf"), len(self.ONE)
        self.assertEqual(file.read(size - 5, 100), self.ONE[-5:])
        self.assertEqual(file.read(3, 4), self.ONE[3:7])
        self.assertEqual((file.read(size, 100), file.read(size + 1000, 100), file.read(3, 0)), (b"", b"", b""))

    def test_slashes(self) -> None:
        """Leading and doubled slashes mean nothing, and the name stays as it was asked."""
        file = self.open(b"/overlays//README")
        self.assertEqual(file.name, "/overlays//README")
        self.assertTrue(file.read(0, file.size_bytes) == self.OTHER)

    def test_odd_name(self) -> None:
        """A name that is no UTF-8 is text all the same."""
        self.put("caf\udce9", self.ONE)
        self.assertEqual(self.open(b"caf\xe9").name, "caf\\xe9")

    def test_missing(self) -> None:
        """What is not there, a folder, and a name that no file can have are missing."""
        for name in (b"recovery.elf", b"overlays", b"start4.elf/x", b"START4.ELF", b"", b"/", b"x" * 300, b"x" * 5000):
            self.assertRaises(BootFileMissing, self.files.open, ADDRESS, name)

    def test_refused(self) -> None:
        """A name that climbs or holds NUL is refused, wherever it would lead."""
        for name in (b"..", b"../start4.elf", b"/../start4.elf", b"overlays/../start4.elf", b"start4.elf\0"):
            self.assertRaises(BootFileRefused, self.files.open, ADDRESS, name)

    def test_close_twice(self) -> None:
        """Closing is harmless twice, and touches no other handle of the same file."""
        file, other = self.open(b"start4.elf"), self.open(b"start4.elf")
        file.close()
        file.close()
        self.assertTrue(other.read(0, other.size_bytes) == self.ONE)

    def test_same_identity(self) -> None:
        """Two handles of one version have one identity, that of another content is another."""
        one, again, other = (self.open(name) for name in (b"start4.elf", b"/start4.elf", b"overlays/README"))
        self.assertEqual((one.identity, hash(one.identity)), (again.identity, hash(again.identity)))
        self.assertNotEqual(one.identity, other.identity)

    def test_replaced(self) -> None:
        """After a file was replaced an open handle has the old content, a new one the new, each its own identity."""
        old = self.open(b"start4.elf")
        self.put("start4.elf", self.OTHER)
        new = self.open(b"start4.elf")
        self.assertTrue(old.read(0, old.size_bytes) == self.ONE)
        self.assertTrue(new.read(0, new.size_bytes) == self.OTHER)
        self.assertNotEqual(old.identity, new.identity)

    def test_node(self) -> None:
        """The node is known by its address, whatever it asks for; nobody else is one."""
        for name in (b"start4.elf", b"missing", b"../start4.elf", b"a\0b", b""):
            self.assertEqual(self.files.node_at(ADDRESS, name), MAC)
            self.assertIsNone(self.files.node_at(NOBODY, name))


class MemoryBootFilesTests(BootFilesMixin, SynchronousTestCase):
    """The fake keeps the contract."""

    def make(self, nodes: dict[IPv4Address, MACAddress]) -> Any:
        """A fake."""
        return MemoryBootFiles(nodes=nodes)

    def put(self, name: str, content: bytes) -> None:
        """Into its dictionary."""
        self.files.contents[name.encode("utf-8", "surrogateescape")] = content


class SmallBootFilesTests(BootFilesMixin, SynchronousTestCase):
    """The real views keep the contract for files that are read whole."""

    def make(self, nodes: dict[IPv4Address, MACAddress]) -> Any:
        """The real ones on a temporary folder."""
        self.boot_dir = Path(self.mktemp())
        self.boot_dir.mkdir()
        return BootFiles(
            self.boot_dir,
            nodes=MemoryDirectory([Node(mac=mac) for mac in nodes.values()]),
            addresses=MemoryAddressBook(nodes),
            neighbours=MemoryNeighbours(),
            server_address=IPv4Address("172.30.4.1"),
        )

    def put(self, name: str, content: bytes) -> None:
        """Beside it, and renamed."""
        path = self.boot_dir / name
        path.parent.mkdir(exist_ok=True)
        new = path.with_name("new")
        new.write_bytes(content)
        new.rename(path)


class LargeBootFilesTests(SmallBootFilesTests):
    """And for files that are read piece by piece."""

    ONE = bytes(range(256)) * (SMALL_BYTES // 256 + 1)
    OTHER = bytes(reversed(range(256))) * (SMALL_BYTES // 256 + 1)
