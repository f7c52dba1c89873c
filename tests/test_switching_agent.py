"""
One agent behind a fake exchange: retries, versions, walks, and how many requests they take.
"""

import math
from bisect import bisect_right
from ipaddress import IPv4Address
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from piman.switching.agent import RETRIES, Answer, RemoteAgent, Request, Target
from piman.switching.mib import SYS_OBJECT_ID
from piman.switching.once import Once
from piman.switching.session import (
    OID,
    Community,
    Credentials,
    Datum,
    SwitchBusy,
    SwitchFailed,
    SwitchRefused,
    SwitchTimeout,
    User,
)

TARGET = Target(IPv4Address("172.30.4.254"))
COLUMN = (1, 3, 6, 1, 2, 1, 105, 1, 1, 1, 3)
V2C, V1, ANY = Community("private", "2c"), Community("private", "1"), Community("private")


class FakeExchange:
    """
    An agent by the rules of RFC 3416 (RFC 1157 in version 1), without datagrams.

    :ivar requests: what was asked, with the version.
    :ivar versions: those it answers to.
    :ivar losses: so many requests get no answer first.
    """

    def __init__(self, values: dict[OID, Datum] | None = None) -> None:
        self.values = {SYS_OBJECT_ID: (1, 3, 6, 1, 4, 1, 8072), **(values or {})}
        self.requests: list[tuple[str, Request]] = []
        self.waits: list[float] = []
        self.versions = {"1", "2c", "3"}
        self.losses = 0
        self.failure: SwitchFailed | None = None
        self.answer: Answer | None = None
        self.most_rows = 1000

    def __call__(self, target: Target, credentials: Credentials, request: Request, wait: float) -> "Deferred[Answer]":
        version = str(credentials.version)
        self.requests.append((version, request))
        self.waits.append(wait)
        if self.losses or version not in self.versions:
            self.losses = max(0, self.losses - 1)
            return fail(SwitchTimeout("it does not answer"))
        if self.failure:
            return fail(self.failure)
        return succeed(self.answer or self._reply(version, request))

    def _reply(self, version: str, request: Request) -> Answer:
        if request.operation == "set":
            (oid,) = request.oids
            if oid not in self.values:
                return Answer(2 if version == "1" else 11, 1, ())
            assert request.value is not None
            self.values[oid] = request.value
            return Answer(0, 0, ((oid, request.value),))
        if request.operation == "get":
            missing = [place for place, oid in enumerate(request.oids, 1) if oid not in self.values]
            if version == "1" and missing:
                return Answer(2, missing[0], ())
            return Answer(0, 0, tuple((oid, self.values.get(oid)) for oid in request.oids))
        if request.operation == "bulk" and request.repetitions > self.most_rows:
            return Answer(1, 0, ())
        return self._successors(version, request)

    def _successors(self, version: str, request: Request) -> Answer:
        (cursor,) = request.oids
        oids = sorted(self.values)
        start = bisect_right(oids, cursor)
        found: list[tuple[OID, Datum | None]] = [
            (oid, self.values[oid]) for oid in oids[start : start + max(1, request.repetitions)]
        ]
        if not found:
            return Answer(2, 1, ()) if version == "1" else Answer(0, 0, ((cursor, None),))
        return Answer(0, 0, tuple(found))


def column(rows: int) -> dict[OID, Datum]:
    """A column with so many rows, and one object after it."""
    return {**{(*COLUMN, 1, row): row for row in range(1, rows + 1)}, (*COLUMN[:-1], 4, 1, 1): 0}


class AgentCase(SynchronousTestCase):
    """An agent over a fake exchange."""

    def setUp(self) -> None:
        self.exchange = FakeExchange()

    def agent(self, credentials: Credentials = V2C, **options: Any) -> RemoteAgent:
        """The agent under test."""
        return RemoteAgent(self.exchange, TARGET, credentials, **options)

    def run_now(self, work: Any) -> Any:
        """What a coroutine returns, which it must do at once."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def failure_now(self, work: Any, kind: type[SwitchFailed]) -> SwitchFailed:
        """The failure of a coroutine."""
        found = self.failureResultOf(Deferred.fromCoroutine(work), kind).value
        assert isinstance(found, SwitchFailed)
        return found


class GetTests(AgentCase):
    """Reading single objects."""

    def test_missing(self) -> None:
        """What is not there is None, in every version, and the rest is told all the same."""
        self.exchange.values[(1, 1)] = 7
        for credentials in (V2C, V1, User(name="piman")):
            found = self.run_now(self.agent(credentials).get((1, 0), (1, 1), (1, 2)))
            self.assertEqual(found, (None, 7, None), credentials)

    def test_all_missing(self) -> None:
        """Also when nothing is there."""
        self.assertEqual(self.run_now(self.agent(V1).get((1, 0))), (None,))

    def test_other_objects(self) -> None:
        """An agent that answers for other objects is refused."""
        self.exchange.answer = Answer(0, 0, (((9, 9), 1),))
        self.failure_now(self.agent().get((1, 1)), SwitchRefused)

    def test_status(self) -> None:
        """An error status is the failure that it means."""
        self.exchange.answer = Answer(16, 0, ())
        self.assertIn("authorizationError", self.failure_now(self.agent().get((1, 1)), SwitchRefused).reason)


class SetTests(AgentCase):
    """Writing."""

    def test_set(self) -> None:
        """A value is written."""
        self.exchange.values[(1, 1)] = 1
        self.run_now(self.agent().set((1, 1), 2))
        self.assertEqual(self.exchange.values[(1, 1)], 2)

    def test_missing(self) -> None:
        """An object that is not there cannot be written."""
        self.assertIn("noCreation", self.failure_now(self.agent().set((1, 1), 2), SwitchRefused).reason)
        self.assertIn("noSuchName", self.failure_now(self.agent(V1).set((1, 1), 2), SwitchRefused).reason)


class RetryTests(AgentCase):
    """Retries are data."""

    def test_lost(self) -> None:
        """Lost datagrams are sent again, each with the next wait of the schedule."""
        self.exchange.losses = 2
        self.run_now(self.agent().get(SYS_OBJECT_ID))
        self.assertEqual(tuple(self.exchange.waits), RETRIES)

    def test_dead(self) -> None:
        """A dead agent ends in a timeout after the schedule, and the remedy speaks of the community."""
        self.exchange.versions = set()
        failure = self.failure_now(self.agent(retries=(1, 1)).get(SYS_OBJECT_ID), SwitchTimeout)
        self.assertIsInstance(failure, SwitchTimeout)
        self.assertEqual(self.exchange.waits, [1, 1])

    def test_busy(self) -> None:
        """An agent that is busy is asked again, and its word is the failure in the end."""
        self.exchange.failure = SwitchBusy("busy")
        self.failure_now(self.agent().get(SYS_OBJECT_ID), SwitchBusy)
        self.assertEqual(len(self.exchange.requests), len(RETRIES))

    def test_refused(self) -> None:
        """A refusal is not asked for twice."""
        self.exchange.failure = SwitchRefused("no")
        self.failure_now(self.agent().get(SYS_OBJECT_ID), SwitchRefused)
        self.assertEqual(len(self.exchange.requests), 1)


class VersionTests(AgentCase):
    """Version unset: 2c, then 1, remembered."""

    def versions(self) -> list[str]:
        """Those of the requests so far."""
        return [version for version, _ in self.exchange.requests]

    def test_2c(self) -> None:
        """An agent that answers to 2c is never asked in 1."""
        agent = self.agent(ANY)
        self.run_now(agent.get(SYS_OBJECT_ID))
        self.assertEqual((agent.version, set(self.versions())), ("2c", {"2c"}))

    def test_1(self) -> None:
        """One that knows only 1 is spoken to in 1, and the probe is not repeated."""
        self.exchange.versions = {"1"}
        agent = self.agent(ANY)
        self.run_now(agent.get(SYS_OBJECT_ID))
        self.assertEqual(self.versions(), ["2c", "2c", "1", "1"])
        self.run_now(agent.get(SYS_OBJECT_ID))
        self.assertEqual((agent.version, self.versions()[4:]), ("1", ["1"]))

    def test_forgotten(self) -> None:
        """When it falls silent it is probed again: it may have been replaced."""
        agent = self.agent(ANY)
        self.run_now(agent.get(SYS_OBJECT_ID))
        self.exchange.versions = {"1"}
        self.failure_now(agent.get(SYS_OBJECT_ID), SwitchTimeout)
        self.run_now(agent.get(SYS_OBJECT_ID))
        self.assertEqual(agent.version, "1")

    def test_nobody(self) -> None:
        """An agent that answers to neither is a timeout."""
        self.exchange.versions = set()
        self.failure_now(self.agent(ANY).get(SYS_OBJECT_ID), SwitchTimeout)

    def test_set_is_not_probed(self) -> None:
        """The probe is a GET, never the order itself."""
        self.exchange.values[(1, 1)] = 1
        self.exchange.versions = {"1"}
        self.run_now(self.agent(ANY).set((1, 1), 2))
        self.assertEqual([request.operation for _, request in self.exchange.requests], ["get"] * 3 + ["set"])


class WalkTests(AgentCase):
    """Walks."""

    def test_rows(self) -> None:
        """All rows of the column and none of the next, in every version."""
        self.exchange.values.update(column(48))
        expected = {(1, row): row for row in range(1, 49)}
        for credentials in (V2C, V1, User(name="piman")):
            self.assertEqual(self.run_now(self.agent(credentials).walk(COLUMN)), expected)

    def test_requests(self) -> None:
        """n rows take at most ceil(n / repetitions) + 1 requests, whatever n."""
        for repetitions in (1, 10, 24, 25, 48):
            for rows in (0, 1, 23, 24, 25, 47, 48, 49, 50):
                self.exchange = FakeExchange(column(rows))
                found = self.run_now(self.agent(repetitions=repetitions).walk(COLUMN))
                self.assertEqual(len(found), rows)
                self.assertLessEqual(len(self.exchange.requests), math.ceil(rows / repetitions) + 1)

    def test_version_1(self) -> None:
        """Version 1 has no GETBULK: one row a request."""
        self.exchange.values.update(column(5))
        self.run_now(self.agent(V1).walk(COLUMN))
        self.assertEqual([request.operation for _, request in self.exchange.requests], ["next"] * 6)

    def test_end_of_mib(self) -> None:
        """The last column of all ends, too."""
        self.exchange.values = {(*COLUMN, 1): 1}
        for credentials in (V2C, V1):
            self.assertEqual(self.run_now(self.agent(credentials).walk(COLUMN)), {(1,): 1})

    def test_too_big(self) -> None:
        """An agent that cannot answer so much at once is asked for less, from then on."""
        self.exchange.values.update(column(20))
        self.exchange.most_rows = 6
        agent = self.agent(repetitions=25)
        self.assertEqual(len(self.run_now(agent.walk(COLUMN))), 20)
        self.exchange.requests.clear()
        self.run_now(agent.walk(COLUMN))
        self.assertEqual({request.repetitions for _, request in self.exchange.requests}, {6})

    def test_always_too_big(self) -> None:
        """One that cannot even tell one row is refused."""
        self.exchange.values.update(column(2))
        self.exchange.most_rows = 0
        self.failure_now(self.agent().walk(COLUMN), SwitchRefused)

    def test_loop(self) -> None:
        """An agent that always gives the same object is refused after two requests."""
        self.exchange.answer = Answer(0, 0, (((*COLUMN, 1), 1),))
        self.failure_now(self.agent().walk(COLUMN), SwitchRefused)
        self.assertEqual(len(self.exchange.requests), 2)

    def test_endless(self) -> None:
        """A column without end is refused at a bound."""
        rows = iter(range(1, 100_000_000))

        def endless(target: Target, credentials: Credentials, request: Request, wait: float) -> "Deferred[Answer]":
            return succeed(Answer(0, 0, tuple(((*COLUMN, next(rows)), 1) for _ in range(20_000))))

        agent = RemoteAgent(endless, TARGET, V2C)
        self.assertIn("rows", self.failure_now(agent.walk(COLUMN), SwitchRefused).reason)


class OnceTests(AgentCase):
    """What is found out once."""

    def test_shared(self) -> None:
        """Who asks meanwhile gets the same answer, and it is found out once."""
        source: Deferred[int] = Deferred()
        asked = []

        async def find() -> int:
            asked.append(1)
            return await source

        once = Once(find)
        waiting = [Deferred.fromCoroutine(once.get()) for _ in range(3)]
        source.callback(5)
        self.assertEqual([self.successResultOf(each) for each in waiting], [5, 5, 5])
        self.assertEqual((self.run_now(once.get()), len(asked), once.known), (5, 1, 5))

    def test_failure(self) -> None:
        """A failure goes to all who wait and is not remembered."""
        sources: list[Deferred[int]] = [Deferred(), succeed(7)]

        async def find() -> int:
            return await sources.pop(0)

        once, first = Once(find), sources[0]
        waiting = [Deferred.fromCoroutine(once.get()) for _ in range(2)]
        first.errback(SwitchTimeout("silent"))
        for each in waiting:
            self.failureResultOf(each, SwitchTimeout)
        self.assertEqual(self.run_now(once.get()), 7)
