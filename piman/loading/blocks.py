# -*- test-case-name: tests.test_loading_blocks -*-
"""
Boot files cut into TFTP's DATA datagrams, ready to be sent and shared by all transfers.

Two hundred boards that load one kernel are sent the same bytes: they are read and cut once.
"""

import struct
from collections import deque
from collections.abc import Hashable
from weakref import WeakValueDictionary

from piman.fleet.interfaces import BootFile
from piman.wire import tftp

SEGMENT_BYTES = 1 << 16
"""Files are read and cut this many bytes at a time."""
DATAGRAM_OVERHEAD_BYTES = 48
"""What a datagram takes beside its payload: 33 for the object, 4 for the header, 8 for its place in the segment."""
_HEADER = struct.Struct("!HH")


class Edition:
    """The DATA datagrams of one version of one file at one block size, as far as they are in memory."""

    __slots__ = ("__weakref__", "block_bytes", "blocks_per_segment", "segments")

    def __init__(self, block_bytes: int) -> None:
        self.block_bytes = block_bytes
        self.blocks_per_segment = max(1, SEGMENT_BYTES // block_bytes)
        self.segments: dict[int, tuple[bytes, ...]] = {}


class Blocks:
    """
    DATA datagrams ready to be sent, shared by all transfers; the oldest segments give way.

    :param cache_bytes: how much memory what is kept may take; whatever is asked for is made again from its file.
    """

    def __init__(self, cache_bytes: int) -> None:
        self._cache_bytes = cache_bytes
        self._cached_bytes = 0
        self._editions: WeakValueDictionary[Hashable, Edition] = WeakValueDictionary()
        self._order: deque[tuple[Edition, int, int]] = deque()

    @property
    def cached_bytes(self) -> int:
        """How much memory is taken now."""
        return self._cached_bytes

    def edition(self, file: BootFile, block_bytes: int) -> Edition:
        """The edition of this file's content, shared by all that have the same."""
        return self._editions.setdefault((file.identity, block_bytes), Edition(block_bytes))

    def datagram(self, file: BootFile, edition: Edition, number: int) -> bytes:
        """
        Block ``number`` of the file, counted from 1 without wrapping.

        :raises OSError: when the file changed or cannot be read.
        """
        index, offset = divmod(number - 1, edition.blocks_per_segment)
        segment = edition.segments.get(index)
        if segment is None:
            segment = self._load(file, edition, index)
        return segment[offset]

    def _load(self, file: BootFile, edition: Edition, index: int) -> tuple[bytes, ...]:
        first = index * edition.blocks_per_segment
        size = edition.block_bytes
        data = file.read(first * size, edition.blocks_per_segment * size)
        segment = cut(data, size, first + 1, edition.blocks_per_segment)
        edition.segments[index] = segment
        kept_bytes = len(data) + len(segment) * DATAGRAM_OVERHEAD_BYTES
        self._order.append((edition, index, kept_bytes))
        self._cached_bytes += kept_bytes
        while self._cached_bytes > self._cache_bytes:
            oldest, old_index, old_bytes = self._order.popleft()
            del oldest.segments[old_index]
            self._cached_bytes -= old_bytes
        return segment


def cut(data: bytes, block_bytes: int, first: int, count: int) -> tuple[bytes, ...]:
    """``count`` DATA datagrams from block ``first`` on; fewer, the last one short, where the data end."""
    count = min(count, len(data) // block_bytes + 1)
    return tuple(
        # RFC 1350 does not say what follows 65535; every client that goes on at all takes 0.
        _HEADER.pack(tftp.Opcode.DATA, (first + i) & 0xFFFF) + data[i * block_bytes : (i + 1) * block_bytes]
        for i in range(count)
    )


class NetasciiFile:
    """
    A boot file as netascii: translated piece by piece, in the order of reading.

    Its size is known only when it was read to the end.
    """

    size_bytes = 0

    def __init__(self, file: BootFile) -> None:
        self.name = file.name
        self.identity: Hashable = ("netascii", file.identity)
        self._file = file
        self._starts = [0]
        """Where the pieces begin in the translation."""
        self._piece: tuple[int, bytes] = (-1, b"")

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes of the translation."""
        data = b""
        while len(data) < count:
            start, piece = self._piece_at(offset + len(data))
            more = piece[offset + len(data) - start :][: count - len(data)]
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _piece_at(self, offset: int) -> tuple[int, bytes]:
        """The piece that holds ``offset`` and where it begins; the last one is empty."""
        index = len(self._starts) - 1
        while self._starts[index] > offset:
            index -= 1
        piece = self._translated(index)
        while piece and self._starts[index] + len(piece) <= offset:
            index += 1
            if index == len(self._starts):
                self._starts.append(self._starts[-1] + len(piece))
            piece = self._translated(index)
        return self._starts[index], piece

    def _translated(self, index: int) -> bytes:
        if self._piece[0] != index:
            data = self._file.read(index * SEGMENT_BYTES, SEGMENT_BYTES)
            self._piece = (index, tftp.to_netascii(data))
        return self._piece[1]
