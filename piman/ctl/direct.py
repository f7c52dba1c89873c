# -*- test-case-name: tests.test_ctl_direct -*-
"""
Without a manager: the switches themselves, planned and switched as the manager does it.

Nothing is on disk here, and no node can be followed further than its port: that it gives power again.  What is
switched off is switched on again, whatever happens but SIGKILL.
"""

import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore, succeed
from zope.interface import implementer

from piman.config import Config
from piman.ctl.client import JSON, Refused
from piman.ctl.options import Ordering
from piman.ctl.printing import show_plan
from piman.ctl.progress import view_for
from piman.fleet.events import Event
from piman.fleet.interfaces import IEventSink, IIntentStore, IOperationStore, PowerFailed
from piman.fleet.model import Intent, MACAddress, SwitchPort
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations
from piman.fleet.operations.orders import Action, Operation, Step
from piman.fleet.operations.planning import OperationRefused, Plan
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.targets import Atlas, BadTargets
from piman.fleet.state.intents import IntentBook
from piman.fleet.whereabouts import find, survey
from piman.power import atlas_of, operation_settings, power_policy, power_switches
from piman.settings.power import PowerSwitches
from piman.web import shapes

DONE, FAILED = 0, 1
AT_ONCE = 16
"""So many nodes at a time when nobody says otherwise: as the manager begins."""
LOOKS = (0.5, 1.0, 2.0, 3.0, 4.0)
"""Pauses before each look whether a port gives power: a switch takes seconds to find out what hangs there."""
UNFOLLOWED = "its port gives power again; without a manager it is not followed further"
IDLE = "its port is on, but nothing draws power there yet; without a manager it is not followed further"


@implementer(IOperationStore, IIntentStore, IEventSink)
class _NoBook:
    """Keeps nothing: what planning asks for, and no more."""

    def load_operations(self, limit: int) -> list[Operation]:
        """None."""
        return []

    def save_operation(self, operation: Operation, indexes: Sequence[int]) -> "Deferred[None]":
        """Nowhere."""
        return succeed(None)

    def load_intents(self) -> list[Intent]:
        """None."""
        return []

    def load_intent(self, intent: str) -> Intent | None:
        """None."""
        return None

    def save_intent(self, intent: Intent) -> "Deferred[None]":
        """Nowhere."""
        return succeed(None)

    def emit(self, event: Event) -> None:
        """To nobody."""


class _Desk:
    """Switches and names of a configuration, for one word."""

    def __init__(self, reactor: Any, config: Config, switches: PowerSwitches | None = None) -> None:
        self.reactor = reactor
        self.switches = switches or power_switches(reactor, config)
        self.desk = PowerDesk(reactor, self.switches.by_address, power_policy(config))
        self.atlas: Atlas = atlas_of(config, {})
        self.labels = {place.address: place.label for place in self.atlas.places}
        self._config = config

    async def plan(self, options: Ordering) -> Plan:
        """The same plan as the manager's, as far as nothing is known of what was seen."""
        book = _NoBook()
        registry = NodeRegistry(self._config.nodes, self._config.slots)
        planner = Operations(
            self.reactor,
            desk=self.desk,
            atlas=lambda: self.atlas,
            nodes=registry,
            store=book,
            intents=IntentBook(book, self.reactor, book),
            events=book,
            settings=operation_settings(self._config),
        )
        try:
            return await planner.plan(Action.RESTART, options["nodes"], at_most=options["at-most"])
        except BadTargets as reason:
            raise Refused(422, "bad-targets", "; ".join(reason.problems), "Nothing was changed.") from reason
        except OperationRefused as reason:
            raise Refused(409, "refused", reason.reason, reason.hint) from reason


async def restart_directly(
    reactor: Any, config: Config, options: Ordering, answer: Any, switches: PowerSwitches | None = None
) -> int:
    """Take power away and give it again; the exit status."""
    parts = _Desk(reactor, config, switches)
    try:
        plan = await parts.plan(options)
        if options["dry-run"]:
            show_plan(shapes.plan(plan, parts.labels), answer, as_json=bool(options["json"]))
            return DONE
        if plan.needs_yes and not options["yes"]:
            most = config.operations.max_blast
            reason = f"{len(plan.targets)} nodes are more than max_blast allows ({most})"
            raise Refused(409, "refused", reason, "Say --yes if you mean all of them.")
        for note in plan.notes:
            print(f"note: {note}", file=sys.stderr)
        return await _Restart(parts, plan, options, answer).run()
    finally:
        parts.switches.close()


class _Restart:
    """One restart, shown as if the manager did it."""

    def __init__(self, parts: _Desk, plan: Plan, options: Ordering, answer: Any) -> None:
        self._clock = parts.reactor
        self._desk = parts.desk
        self._labels = parts.labels
        self._at_once = plan.at_most or AT_ONCE
        self._stop_after: int = options["stop-after"]
        self._is_interrupted = False
        self._view = view_for(answer, parts.reactor.seconds, json=bool(options["json"]))
        self._operation = Operation(
            id="directly",
            action=Action.RESTART,
            source="no manager",
            created=parts.reactor.seconds(),
            at_most=plan.at_most,
            stop_after=self._stop_after,
            reports=plan.targets,
        )

    async def run(self) -> int:
        """Do it."""
        self._view.update(shapes.operation(self._operation, self._labels))
        turns = DeferredSemaphore(self._at_once)
        runs = [turns.run(self._begin, index) for index in range(len(self._operation.reports))]
        results: Any = await DeferredList(runs, consumeErrors=True)  # cancelled: each of them, and all are waited for
        self._view.finish()
        for is_good, failure in results:
            if not is_good and failure.check(CancelledError) is None:
                failure.raiseException()
        if self._is_interrupted:
            raise CancelledError
        return DONE if self._view.progress.is_good else FAILED

    def _begin(self, index: int) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._one(index))

    async def _one(self, index: int) -> None:
        if self._is_interrupted:
            return
        if self._stop_after and self._operation.failures >= self._stop_after:
            reason = f"{self._operation.failures} nodes failed: nothing more is begun"
            self._note(index, step=Step.CANCELLED, finished=self._clock.seconds(), reason=reason)
            return
        port = self._operation.reports[index].target.port
        assert port is not None  # resolve() refuses nodes without one
        self._note(index, step=Step.SWITCHING_OFF, started=self._clock.seconds(), tries=1)
        try:
            await self._cycle(index, port)
        except PowerFailed as failure:
            await self._fail(index, port, failure)
        except CancelledError:
            self._is_interrupted = True
            await self._fail(index, port, PowerFailed("it was interrupted"))

    async def _cycle(self, index: int, port: SwitchPort) -> None:
        await self._desk.take_away(port)
        self._note(index, step=Step.OFF, off_at=self._clock.seconds())
        await self._desk.pause(self._desk.policy.off_seconds)
        self._note(index, step=Step.SWITCHING_ON)
        await self._desk.give(port)
        self._note(index, step=Step.FOLLOWING, on_at=self._clock.seconds())
        reason = UNFOLLOWED if await self._delivers(port) else IDLE
        self._note(index, step=Step.DONE, finished=self._clock.seconds(), reason=reason)

    async def _delivers(self, port: SwitchPort) -> bool:
        for pause in LOOKS:
            await self._desk.pause(pause)
            if (await self._desk.look(port)).delivering is not False:
                return True
        return False

    async def _fail(self, index: int, port: SwitchPort, failure: PowerFailed) -> None:
        """Whatever happened, the port is on afterwards, or it is said that it is not."""
        dark = False
        if self._operation.reports[index].step is not Step.SWITCHING_OFF or not failure.nothing_done:
            try:
                await self._desk.give(port)
            except PowerFailed:
                dark = True
        reason, remedy = failure.reason, failure.remedy
        if dark:
            reason = f"{reason}; {port} may be off now"
            remedy = f"{remedy} Switch it on by hand, or: piman restart again.".lstrip()
        self._note(index, step=Step.FAILED, finished=self._clock.seconds(), reason=reason, remedy=remedy)

    def _note(self, index: int, **changes: object) -> None:
        self._operation = self._operation.with_report(index, **changes)
        self._view.update(shapes.operation(self._operation, self._labels, [index]))


async def find_port_directly(reactor: Any, config: Config, board: str, switches: PowerSwitches | None = None) -> JSON:
    """Where a board hangs, as the API tells it."""
    parts = _Desk(reactor, config, switches)
    try:
        node = parts.atlas.node(board)
        mac = node.mac if node else _mac(board)
        seen = await survey(parts.desk, parts.atlas)
        return shapes.whereabouts(find(mac, parts.atlas, seen.learned), parts.labels, seen.silent)
    finally:
        parts.switches.close()


def _mac(board: str) -> MACAddress:
    try:
        return MACAddress.parse(board)
    except ValueError:
        message = f"found {board!r}, expected a MAC like b8:27:eb:12:34:56"
        raise Refused(400, "bad-mac", message, "Names of nodes work, too.") from None
