# -*- test-case-name: tests.test_wire_ntp -*-
"""
Fixed binary layouts, written once as a text table that is also the codec.

A row is ``CODE name meaning ...``, where CODE is a :mod:`struct` code (``B``, ``H``, ``16s``, ...), big-endian.
Offsets follow from the order of the rows.
"""

import struct
from typing import Any

import attrs


class MalformedDatagram(ValueError):
    """What the network sent does not follow its format: drop it."""


@attrs.frozen
class Layout:
    """A sequence of named big-endian fields."""

    names: tuple[str, ...]
    struct: struct.Struct

    @classmethod
    def parse(cls, table: str) -> "Layout":
        """Read a table of rows ``CODE name meaning``."""
        rows = [line.split(maxsplit=2) for line in table.splitlines() if line.strip()]
        codes = "".join(row[0] for row in rows)
        return cls(names=tuple(row[1] for row in rows), struct=struct.Struct("!" + codes))

    @property
    def size(self) -> int:
        """The number of bytes that the layout covers."""
        return self.struct.size

    def unpack(self, data: bytes) -> dict[str, Any]:
        """
        The fields of the first :attr:`size` bytes, by name; what follows them is left alone.

        :raises MalformedDatagram: when there are fewer bytes.
        """
        if len(data) < self.struct.size:
            raise MalformedDatagram(f"{len(data)} bytes, at least {self.struct.size} expected")
        return dict(zip(self.names, self.struct.unpack_from(data), strict=True))

    def pack(self, **fields: Any) -> bytes:
        """The bytes of these fields; every field of the layout must be given."""
        return self.struct.pack(*(fields[name] for name in self.names))
