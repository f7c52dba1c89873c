# -*- test-case-name: tests.test_tftp -*-
"""
What a node loads in one boot, told as one event when it asks for nothing more.
"""

import attrs

from piman.fleet.events import BootFilesServed, LoadingStarted
from piman.fleet.interfaces import IEventSink
from piman.fleet.model import MACAddress

NAMES = 64
"""Names of each kind that are kept of one boot."""
REPORT_SECONDS = 60.0
"""A node that goes on asking for longer is told of in between: it may be asking in vain, again and again."""
LONGEST_NAME = 256
"""Characters of a name that are kept."""


@attrs.define(eq=False, slots=True)
class Loading:
    """What one node loaded so far."""

    started: float
    heard: float
    live: int = 0
    """Transfers that are not over."""
    files: int = 0
    bytes: int = 0
    retransmits: int = 0
    missing: dict[str, None] = attrs.field(factory=dict)
    """Names, in the order of asking."""
    served: dict[str, None] = attrs.field(factory=dict)
    """Names, in the order of their ends."""


class LoadingReports:
    """
    One :class:`Loading` per node that is loading.

    :param quiet_seconds: after so long without a request or an answer the boot's loading is over.
    """

    def __init__(self, events: IEventSink, quiet_seconds: float) -> None:
        self._events = events
        self._quiet_seconds = quiet_seconds
        self._loadings: dict[MACAddress, Loading] = {}

    def asked(self, mac: MACAddress | None, name: str, now: float) -> None:
        """The node asked for a file and gets an answer."""
        if mac is None:
            return
        loading = self._loadings.get(mac)
        if loading is None or now - loading.started >= REPORT_SECONDS:
            if loading is not None:
                self._events.emit(_report(mac, loading))
            self._loadings[mac] = Loading(now, now, live=loading.live if loading is not None else 0)
            self._events.emit(LoadingStarted(mac=mac, name=name[:LONGEST_NAME]))
        else:
            loading.heard = now

    def turned_away(self, mac: MACAddress | None, now: float) -> None:
        """The node asked and was not answered: no loading begins, and one that runs goes on."""
        loading = self._loadings.get(mac) if mac is not None else None
        if loading is not None:
            loading.heard = now

    def missed(self, mac: MACAddress | None, name: str) -> bool:
        """There was no such file; whether that is news of this boot."""
        loading = self._loadings.get(mac) if mac is not None else None
        name = name[:LONGEST_NAME]
        if loading is None or name in loading.missing or len(loading.missing) >= NAMES:
            return False
        loading.missing[name] = None
        return True

    def began(self, mac: MACAddress | None) -> None:
        """A transfer began."""
        loading = self._loadings.get(mac) if mac is not None else None
        if loading is not None:
            loading.live += 1

    def ended(
        self, mac: MACAddress | None, *, name: str | None, sent_bytes: int, retransmits: int, heard: float
    ) -> None:
        """
        A transfer that began is over.

        :param name: of a file that went out whole; None: it did not.
        """
        loading = self._loadings.get(mac) if mac is not None else None
        if loading is None:
            return
        loading.live -= 1
        loading.files += name is not None
        if name is not None and len(loading.served) < NAMES:
            loading.served[name[:LONGEST_NAME]] = None
        loading.bytes += sent_bytes
        loading.retransmits += retransmits
        loading.heard = max(loading.heard, heard)

    def is_loading(self, mac: MACAddress) -> bool:
        """Whether a boot's loading goes on."""
        return mac in self._loadings

    def end(self, mac: MACAddress) -> None:
        """The boot is over, whatever the node still wanted, and its transfers are; harmless when there is none."""
        loading = self._loadings.pop(mac, None)
        if loading is not None:
            self._events.emit(_report(mac, loading))

    def sweep(self, now: float) -> None:
        """Tell of those that are over."""
        for mac, loading in tuple(self._loadings.items()):
            if not loading.live and now - loading.heard >= self._quiet_seconds:
                del self._loadings[mac]
                self._events.emit(_report(mac, loading))


def _report(mac: MACAddress, loading: Loading) -> BootFilesServed:
    return BootFilesServed(
        mac=mac,
        files=loading.files,
        bytes=loading.bytes,
        retransmits=loading.retransmits,
        missing=tuple(loading.missing),
        seconds=loading.heard - loading.started,
        served=tuple(loading.served),
    )
