"""
Bytes to values and back, and nothing else.

Each module holds the formats of one protocol as frozen values with ``from_wire`` and ``to_wire``.
Hardware addresses are plain :class:`bytes` here.
"""

from piman.wire.layout import MalformedDatagram

__all__ = ["MalformedDatagram"]
