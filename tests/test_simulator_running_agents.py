"""
The agents of all boards behind one listener.
"""

import json
from ipaddress import IPv4Address
from random import Random

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody

from piman.simulator.running.agents import agents_site

UP, DOWN = "127.77.16.1", "127.77.16.2"


class AgentTests(TestCase):
    """Who is asked shows in the address."""

    def setUp(self) -> None:
        """Listen on all addresses."""
        site = agents_site(reactor, lambda address: address == IPv4Address(UP), Random(1))
        listening = reactor.listenTCP(0, site)
        self.port = listening.getHost().port
        self.addCleanup(listening.stopListening)

    async def get(self, address: str, path: str) -> tuple[int, bytes]:
        """Ask."""
        response = await Agent(reactor).request(b"GET", f"http://{address}:{self.port}{path}".encode())
        return response.code, await readBody(response)

    async def test_reading(self) -> None:
        """A board that is up tells how it is, at both paths."""
        for path in ("/events", "/event/"):
            code, body = await self.get(UP, path)
            reading = json.loads(body)
            self.assertEqual(code, 200)
            self.assertEqual(
                set(reading), {"time", "cpu_percent", "memory_percent", "disk_percent", "num_pids", "temp"}
            )

    async def test_other_path(self) -> None:
        """Other paths are not found."""
        self.assertEqual((await self.get(UP, "/other"))[0], 404)

    async def test_down(self) -> None:
        """The connection to a board that is not up breaks."""
        with self.assertRaises(Exception):  # noqa: B017
            await self.get(DOWN, "/events")
