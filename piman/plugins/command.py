# -*- test-case-name: tests.test_plugins_command -*-
"""
``power: {kind: command, on: ..., off: ..., status: ...}``: power by any program.

The programs are run as they are, never by a shell; what they say and how they end is described in
``docs/how-to/write-a-power-switch.md``.
"""

import os
import re
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.fleet.interfaces import (
    BadSettings,
    IPowerSwitch,
    IPowerSwitchKind,
    NoSuchPort,
    PowerContext,
    PowerFailed,
    PowerNotObeyed,
    PowerRefused,
    PowerUnreachable,
    SettingProblem,
)
from piman.fleet.model import MACAddress, PortPower, PowerBudget

TIMEOUT_SECONDS = 10.0
READ_BACK = (0.0, 1.0, 2.0)
"""Seconds before each look at whether an order was obeyed."""

AT_ONCE = 4
"""Programs of one switch that run at the same time."""

MOST_OUTPUT_BYTES = 65_536

NO_SUCH_PORT = 3
"""Exit status: the port is not there."""

TRY_AGAIN = 75
"""Exit status EX_TEMPFAIL of sysexits.h."""

PLACES = ("port", "switch", "name")
STATES = ("disabled", "searching", "delivering", "fault", "test", "other fault")


# Settings


@attrs.frozen(kw_only=True)
class Settings:
    """The programs, each with its arguments."""

    on: tuple[str, ...]
    off: tuple[str, ...]
    status: tuple[str, ...]
    timeout_seconds: float = TIMEOUT_SECONDS
    ports: int | None = None
    """How many ports there are, from 1; None: only the programs know."""


_EXPECTED = "a program and its arguments, as a text or a list, like: relay {port} on"


def _arguments(key: str, value: Any) -> tuple[str, ...]:
    try:
        found = shlex.split(value) if isinstance(value, str) else [str(each) for each in value]
    except (ValueError, TypeError):
        raise BadSettings([SettingProblem(key, repr(value), _EXPECTED)]) from None
    if not found or not found[0] or isinstance(value, dict) or any("\0" in each for each in found):
        raise BadSettings([SettingProblem(key, repr(value), _EXPECTED)])
    for place in re.findall(r"{(\w*)}", " ".join(found)):
        if place not in PLACES:
            raise BadSettings([SettingProblem(key, f"{{{place}}}", "{port}, {switch} (the address) or {name}")])
    if not any("{port}" in each for each in found[1:]):
        raise BadSettings([SettingProblem(key, repr(value), "{port} among the arguments")])
    return tuple(found)


def _timeout(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 300:
        raise BadSettings([SettingProblem(key, repr(value), "seconds from 0.1 to 300")])
    return float(value)


def _ports(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
        raise BadSettings([SettingProblem(key, repr(value), "how many ports there are, from 1 to 1024")])
    return value


_READERS = {"on": _arguments, "off": _arguments, "status": _arguments, "timeout_seconds": _timeout, "ports": _ports}
_REQUIRED = ("on", "off", "status")


def parse(settings: Mapping[str, Any]) -> Settings:
    """
    Read the settings beside ``kind: command``.

    :raises BadSettings: with all mistakes.
    """
    problems = [SettingProblem(key, "no such key", _EXPECTED) for key in _REQUIRED if key not in settings]
    found: dict[str, Any] = {}
    for key, value in settings.items():
        try:
            if key not in _READERS:
                raise BadSettings([SettingProblem(key, "an unknown key", "one of " + ", ".join(_READERS))])
            found[key] = _READERS[key](key, value)
        except BadSettings as reason:
            problems += reason.problems
    if problems:
        raise BadSettings(problems)
    return Settings(**found)


# What a program says


@attrs.frozen(kw_only=True)
class Ended:
    """How a program ended; ``status`` None: a signal ended it."""

    status: int | None
    out: str
    err: str


def port_power(port: int, out: str) -> PortPower:
    """
    Read what ``status`` printed: ``on``, ``off`` or ``unknown``, then perhaps ``state=``, ``watts=``, ``link=``.

    :raises ValueError: when it is something else.
    """
    first, *rest = out.split("\n", 1)[0].split() or [""]
    if first.lower() not in ("on", "off", "unknown"):
        raise ValueError(f"it printed {out[:60]!r}, not on, off or unknown")
    details = dict(each.partition("=")[::2] for each in rest)
    admin_on = {"on": True, "off": False}.get(first.lower())
    plain = {"on": "delivering", "off": "disabled"}.get(first.lower(), "")
    state = details.get("state", plain).replace("-", " ").lower()
    if state not in (*STATES, ""):
        raise ValueError(f"it printed the state {state!r}, not one of {', '.join(STATES)}")
    return PortPower(
        port=port,
        admin_on=admin_on,
        delivering=state == "delivering" if state else None,
        state=state,
        watts=float(details["watts"]) if "watts" in details else None,
        link_up={"up": True, "down": False}.get(details.get("link", "")),
    )


def failure_of(place: str, program: str, ended: Ended) -> PowerFailed | None:
    """What an end other than success means."""
    if ended.status == 0:
        return None
    said = (ended.err.strip() or ended.out.strip()).split("\n", 1)[0][:200]
    how = "was ended by a signal" if ended.status is None else f"ended with status {ended.status}"
    reason = f"{place}: {program} {how}" + (f": {said}" if said else "")
    remedy = f"Run it by hand, as piman's user, and see: {program}"
    if ended.status == NO_SUCH_PORT:
        return NoSuchPort(reason, "Compare ports: of the switch in piman.yaml with the switch.")
    return PowerRefused(reason, remedy, may_retry=ended.status in (None, TRY_AGAIN))


# Running programs


class _Run(ProcessProtocol):
    """Fires with :class:`Ended`, or fails when the time is over, whatever the program's children do."""

    def __init__(self, reactor: Any, timeout_seconds: float) -> None:
        self.done: Deferred[Ended] = Deferred()
        self._output = {1: b"", 2: b""}
        self._ending = reactor.callLater(timeout_seconds, self._expire)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep what the program says, up to a bound."""
        self._output[childFD] = (self._output[childFD] + data)[:MOST_OUTPUT_BYTES]

    def processEnded(self, reason: Failure) -> None:
        """All is said."""
        if self._ending.active():
            self._ending.cancel()
            out, err = (self._output[each].decode("utf-8", "replace") for each in (1, 2))
            self.done.callback(Ended(status=getattr(reason.value, "exitCode", None), out=out, err=err))

    def _expire(self) -> None:
        if self.transport is not None:
            self._kill(self.transport)
            self.transport.loseConnection()
        self.done.errback(TimeoutError())

    def _kill(self, process: Any) -> None:
        """The program and its children, where it leads a group of its own."""
        try:
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.signalProcess("KILL")
        except (ProcessExitedAlready, ProcessLookupError, TypeError):
            pass  # it ended just now


@implementer(IPowerSwitch)
class CommandPowerSwitch:
    """Power by three programs."""

    def __init__(self, settings: Settings, context: PowerContext, read_back: Sequence[float] = READ_BACK) -> None:
        self._settings = settings
        self._context = context
        self._read_back = tuple(read_back)
        self._turns = DeferredSemaphore(AT_ONCE)

    def turn_on(self, port: int) -> "Deferred[None]":
        """Run ``on``, then ``status`` until it says so."""
        return Deferred.fromCoroutine(self._order(port, True))

    def turn_off(self, port: int) -> "Deferred[None]":
        """Run ``off``, then ``status`` until it says so."""
        return Deferred.fromCoroutine(self._order(port, False))

    async def _order(self, port: int, on: bool) -> None:
        await self._run(self._settings.on if on else self._settings.off, port)
        for pause in self._read_back:
            await deferLater(self._context.reactor, pause, lambda: None)
            found = await self._read(port)
            if found.admin_on is None or found.admin_on is on:
                return
        word, other = ("on", "off") if on else ("off", "on")
        raise PowerNotObeyed(
            f"{self._place(port)}: the program switched it {word} and was content, and the status is still {other}",
            "Run on, off and status by hand, as piman's user.",
        )

    def read(self, port: int) -> "Deferred[PortPower]":
        """Run ``status``."""
        return Deferred.fromCoroutine(self._read(port))

    async def _read(self, port: int) -> PortPower:
        ended = await self._run(self._settings.status, port)
        try:
            return port_power(port, ended.out)
        except ValueError as reason:
            raise PowerRefused(
                f"{self._place(port)}: {self._settings.status[0]}: {reason}",
                "See docs/how-to/write-a-power-switch.md for what status prints.",
            ) from reason

    def ports(self) -> "Deferred[list[PortPower]]":
        """Run ``status`` for each port, when ``ports:`` says how many there are."""
        return Deferred.fromCoroutine(self._each())

    async def _each(self) -> list[PortPower]:
        return [await self._read(port) for port in range(1, (self._settings.ports or 0) + 1)]

    def budget(self) -> "Deferred[PowerBudget | None]":
        """Not told."""
        return succeed(None)

    def locate(self, mac: MACAddress) -> "Deferred[int | None]":
        """Programs learn no boards."""
        return succeed(None)

    def learned(self) -> "Deferred[Mapping[int, frozenset[MACAddress]]]":
        """Programs learn no boards."""
        return succeed({})

    def _place(self, port: int) -> str:
        return f"switch {self._context.label}, port {port}"

    async def _run(self, command: Sequence[str], port: int) -> Ended:
        """
        Run a program to its good end.

        :raises PowerFailed: when there is no such program, port or end.
        """
        if self._settings.ports is not None and not 1 <= port <= self._settings.ports:
            raise NoSuchPort(f"{self._place(port)}: there are {self._settings.ports} ports", "Name one of them.")
        await self._turns.acquire()
        try:
            ended = await self._spawn(command, port)
        finally:
            self._turns.release()
        failure = failure_of(self._place(port), command[0], ended)
        if failure is not None:
            raise failure
        return ended

    async def _spawn(self, words: Sequence[str], port: int) -> Ended:
        values = {"port": str(port), "switch": str(self._context.address), "name": self._context.label}
        program, *rest = [re.sub(r"{(\w+)}", lambda match: values[match[1]], each) for each in words]
        path = shutil.which(program)
        if path is None:
            raise PowerRefused(
                f"{self._place(port)}: no program {program} that may be run", "Install it, or write its whole path."
            )
        run = _Run(self._context.reactor, self._settings.timeout_seconds)
        leader = shutil.which("setsid")  # makes it the leader of a group that can be ended as a whole
        command = [leader, path, *rest] if leader else [path, *rest]
        self._context.reactor.spawnProcess(run, command[0], command, env=dict(os.environ))
        try:
            return await run.done
        except TimeoutError:
            raise PowerUnreachable(
                f"{self._place(port)}: {program} did not end within {self._settings.timeout_seconds:g} s",
                "Is the device that it speaks with on?  A slow program needs a larger timeout_seconds.",
            ) from None


@implementer(IPlugin, IPowerSwitchKind)
class CommandKind:
    """Power by any program."""

    name = "command"

    def parse(self, settings: Mapping[str, Any]) -> Settings:
        """See :func:`parse`."""
        return parse(settings)

    def share(self, reactor: Any) -> None:
        """Nothing is shared."""

    def make(self, settings: Settings, context: PowerContext) -> IPowerSwitch:
        """A switch."""
        return CommandPowerSwitch(settings, context)


command = CommandKind()
