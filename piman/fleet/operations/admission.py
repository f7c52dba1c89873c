# -*- test-case-name: tests.test_fleet_admission -*-
"""
How many nodes may boot at once: a window that grows with every node that got through and shrinks with each lost one.

Hundreds of boards that are given power in the same second ask for hundreds of files in the same second; the mask ROMs
among them do not survive the wait (raspberrypi/firmware#764, #1120).  So the next ones are given power when those in
flight have passed the phases that the manager bears: addresses and boot files, or the image of an installation.  The
window is TCP's: slow start until the first loss, then one more for each window that went well, half of it after a loss.

Ports of one switch get their power back one after the other.  So those whose turn has come are spread over the
switches, and no port goes dark long before its switch can come back to it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

import attrs

FIRST_WINDOW = 16
SMALLEST_WINDOW = 4
LARGEST_WINDOW = 512


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
    """A node got through."""
    growth = 1.0 if window.size < window.threshold else 1.0 / window.size
    return attrs.evolve(window, size=min(LARGEST_WINDOW, window.size + growth))


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
