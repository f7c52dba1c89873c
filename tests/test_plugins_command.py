"""
``power: {kind: command}``: its settings, and what programs say.
"""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from piman.fleet.interfaces import (
    BadSettings,
    NoSuchPort,
    PowerContext,
    PowerFailed,
    PowerNotObeyed,
    PowerRefused,
    PowerUnreachable,
)
from piman.plugins.command import CommandPowerSwitch, Ended, Settings, failure_of, parse, port_power
from tests.power_support import SCRIPT, context

GOOD = {"on": "relay {port} on", "off": ["relay", "{port}", "off"], "status": "relay {port}"}


def is_running(process: int) -> bool:
    """Whether it is there and no zombie (proc(5))."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class ParseTests(SynchronousTestCase):
    """The settings beside ``kind: command``."""

    def test_good(self) -> None:
        """A text is split as a shell would split it, a list is taken as it is."""
        found = parse({**GOOD, "on": "relay --name 'a b' {port}", "timeout_seconds": 3, "ports": 8})
        self.assertEqual(found.on, ("relay", "--name", "a b", "{port}"))
        self.assertEqual(found.off, ("relay", "{port}", "off"))
        self.assertEqual((found.timeout_seconds, found.ports), (3.0, 8))

    def test_problems(self) -> None:
        """Each mistake is named with its key; all at once."""
        for key, value in (
            ("on", ""),
            ("on", 5),
            ("on", {"a": 1}),
            ("on", "relay on"),
            ("on", "relay {prot} {port}"),
            ("on", 'relay "{port}'),
            ("status", None),
            ("timeout_seconds", 0),
            ("timeout_seconds", "long"),
            ("timeout_seconds", True),
            ("ports", 0),
            ("ports", "eight"),
            ("tries", 3),
        ):
            with self.assertRaises(BadSettings) as caught:
                parse({**GOOD, key: value})
            self.assertEqual([each.key for each in caught.exception.problems], [key], value)
        with self.assertRaises(BadSettings) as caught:
            parse({"ports": 0})
        self.assertEqual([each.key for each in caught.exception.problems], ["on", "off", "status", "ports"])


class StatusTests(SynchronousTestCase):
    """What ``status`` prints."""

    def test_plain(self) -> None:
        """``on`` delivers, ``off`` does not, and of ``unknown`` nothing is known."""
        for out, admin_on, state, delivering in (
            ("on\n", True, "delivering", True),
            ("OFF", False, "disabled", False),
            ("unknown\n", None, "", None),
        ):
            found = port_power(4, out)
            self.assertEqual((found.admin_on, found.state, found.delivering), (admin_on, state, delivering))

    def test_details(self) -> None:
        """State, watts and link may follow."""
        found = port_power(4, "on state=other-fault watts=0.5 link=down future=thing\nmore\n")
        self.assertEqual((found.state, found.watts, found.link_up), ("other fault", 0.5, False))

    def test_nonsense(self) -> None:
        """Everything else is nonsense."""
        for out in ("", "\n", "maybe", "on state=happy", "on watts=much"):
            with self.assertRaises(ValueError):
                port_power(4, out)

    def test_ends(self) -> None:
        """0 is success, 3 no such port, 75 and signals may be tried again, the rest not; the first words are told."""
        self.assertIsNone(failure_of("here", "relay", Ended(status=0, out="", err="noise")))
        for status, kind, may_retry in ((3, NoSuchPort, False), (75, PowerRefused, True), (1, PowerRefused, False)):
            found = failure_of("here", "relay", Ended(status=status, out="", err="no such\nrelay"))
            assert found is not None
            self.assertIs(type(found), kind)
            self.assertEqual(found.may_retry, may_retry)
            self.assertIn("no such", found.reason)
        found = failure_of("here", "relay", Ended(status=None, out="", err=""))
        self.assertTrue(found is not None and found.may_retry)


class ProgramTests(TestCase):
    """Real programs."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()

    def program(self, text: str) -> str:
        """A shell script."""
        path = self.folder / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def switch(self, text: str, **options: Any) -> CommandPowerSwitch:
        """A switch of one program that is told what to do by its first argument."""
        program = self.program(text)
        words = {word: (program, word, "{port}", "{switch}", "{name}") for word in ("on", "off", "status")}
        settings = Settings(**{**words, **options})
        return CommandPowerSwitch(settings, context(reactor), read_back=(0.0, 0.0))

    async def failure(self, attempt: "Deferred[Any]", kind: type[PowerFailed]) -> PowerFailed:
        """How it failed."""
        with self.assertRaises(kind) as caught:
            await attempt
        found = caught.exception
        assert isinstance(found, PowerFailed)
        self.assertIn("rack-a", found.reason)
        self.assertTrue(found.remedy)
        return found

    async def test_arguments(self) -> None:
        """Port, address and name are filled in; nothing goes through a shell."""
        switch = self.switch(f'printf "%s|" "$@" >> {self.folder}/said; echo on')
        await switch.turn_on(7)
        self.assertEqual((self.folder / "said").read_text(), "on|7|172.30.4.254|rack-a|status|7|172.30.4.254|rack-a|")

    async def test_no_shell(self) -> None:
        """An argument full of what a shell would act on arrives as it is."""
        evil = "; touch evil; $(touch evil) `touch evil` {port}"
        program = self.program(f'printf "%s" "$1" > {self.folder}/said; echo on')
        settings = Settings(on=(program, evil), off=(program, evil), status=(program, evil))
        await CommandPowerSwitch(settings, context(reactor)).read(3)
        self.assertEqual((self.folder / "said").read_text(), evil.replace("{port}", "3"))
        self.assertFalse(Path("evil").exists())

    async def test_hanging(self) -> None:
        """A program that hangs is killed with its children when the time is over, although they hold the pipes."""
        switch = self.switch(f"sleep 300 & echo $! > {self.folder}/child; sleep 300", timeout_seconds=3)
        found = await self.failure(switch.turn_on(1), PowerUnreachable)
        self.assertIn("3 s", found.reason)
        self.assertTrue(found.may_retry)
        child = int((self.folder / "child").read_text())
        while is_running(child):
            await deferLater(reactor, 0.05, lambda: None)

    async def test_not_obeyed(self) -> None:
        """A program that is content and does nothing is found out."""
        await self.failure(self.switch("echo off").turn_on(1), PowerNotObeyed)

    async def test_unknown_status(self) -> None:
        """Where the status cannot be known, the program's good end counts."""
        await self.switch("echo unknown").turn_on(1)

    async def test_fails(self) -> None:
        """A program that fails is named with what it said, and the status is not asked."""
        switch = self.switch(f'echo "$1" >> {self.folder}/said; echo "relay is unplugged" >&2; exit 1')
        self.assertIn("relay is unplugged", (await self.failure(switch.turn_off(2), PowerRefused)).reason)
        self.assertEqual((self.folder / "said").read_text(), "off\n")

    async def test_missing(self) -> None:
        """A program that is not there is a refusal."""
        settings = Settings(**dict.fromkeys(("on", "off", "status"), ("no-such-program", "{port}")))
        switch = CommandPowerSwitch(settings, context(reactor))
        self.assertIn("no-such-program", (await self.failure(switch.read(1), PowerRefused)).reason)

    async def test_chatty(self) -> None:
        """A program that prints without end is bounded by its time, not by our memory."""
        switch = self.switch("while :; do echo on; done", timeout_seconds=0.5)
        await self.failure(switch.read(1), PowerUnreachable)

    async def test_many(self) -> None:
        """Many orders at once are run a few at a time, and all are answered."""
        switch = self.switch("echo on")
        await gatherResults([switch.turn_on(port) for port in range(1, 13)], consumeErrors=True)

    async def test_script(self) -> None:
        """The script of the contract suite refuses ports that it does not have."""
        settings = Settings(
            **{word: (str(SCRIPT), str(self.folder), word, "{port}") for word in ("on", "off", "status")}
        )
        switch = CommandPowerSwitch(settings, context(reactor))
        await self.failure(switch.read(99), NoSuchPort)


class NoContextTests(SynchronousTestCase):
    """What a plugin is made of."""

    def test_context(self) -> None:
        """Nothing but reactor, address and label is required."""
        PowerContext(reactor=None, address=context(None).address, label="x")
