# -*- test-case-name: tests.test_simulator_running_agents -*-
"""
The agents of all virtual boards behind one listener: whose agent is asked shows in the local address.

A board that is not up does not answer: its connection breaks.
"""

import json
from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

IsUp = Callable[[IPv4Address], bool]


class Agents(Resource):
    """``GET /events`` and ``/event/`` of whatever address is asked."""

    isLeaf = True

    def __init__(self, clock: IReactorTime, is_up: IsUp, random: Random) -> None:
        super().__init__()
        self.asked = 0
        self._clock = clock
        self._is_up = is_up
        self._random = random

    def render_GET(self, request: Request) -> bytes | int:
        """The reading of one board."""
        if not self._is_up(IPv4Address(request.getHost().host)):
            request.loseConnection()
            return NOT_DONE_YET
        if request.path.strip(b"/") not in (b"events", b"event"):
            request.setResponseCode(404)
            return b"not found\n"
        self.asked += 1
        request.setHeader(b"content-type", b"application/json")
        return json.dumps(self._reading()).encode()

    def _reading(self) -> dict[str, float | int]:
        return {
            "time": self._clock.seconds(),
            "cpu_percent": round(self._random.uniform(1, 20), 1),
            "memory_percent": round(self._random.uniform(10, 40), 1),
            "disk_percent": round(self._random.uniform(10, 30), 1),
            "num_pids": self._random.randrange(80, 160),
            "temp": round(self._random.uniform(40, 60), 1),
        }


class QuietSite(Site):
    """A site that writes no line for each request."""

    noisy = False

    def log(self, request: Any) -> None:
        """Nothing."""


def agents_site(clock: IReactorTime, is_up: IsUp, random: Random) -> Site:
    """What listens on 0.0.0.0."""
    return QuietSite(Agents(clock, is_up, random), reactor=clock)
