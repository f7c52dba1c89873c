# -*- test-case-name: tests.test_host_clock -*-
"""
How good this host's clock is.

The kernel knows whether the clock is disciplined, how far off it may be and whether a leap second is due
(``adjtimex``).  It does not know how far away the reference clock is; a running chronyd does, and is asked with
``chronyc -c tracking``.  What it says goes before what the kernel says: without ``rtcsync`` chronyd never tells the
kernel that the clock is synchronised.

1. adjtimex(2), chronyc(1)
2. RFC 5905, section 7.3: what a server says of its clock
"""

import ctypes
import os
import shutil
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from piman.wire.ntp import Leap

ASSUMED_STRATUM = 5
"""
The stratum of a synchronised host whose chronyd does not answer.

Public servers are at stratum 1 to 3 and their clients at 2 to 4: with 5 we never claim to be nearer than we are, and
stay before any clock that is only local (10 by custom).
"""

LOCAL_REFERENCE = IPv4Address("127.127.1.1").packed
"""What chronyd and ntpd send when the clock itself is the reference, or its upstream is unknown."""

LOCAL_DISPERSION_SECONDS = 0.01
"""Of a clock that is its own reference: the nodes agree with the manager, whatever the world says."""

UNKNOWN_ERROR_SECONDS = 16.0
"""MAXDISP (RFC 5905, section 7.1): an error that size says nothing."""

NOT_YET = b"INIT"
""""The association has not yet synchronized for the first time" (RFC 5905, figure 13)."""

CHRONYC = ("chronyc", "-n", "-c", "tracking")
CHRONYC_SECONDS = 10.0

TIME_ERROR = 5
STA_UNSYNC = 0x0040
LEAPS = {1: Leap.INSERT, 2: Leap.DELETE}
"""``TIME_INS`` and ``TIME_DEL``; while the inserted second runs (3) and after it (4) there is nothing to announce."""

CHRONY_LEAPS = {
    "Normal": Leap.NONE,
    "Insert second": Leap.INSERT,
    "Delete second": Leap.DELETE,
    "Not synchronised": Leap.UNSYNCHRONISED,
}


@attrs.frozen(kw_only=True)
class KernelClock:
    """What ``adjtimex`` says."""

    leap: Leap
    """``UNSYNCHRONISED`` when nobody disciplines the clock."""
    largest_error_seconds: float
    """``maxerror``: an upper bound that grows by 500 microseconds a second until the next correction."""
    read_at: float


@attrs.frozen(kw_only=True)
class Tracking:
    """What ``chronyc tracking`` says."""

    leap: Leap
    reference_id: bytes
    stratum: int
    reference_time: float
    root_delay_seconds: float
    root_dispersion_seconds: float
    """With what chronyd has yet to slew: it corrects its own answers by that, we cannot."""


@attrs.frozen(kw_only=True)
class ClockSource:
    """What we tell others of our clock."""

    leap: Leap
    stratum: int
    """0 when the clock is not synchronised."""
    reference_id: bytes
    reference_time: float
    root_delay_seconds: float
    root_dispersion_seconds: float
    is_local: bool = False
    """Nobody outside this host stands behind the time: the nodes agree with us, whatever the world says."""

    @property
    def is_usable(self) -> bool:
        """Whether clients may take our time."""
        return self.leap is not Leap.UNSYNCHRONISED


NOTHING_KNOWN = ClockSource(
    leap=Leap.UNSYNCHRONISED,
    stratum=0,
    reference_id=NOT_YET,
    reference_time=0.0,
    root_delay_seconds=0.0,
    root_dispersion_seconds=UNKNOWN_ERROR_SECONDS,
)
"""Before anybody has looked."""


# The kernel


class _TimeValue(ctypes.Structure):
    """``struct timeval``."""

    _fields_ = [("seconds", ctypes.c_long), ("microseconds", ctypes.c_long)]


class _Timex(ctypes.Structure):
    """``struct timex`` as far as we read it, with the room that the kernel writes."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", _TimeValue),
        ("tick", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    ]


def read_clock(now: float) -> KernelClock:
    """
    Ask the kernel, changing nothing.

    :raises OSError: when the kernel does not answer.
    """
    timex = _Timex(modes=0)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return kernel_clock(state, timex.status, timex.maxerror, now)


def kernel_clock(state: int, status: int, largest_error_microseconds: int, now: float) -> KernelClock:
    """The meaning of what ``adjtimex`` returned."""
    unsynchronised = state == TIME_ERROR or status & STA_UNSYNC
    return KernelClock(
        leap=Leap.UNSYNCHRONISED if unsynchronised else LEAPS.get(state, Leap.NONE),
        largest_error_seconds=largest_error_microseconds / 1e6,
        read_at=now,
    )


# chronyd


def parse_tracking(text: str) -> Tracking | None:
    """The line of ``chronyc -c tracking``; None when it is anything else."""
    fields = text.strip().split(",")
    try:
        reference, _, stratum, changed, offset, *_, delay, dispersion, _, leap = fields
        return Tracking(
            leap=CHRONY_LEAPS[leap],
            reference_id=bytes.fromhex(reference),
            stratum=int(stratum),
            reference_time=float(changed),
            root_delay_seconds=float(delay),
            root_dispersion_seconds=float(dispersion) + abs(float(offset)),
        )
    except (ValueError, KeyError):
        return None


class _Output(ProcessProtocol):
    """Collects what a program says; cancelling its Deferred ends the program."""

    def __init__(self) -> None:
        self._said: list[bytes] = []
        self.finished: Deferred[str] = Deferred(self._cancel)

    def _cancel(self, _: "Deferred[str]") -> None:
        if self.transport:
            self.transport.signalProcess("KILL")

    def outReceived(self, data: bytes) -> None:
        """More of it."""
        self._said.append(data)

    def processEnded(self, reason: Failure) -> None:
        """That was all; the exit status says nothing that the text does not."""
        if not self.finished.called:
            self.finished.callback(b"".join(self._said).decode("ascii", "replace"))


async def ask_chrony(reactor: Any, path: str | None = None) -> Tracking | None:
    """
    What chronyd says; None when there is none, or it does not answer.

    :param path: where to look for the program instead of the usual places.
    """
    program = shutil.which(CHRONYC[0], path=path)
    if program is None:
        return None
    output = _Output()
    reactor.spawnProcess(output, program, CHRONYC, env={})
    try:
        return parse_tracking(await output.finished.addTimeout(CHRONYC_SECONDS, reactor))
    except TimeoutError:
        return None


# What we make of both


def clock_source(kernel: KernelClock, tracking: Tracking | None, local_stratum: int | None) -> ClockSource:
    """
    What we tell our clients.

    :param local_stratum: serve an unsynchronised clock as this stratum; None: as a clock that nobody may follow.
    """
    if tracking and tracking.leap is not Leap.UNSYNCHRONISED:
        return ClockSource(**attrs.asdict(tracking), is_local=tracking.reference_id == LOCAL_REFERENCE)
    if kernel.leap is not Leap.UNSYNCHRONISED:
        return _own(kernel, kernel.leap, ASSUMED_STRATUM, kernel.largest_error_seconds)
    if local_stratum is not None:
        return attrs.evolve(_own(kernel, Leap.NONE, local_stratum, LOCAL_DISPERSION_SECONDS), is_local=True)
    return attrs.evolve(_own(kernel, Leap.UNSYNCHRONISED, 0, kernel.largest_error_seconds), reference_id=NOT_YET)


def describe(source: ClockSource) -> str:
    """One sentence for the operator."""
    if not source.is_usable:
        return (
            "this host's clock is not synchronised, so no node can take the time from it: "
            "run chronyd or systemd-timesyncd here, or set ntp.local_stratum"
        )
    if source.is_local:
        return f"this host's clock is not synchronised; the nodes get it as stratum {source.stratum} all the same"
    return f"this host's clock is synchronised; the nodes get it as stratum {source.stratum}"


def _own(kernel: KernelClock, leap: Leap, stratum: int, dispersion_seconds: float) -> ClockSource:
    """A source of which only this host's kernel is known."""
    return ClockSource(
        leap=leap,
        stratum=stratum,
        reference_id=LOCAL_REFERENCE,
        reference_time=kernel.read_at,
        root_delay_seconds=0.0,
        root_dispersion_seconds=dispersion_seconds,
    )
