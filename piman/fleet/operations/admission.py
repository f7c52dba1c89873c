# -*- test-case-name: tests.test_fleet_admission -*-
"""
How many nodes may boot at once: a window that grows with every node that got through and shrinks with each lost one.

Hundreds of boards that are given power in the same second ask for hundreds of files in the same second; the mask ROMs
among them do not survive the wait (raspberrypi/firmware#764, #1120).  So the next ones are given power when those in
flight have passed the phases that the manager bears: addresses and boot files, or the image of an installation.

Where nothing is scarce the window must not be either: it begins wide and grows by two for each success, so that the
switches alone set the pace.  Where the line is full (:mod:`piman.fleet.answer_times`), as many are in flight as keep it
full and few more, as in TCP's BBR; after a loss half as many, as in TCP.

Ports of one switch get their power back one after the other.  So those whose turn has come are spread over the
switches, and no port goes dark long before its switch can come back to it.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

import attrs

FIRST_WINDOW = 128
"""
Boot loaders have one block on its way each: so many fill no queue of a switch (128 full datagrams are 188 kB).
"""
FIRST_IMAGE_WINDOW = 16
"""Images come as streams, each as fast as the line."""
SMALLEST_WINDOW = 4
LARGEST_WINDOW = 1024
FAST_GROWTH = 2.0
"""Room that each success makes until the line was full once."""
SLOW_GROWTH = 0.25
"""Later: a quarter more in each round."""
GAIN = 1.25
"""On a full line: so many times as many as just keep it full."""
RATE_SECONDS = 10.0
"""Over so long it is counted how many get through."""
REMEMBERED_SECONDS = 120.0
"""What was possible longer ago may not be now."""


@attrs.frozen
class Window:
    """How many may be in flight."""

    size: float = FIRST_WINDOW
    threshold: float = LARGEST_WINDOW
    """Up to here each success makes room for one more."""
    losses_until: float = float("-inf")
    """A time: losses of nodes that were given power before it were answered already."""

    @property
    def room(self) -> int:
        """Whole nodes."""
        return int(self.size)


def succeeded(window: Window) -> Window:
    """A node got through, and the line is not full."""
    growth = FAST_GROWTH if window.size < window.threshold else SLOW_GROWTH
    return attrs.evolve(window, size=min(LARGEST_WINDOW, window.size + growth))


def crowded(window: Window, most: int) -> Window:
    """The line is full, with so many at most: from now on the window grows slowly."""
    size = max(float(SMALLEST_WINDOW), min(window.size, most))
    return attrs.evolve(window, size=size, threshold=size) if window.size < window.threshold else window


class Throughput:
    """
    How many nodes get through at best, and how many in flight that takes: by Little's law so many a second, times
    the seconds that one of them takes at best.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._rates: deque[tuple[float, float]] = deque()
        self._best = float("inf")

    def passed(self, seconds: float, now: float) -> None:
        """A node got through, so long after its turn came."""
        self._best = min(self._best, seconds)
        self._times.append(now)
        while self._times[0] < now - RATE_SECONDS:
            self._times.popleft()
        self._rates.append((now, len(self._times) / RATE_SECONDS))
        while self._rates[0][0] < now - REMEMBERED_SECONDS:
            self._rates.popleft()

    @property
    def filling(self) -> float:
        """How many in flight keep the line full; 0: unknown."""
        return max((rate for _, rate in self._rates), default=0.0) * self._best if self._rates else 0.0


def lost(window: Window, powered_at: float, now: float) -> Window:
    """
    A node did not get through and has to be cycled again.

    :param powered_at: when it was given power: of many that were lost together only the first shrinks the window.
    """
    if powered_at < window.losses_until:
        return window
    half = max(float(SMALLEST_WINDOW), window.size / 2)
    return Window(size=half, threshold=half, losses_until=now)


def longest_queue(off_seconds: float, stagger_seconds: float) -> float:
    """
    How many ports of a switch may be on their way from on to on, so that none of them waits longer than it must.

    Each is dark for ``off_seconds``, and one is given power every ``stagger_seconds``; one more is being switched off.
    """
    return off_seconds / stagger_seconds + 2 if stagger_seconds else float("inf")


def in_turn(
    waiting: Sequence[tuple[int, IPv4Address | None]],
    queued: Mapping[IPv4Address | None, int],
    longest: float = float("inf"),
) -> list[int]:
    """
    Whose turn is next: those first that have the fewest before them on their switch.

    :param waiting: each with its switch.
    :param queued: by switch, how many have begun there and have no power yet.
    :param longest: more than these do not begin on one switch.
    """
    before = Counter(queued)
    ranked = []
    for index, switch in waiting:
        if before[switch] < longest:
            ranked.append((before[switch], index))
        before[switch] += 1
    return [index for _, index in sorted(ranked)]
