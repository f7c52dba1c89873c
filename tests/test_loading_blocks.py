"""
Boot files as DATA datagrams.
"""

import tracemalloc

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.boot.content import WholeFile
from piman.loading.blocks import SEGMENT_BYTES, Blocks, NetasciiFile, cut
from piman.wire import tftp


@attrs.define
class CountingFile:
    """A file in memory that counts how often it is read."""

    content: bytes
    identity: str = "one"
    name: str = "file"
    reads: int = 0
    closed: bool = False

    @property
    def size_bytes(self) -> int:
        """The length."""
        return len(self.content)

    def read(self, offset: int, count: int) -> bytes:
        """A piece."""
        self.reads += 1
        return self.content[offset : offset + count]

    def close(self) -> None:
        """Note it."""
        self.closed = True


def reassembled(blocks: Blocks, file: CountingFile | NetasciiFile, block_bytes: int) -> bytes:
    """All blocks up to the first short one, after a look at their headers."""
    edition = blocks.edition(file, block_bytes)
    content, number = b"", 0
    while True:
        number += 1
        datagram = tftp.from_wire(blocks.datagram(file, edition, number))
        assert isinstance(datagram, tftp.Data) and datagram.block == number & 0xFFFF, datagram
        content += datagram.payload
        if len(datagram.payload) < block_bytes:
            return content


class BlocksTests(SynchronousTestCase):
    """The shared cache."""

    @given(st.binary(max_size=5000), st.integers(8, 2000))
    def test_whole_file(self, content: bytes, block_bytes: int) -> None:
        """The blocks are the file, and the last one is short."""
        self.assertEqual(reassembled(Blocks(1 << 20), CountingFile(content), block_bytes), content)

    def test_across_segments(self) -> None:
        """A file of several pieces, and one that ends exactly with a piece, come whole."""
        for size in (SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 3 * SEGMENT_BYTES):
            content = bytes(range(256)) * (size // 256 + 1)
            file = CountingFile(content[:size])
            self.assertEqual(reassembled(Blocks(1 << 20), file, 512), content[:size], size)

    def test_number_wraps(self) -> None:
        """Block 65536 is sent as 0, and the next as 1."""
        file = CountingFile(bytes(8 * 65538))
        blocks = Blocks(1 << 20)
        edition = blocks.edition(file, 8)
        headers = [blocks.datagram(file, edition, number)[:4] for number in (65535, 65536, 65537)]
        self.assertEqual(headers, [b"\0\3\xff\xff", b"\0\3\0\0", b"\0\3\0\1"])

    def test_shared(self) -> None:
        """Two handles of one version are read once."""
        first, second = CountingFile(b"x" * 100), CountingFile(b"x" * 100)
        blocks = Blocks(1 << 20)
        held = blocks.edition(first, 512)
        blocks.datagram(first, held, 1)
        blocks.datagram(second, blocks.edition(second, 512), 1)
        self.assertEqual((first.reads, second.reads), (1, 0))

    def test_versions_apart(self) -> None:
        """Another version, or another block size, shares nothing."""
        blocks = Blocks(1 << 20)
        old, new = CountingFile(b"old", "1"), CountingFile(b"new", "2")
        for file, size, payload in ((old, 512, b"old"), (new, 512, b"new"), (old, 8, b"old")):
            self.assertEqual(blocks.datagram(file, blocks.edition(file, size), 1)[4:], payload)

    def test_bounded(self) -> None:
        """The cache never holds more than it may, and what left it is read again."""
        file = CountingFile(bytes(10 * SEGMENT_BYTES))
        blocks = Blocks(2 * SEGMENT_BYTES)
        edition = blocks.edition(file, 512)
        for number in range(1, 10 * SEGMENT_BYTES // 512, 50):
            blocks.datagram(file, edition, number)
            self.assertTrue(blocks.cached_bytes <= 2 * SEGMENT_BYTES)
        reads = file.reads
        blocks.datagram(file, edition, 1)
        self.assertEqual(file.reads, reads + 1)

    def test_small_blocks(self) -> None:
        """Of the smallest blocks, whose payload is the least part of them, not more memory is taken either."""
        file = CountingFile(bytes(10 * SEGMENT_BYTES))
        blocks = Blocks(20 * SEGMENT_BYTES)
        edition = blocks.edition(file, 8)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(1, 10 * SEGMENT_BYTES // 8, 8000):
            blocks.datagram(file, edition, number)
        taken, _ = tracemalloc.get_traced_memory()
        self.assertTrue(10 * SEGMENT_BYTES < taken < 20 * SEGMENT_BYTES, taken)
        self.assertTrue(0.8 < blocks.cached_bytes / taken < 1.25, (blocks.cached_bytes, taken))

    def test_nothing_kept(self) -> None:
        """Without any room it still serves."""
        self.assertEqual(reassembled(Blocks(0), CountingFile(b"x" * 2000), 512), b"x" * 2000)

    def test_cut(self) -> None:
        """A length that the block size divides ends with an empty block."""
        self.assertEqual(cut(b"12345678", 8, 1, 5), (b"\0\3\0\x0112345678", b"\0\3\0\2"))


class NetasciiFileTests(SynchronousTestCase):
    """Translation piece by piece."""

    @given(st.binary(max_size=3000), st.integers(8, 700))
    def test_sequential(self, content: bytes, block_bytes: int) -> None:
        """The blocks are the translation."""
        file = NetasciiFile(CountingFile(content))
        self.assertEqual(reassembled(Blocks(0), file, block_bytes), tftp.to_netascii(content))

    def test_any_order(self) -> None:
        """Several pieces are read right in any order."""
        content = b"line\n" * 50_000
        expected = tftp.to_netascii(content)
        file = NetasciiFile(CountingFile(content))
        for offset in (200_000, 0, 131_072, 299_990, 65_530, 300_000):
            self.assertEqual(file.read(offset, 1000), expected[offset : offset + 1000], offset)

    def test_close(self) -> None:
        """Closing it closes the file."""
        inner = CountingFile(b"")
        NetasciiFile(inner).close()
        self.assertTrue(inner.closed)

    def test_never_shared_with_octet(self) -> None:
        """The translation is another content than the file."""
        file = WholeFile("file", "one", b"\n")
        self.assertNotEqual(NetasciiFile(file).identity, file.identity)
