# -*- test-case-name: tests.test_switching_agent -*-
"""
One SNMP agent, whoever carries the datagrams: retries, versions, walks.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

import attrs
from twisted.internet.defer import Deferred

from piman.switching.mib import SYS_OBJECT_ID
from piman.switching.once import Once
from piman.switching.session import (
    MOST_ROWS,
    OID,
    Community,
    Credentials,
    Datum,
    Step,
    SwitchBusy,
    SwitchTimeout,
    User,
    failure_of_status,
    nonsense,
    step,
)

PORT = 161

RETRIES = (1.0, 2.0, 4.0)
"""Seconds to wait for an answer: to the first datagram, the second, the last."""

PROBES = (1.0, 1.0)
"""The same, before an agent that does not answer to version 2c is asked in version 1."""

MAX_REPETITIONS = 25
"""Rows per GETBULK: 48 ports in two, in datagrams far below 1472 octets."""

TOO_BIG, NO_SUCH_NAME = 1, 2
"""Error statuses that are handled here (RFC 3416, section 3)."""


# Requests and answers


@attrs.frozen(kw_only=True)
class Request:
    """One PDU."""

    operation: str
    """``get``, ``next``, ``bulk`` or ``set``."""
    oids: tuple[OID, ...]
    value: int | None = None
    """What a ``set`` writes."""
    repetitions: int = 0


@attrs.frozen
class Answer:
    """The PDU that came back."""

    status: int
    index: int
    """Which object of the request a status speaks of, from 1."""
    values: tuple[tuple[OID, Datum | None], ...]
    """None: noSuchObject, noSuchInstance or endOfMibView.  Empty when the status is not 0."""


@attrs.frozen
class Target:
    """Where an agent listens."""

    address: IPv4Address
    port: int = PORT


Exchange = Callable[[Target, Credentials, Request, float], "Deferred[Answer]"]
"""
Sends one request once and gives the answer; fails with a :class:`piman.switching.session.SwitchFailed`, after the
given seconds at the latest with :class:`piman.switching.session.SwitchTimeout`.
"""


_ALWAYS = "Look whether it is on, its address and SNMP port are right, and SNMP is enabled there"
_TO_A_COMMUNITY = "to a community that it does not know a switch says nothing."
_TO_A_USER = "to a wrong privacy key a switch says nothing (aes192-c and aes256-c differ from aes192 and aes256)."


def silence(credentials: Credentials) -> SwitchTimeout:
    """No answer came; the remedy depends on what was shown."""
    hint = _TO_A_COMMUNITY if isinstance(credentials, Community) else _TO_A_USER
    return SwitchTimeout("it does not answer", f"{_ALWAYS}; {hint}")


# One agent


class RemoteAgent:
    """
    An :class:`piman.switching.session.Agent` behind an :data:`Exchange`: retries, versions, walks.

    :param retries: seconds to wait for the answer to each datagram.
    :param probes: the same, in version 2c, where version 1 is another possibility.
    """

    def __init__(
        self,
        exchange: Exchange,
        target: Target,
        credentials: Credentials,
        *,
        retries: Sequence[float] = RETRIES,
        probes: Sequence[float] = PROBES,
        repetitions: int = MAX_REPETITIONS,
    ) -> None:
        self.target = target
        self._exchange = exchange
        self._credentials = credentials
        self.retries = tuple(retries)
        self._probes = tuple(probes)
        self._repetitions = repetitions
        self._spoken: Once[Credentials] = Once(self._negotiate)

    # Versions

    @property
    def version(self) -> str | None:
        """What is spoken with it; None: not known yet."""
        return self._spoken.known.version if self._spoken.known else self._credentials.version

    async def _negotiate(self) -> Credentials:
        """The credentials in the version that the agent answers to."""
        if isinstance(self._credentials, User) or self._credentials.version:
            return self._credentials
        for version, waits in (("2c", self._probes), ("1", self.retries)):
            candidate = attrs.evolve(self._credentials, version=version)
            try:
                await self._attempts(candidate, Request(operation="get", oids=(SYS_OBJECT_ID,)), waits)
            except SwitchTimeout:
                continue
            return candidate
        raise silence(self._credentials)

    async def _ask(self, request: Request) -> Answer:
        credentials = await self._spoken.get()
        try:
            return await self._attempts(credentials, request, self.retries)
        except SwitchTimeout:
            self._spoken.forget()
            raise

    async def _attempts(self, credentials: Credentials, request: Request, waits: Sequence[float]) -> Answer:
        for wait in waits[:-1]:
            try:
                return await self._exchange(self.target, credentials, request, wait)
            except (SwitchTimeout, SwitchBusy):
                pass
        return await self._exchange(self.target, credentials, request, waits[-1])

    # Operations

    async def get(self, *oids: OID) -> tuple[Datum | None, ...]:
        """The values; in version 1, where one missing object fails all, the others are asked for again."""
        missing: set[OID] = set()
        while wanted := tuple(oid for oid in oids if oid not in missing):
            answer = await self._ask(Request(operation="get", oids=wanted))
            if answer.status == NO_SUCH_NAME and 1 <= answer.index <= len(wanted):
                missing.add(wanted[answer.index - 1])
                continue
            if answer.status:
                raise failure_of_status(answer.status)
            if tuple(oid for oid, _ in answer.values) != wanted:
                raise nonsense("it answers for other objects than we asked for")
            found = dict(answer.values)
            return tuple(found.get(oid) for oid in oids)
        return (None,) * len(oids)

    async def set(self, oid: OID, value: int) -> None:
        """Write an INTEGER; what is repeated after a lost answer has the same effect twice."""
        answer = await self._ask(Request(operation="set", oids=(oid,), value=value))
        if answer.status:
            raise failure_of_status(answer.status)

    async def walk(self, column: OID) -> dict[OID, Datum]:
        """The rows of a column, in ceil(rows / repetitions) + 1 requests at most (version 1: rows + 1)."""
        rows: dict[OID, Datum] = {}
        cursor: OID | None = column
        while cursor is not None:
            taken = await self._next(column, cursor)
            rows.update(taken.rows)
            cursor = taken.cursor
            if len(rows) > MOST_ROWS:
                raise nonsense(f"more than {MOST_ROWS} rows in one column")
        return rows

    async def _next(self, column: OID, cursor: OID) -> Step:
        spoken = await self._spoken.get()
        is_bulk = spoken.version != "1"
        repetitions = self._repetitions if is_bulk else 1
        request = Request(operation="bulk" if is_bulk else "next", oids=(cursor,), repetitions=repetitions)
        answer = await self._ask(request)
        if answer.status == TOO_BIG and is_bulk and self._repetitions > 1:
            self._repetitions = max(1, self._repetitions // 2)
            return Step((), cursor)
        if answer.status == NO_SUCH_NAME:
            return Step((), None)
        if answer.status:
            raise failure_of_status(answer.status)
        return step(column, cursor, answer.values)
