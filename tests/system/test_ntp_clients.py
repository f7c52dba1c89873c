"""
The NTP server before clients that nobody here wrote: chronyd, ntpdate (ntpsec) and busybox ntpd.

Each client runs in a network namespace of its own and none of them may set the clock.
"""

import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from piman.host.clock import LOCAL_REFERENCE, KernelClock, Tracking, ask_chrony
from piman.ntp import NTPService, NTPSettings, ntp_service
from piman.wire.ntp import Leap
from tests.system.namespaces import Lab, unavailable

WRONG_BY = re.compile(r"System clock wrong by (-?[\d.]+) seconds")
NTPDATE_LINE = re.compile(r"([+-][\d.]+) \+/- ([\d.]+) \S+ s(\d+) (\S+)")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
NEAR_SECONDS = 0.05
"""Client and server read the same clock: what differs is how long our machine was busy elsewhere."""


async def no_chrony(_: Any) -> None:
    """This host's own chronyd, if it has one, is no part of the test."""


def synchronised(now: float) -> KernelClock:
    """A kernel that is content with its clock."""
    return KernelClock(leap=Leap.NONE, largest_error_seconds=0.001, read_at=now)


def adrift(now: float) -> KernelClock:
    """A kernel whose clock nobody disciplines."""
    return KernelClock(leap=Leap.UNSYNCHRONISED, largest_error_seconds=16.0, read_at=now)


class ClientCase(TestCase):
    """A server in the manager's namespace, a client in its own."""

    timeout = 60
    plain: ClassVar[bool] = False

    def setUp(self) -> None:
        self.lab = Lab(clients=1)
        self.addCleanup(self.lab.close)

    def serve(self, **settings: Any) -> NTPService:
        """A started server."""
        kernel = settings.pop("kernel", synchronised)
        service = ntp_service(
            reactor, settings=NTPSettings(**settings), kernel=kernel, chrony=no_chrony, plain=self.plain
        )
        with self.lab.manager.entered():
            service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    async def client(self, *arguments: str) -> tuple[str, int]:
        """What a client says, and its exit status."""
        program, *rest = self.lab.clients[0].command(*arguments)
        ended = getProcessOutputAndValue(shutil.which(program), rest, env={"PATH": PATH}, reactor=reactor)
        out, err, status = await ended
        return (out + err).decode(), status

    async def chronyd(self, server: str) -> tuple[str, int]:
        """Let chronyd measure, a burst of four within a second."""
        return await self.client(
            "chronyd", "-Q", "-t", "8", "-f", "/dev/null", f"server {server} iburst minpoll -2 maxpoll -2"
        )

    def assert_near(self, text: str) -> None:
        """chronyd found our time to be its own."""
        found = WRONG_BY.search(text)
        self.assertIsNotNone(found, text)
        self.assertLess(abs(float(found[1])), NEAR_SECONDS)


class ChronyTests(ClientCase):
    """chronyd as a client, through a socket of our own."""

    skip = unavailable("chronyd")

    async def test_measures(self) -> None:
        """chronyd takes our time."""
        self.serve()
        text, status = await self.chronyd("172.30.4.1")
        self.assertEqual(status, 0, text)
        self.assert_near(text)

    async def test_version_3(self) -> None:
        """chronyd takes our time in version 3 too."""
        self.serve()
        text, status = await self.chronyd("172.30.4.1 version 3")
        self.assertEqual(status, 0, text)
        self.assert_near(text)

    async def test_another_port(self) -> None:
        """chronyd takes our time from a port of the operator's choice."""
        port = self.serve(port=0).port_number
        text, status = await self.chronyd(f"172.30.4.1 port {port}")
        self.assertEqual(status, 0, text)

    async def test_adrift(self) -> None:
        """chronyd does not take the time of a host that is not synchronised."""
        self.serve(kernel=adrift)
        text, status = await self.client(
            "chronyd", "-Q", "-t", "3", "-f", "/dev/null", "server 172.30.4.1 iburst minpoll -2 maxpoll -2"
        )
        self.assertEqual(status, 1, text)
        self.assertIsNone(WRONG_BY.search(text))

    async def test_local_stratum(self) -> None:
        """With a local stratum chronyd does."""
        self.serve(kernel=adrift, local_stratum=10)
        text, status = await self.chronyd("172.30.4.1")
        self.assertEqual(status, 0, text)


class PlainChronyTests(ChronyTests):
    """chronyd as a client, through ``reactor.listenUDP``."""

    plain = True


class TwoAddressesTests(ClientCase):
    """A manager with a second address on the same interface."""

    skip = unavailable("chronyd")

    async def test_second_address(self) -> None:
        """The answer leaves from the address that was asked: chronyd would not take it from the other one."""
        self.lab.manager.ip("address", "add", "172.30.4.2/24", "dev", self.lab.manager.interface)
        self.serve()
        text, status = await self.chronyd("172.30.4.2")
        self.assertEqual(status, 0, text)


class NTPDateTests(ClientCase):
    """ntpdate of ntpsec."""

    skip = unavailable("ntpdate")

    async def test_measures(self) -> None:
        """ntpdate reads our offset, stratum and leap warning."""
        self.serve(kernel=adrift, local_stratum=10)
        text, status = await self.client("ntpdate", "-q", "172.30.4.1")
        self.assertEqual(status, 0, text)
        found = NTPDATE_LINE.search(text)
        self.assertIsNotNone(found, text)
        self.assertLess(abs(float(found[1])), NEAR_SECONDS)
        self.assertEqual((found[3], found[4]), ("10", "no-leap"))


class AskChronyTests(TestCase):
    """Asking a real chronyd through a real chronyc."""

    skip = unavailable("chronyd", "chronyc")
    timeout = 60

    def setUp(self) -> None:
        self.lab = Lab(clients=0)
        self.addCleanup(self.lab.close)
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()

    def program_in_namespace(self) -> str:
        """A folder with a chronyc that runs where the test's chronyd does."""
        program = self.folder / "chronyc"
        command = " ".join(self.lab.manager.command(str(shutil.which("chronyc"))))
        program.write_text(f'#!/bin/sh\nexec {shutil.which("ip")}{command.removeprefix("ip")} "$@"\n')
        program.chmod(0o755)
        return str(self.folder)

    async def ask(self) -> Tracking | None:
        """Ask once."""
        return await ask_chrony(reactor, self.program_in_namespace())

    async def test_answers(self) -> None:
        """A running chronyd tells its stratum and reference, here its own clock."""
        config = self.folder / "chrony.conf"
        config.write_text(f"local stratum 8\nport 0\nbindcmdaddress /\npidfile {self.folder}/chronyd.pid\n")
        self.lab.manager.start("chronyd", "-d", "-x", "-f", str(config))
        tracking = None
        for _ in range(40):
            tracking = await self.ask()
            if tracking and tracking.leap is Leap.NONE:
                break
            pause: Deferred[None] = Deferred()
            reactor.callLater(0.1, pause.callback, None)
            await pause
        self.assertIsNotNone(tracking)
        self.assertEqual((tracking.stratum, tracking.reference_id), (8, LOCAL_REFERENCE))

    async def test_nobody(self) -> None:
        """Without a chronyd chronyc's complaint is no tracking."""
        self.assertIsNone(await self.ask())
