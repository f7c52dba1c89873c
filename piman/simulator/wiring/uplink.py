# -*- test-case-name: tests.test_simulator_wiring_uplink -*-
"""
What all boards of a rack share: a link that carries so many datagrams a second, keeps some waiting, and drops the rest.
"""

from twisted.internet.interfaces import IReactorTime


class Uplink:
    """
    A link with a queue, both ways together.

    :param per_second: how many datagrams it carries.
    :param kept: how many may wait.
    :ivar dropped: how many found no place.
    """

    def __init__(self, clock: IReactorTime, per_second: float, kept: int) -> None:
        self.dropped = 0
        self._clock = clock
        self._seconds_for_one = 1.0 / per_second
        self._kept = kept
        self._free_at = 0.0

    def cross(self) -> float | None:
        """Take a datagram: when it has crossed, in seconds from now; None: it was dropped."""
        now = self._clock.seconds()
        begins = max(self._free_at, now)
        if begins - now > self._kept * self._seconds_for_one:
            self.dropped += 1
            return None
        self._free_at = begins + self._seconds_for_one
        return self._free_at - now
