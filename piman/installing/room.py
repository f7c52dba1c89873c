# -*- test-case-name: tests.test_hello -*-
"""
Who is let in on the hello port: anybody may call, but strangers must not take what the operator's nodes need.

A manager that is called from many addresses at once keeps few strangers, and none once its file descriptors run short.
"""

from collections import Counter
from ipaddress import IPv4Address

import attrs
from twisted.internet.interfaces import IFileDescriptor

from piman.installing.words import Caller

_LAST_DESCRIPTORS = 16
"""So many are left to boot files, the database and the image doors, whoever calls."""


@attrs.frozen(kw_only=True)
class Places:
    """How many conversations there may be."""

    in_all: int = 12_000
    per_address: int = 4
    strangers: int = 64
    """With callers that are none of the operator's nodes."""


def descriptor_of(transport: object) -> int | None:
    """The file descriptor of a connection; None: it has none."""
    return transport.fileno() if IFileDescriptor.providedBy(transport) else None


def is_too_high(descriptor: int | None, limit: int | None, *, is_stranger: bool) -> bool:
    """
    Whether a new connection leaves too few descriptors: strangers leave a quarter of them free.

    :param descriptor: its own, which is the lowest that was free (:func:`piman.host.listening.next_descriptor`).
    """
    if descriptor is None or limit is None:
        return False
    spare = limit // 4 if is_stranger else min(_LAST_DESCRIPTORS, limit // 4)
    return descriptor >= limit - spare


class Room:
    """Counts those who are in."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._per_address: Counter[IPv4Address] = Counter()
        self._in_all = 0
        self._strangers = 0

    def refusal(self, caller: Caller) -> str:
        """Why one more conversation with this caller is too many; empty: there is room."""
        if self._in_all >= self._places.in_all:
            return "too many conversations"
        if self._per_address[caller.address] >= self._places.per_address:
            return "too many conversations from one address"
        if caller.mac is None and self._strangers >= self._places.strangers:
            return "too many conversations with callers that are no nodes"
        return ""

    def enter(self, caller: Caller) -> None:
        """A conversation begins."""
        self._in_all += 1
        self._per_address[caller.address] += 1
        self._strangers += caller.mac is None

    def leave(self, caller: Caller) -> None:
        """A conversation with a caller that entered is over."""
        self._in_all -= 1
        self._per_address[caller.address] -= 1
        if not self._per_address[caller.address]:
            del self._per_address[caller.address]
        self._strangers -= caller.mac is None
