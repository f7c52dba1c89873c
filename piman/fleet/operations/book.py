# -*- test-case-name: tests.test_fleet_operations -*-
"""
Restart, reinstall, power on, power off: from the operator's words to the truth about every node.

A plan first, then its execution: each step is on disk before it is taken, power is taken away until the port has
really stopped delivering and is given again, and then the node is followed until it is back, or it can be said that it
is stuck, and why.  What web, API and command line call, all of them; docs/decisions/operations.md

Beside it: what is planned (:mod:`.planning`), how power is switched (:mod:`.power`), when a node counts as back
(:mod:`.following`), whose turn it is (:mod:`.turns`), what is done for one target (:mod:`.target_run`).
"""

import secrets
from collections.abc import Callable, Iterable, Sequence

import attrs
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from piman.fleet.events import (
    Event,
    Installed,
    IntentClosed,
    OperationCancelled,
    OperationEnded,
    OperationStarted,
    Recorded,
)
from piman.fleet.interfaces import (
    IEventObserver,
    IEventSink,
    INodeDirectory,
    IOperationStore,
    StoreFailed,
)
from piman.fleet.model import IntentState, MACAddress, NodeStatus, SwitchPort
from piman.fleet.operations.contract import Explain, explain_plainly
from piman.fleet.operations.orders import Action, Operation, Step, TargetReport
from piman.fleet.operations.pace import Pace
from piman.fleet.operations.planning import OperationRefused, Plan, Planner, Wish
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.target_run import TargetRun
from piman.fleet.operations.targets import Atlas
from piman.fleet.operations.turns import Begun, Turns
from piman.fleet.state.intents import IntentBook


@attrs.frozen(kw_only=True)
class OperationSettings:
    """The knobs of operations."""

    max_blast: int = 20
    """More targets than this need a yes."""
    tries: int = 3
    """Power cycles for one target."""
    kept: int = 200
    """Operations that are over and still shown."""
    admission: bool = True
    """Whether the next targets wait until those in flight have passed what the manager bears."""
    unmapped_seconds: float = 60.0
    """How long a board is waited for on a port that leads to no known node."""


Watcher = Callable[[Operation], None]


@implementer(IEventObserver)
class Operations:
    """
    All orders, those of earlier processes included.  An observer to be told after the registry.

    :param atlas: what words can name, as of now.
    :param explain: why a node is where it is, and what to do.
    :param is_stuck: whether a node that gives signs of life does not get on all the same.
    :param is_crowded: whether boards wait for each other on the line to us, or for us.
    :ivar watchers: called with each operation that changed; a failing one is logged and costs the others nothing.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        desk: PowerDesk,
        atlas: Callable[[], Atlas],
        nodes: INodeDirectory,
        store: IOperationStore,
        intents: IntentBook,
        events: IEventSink,
        explain: Explain = explain_plainly,
        is_stuck: Callable[[NodeStatus], bool] = lambda status: False,
        is_crowded: Callable[[], bool] = lambda: False,
        settings: OperationSettings | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        self.clock = clock
        self.desk = desk
        self.nodes = nodes
        self.intents = intents
        self.events = events
        self.explain = explain
        self.is_stuck = is_stuck
        self.settings = settings or OperationSettings()
        self.watchers: list[Watcher] = []
        self.turns = Turns(clock, policy=lambda: desk.policy, is_crowded=is_crowded)
        self._planner = Planner(desk=desk, atlas=atlas, nodes=nodes)
        self._store = store
        self._new_id = new_id
        self._operations: dict[str, Operation] = {}
        self._unsaved: set[str] = set()
        """Orders on their way to the disk: nothing of them is begun."""
        self._runs: dict[tuple[str, int], TargetRun] = {}
        self._sleepers: dict[MACAddress, list[Deferred[None]]] = {}
        self._intents_over: dict[str, str] = {}
        self._stopping = False
        self._is_admitting = self._shall_admit = False

    # Planning

    async def plan(
        self, action: Action, words: Sequence[str], *, image: str = "", at_most: int = 0, stop_after: int = 0
    ) -> Plan:
        """
        What would be done.

        :raises BadTargets: when the words name what cannot or must not be switched.
        :raises OperationRefused: for any other reason.
        """
        wish = Wish(action=action, image=image, at_most=at_most, stop_after=stop_after)
        plan = await self._planner.plan(wish, words, self.settings.max_blast)
        self._refuse_busy(report.target.port for report in plan.targets)
        return plan

    def _refuse_busy(self, ports: Iterable[SwitchPort | None]) -> None:
        busy = self._busy_ports()
        for port in ports:
            operation = busy.get(port)
            if operation is not None and port is not None:
                raise OperationRefused(
                    f"{port} is in operation {operation.id} ({operation.action.value})",
                    f"wait for it, or: piman-ctl cancel {operation.id}",
                )

    def _busy_ports(self) -> dict[SwitchPort | None, Operation]:
        return {
            report.target.port: operation
            for operation in self._operations.values()
            for report in operation.reports
            if not report.step.is_final
        }

    # Ordering

    async def begin(self, plan: Plan, *, who: str, source: str, yes: bool = False, tries: int = 0) -> Operation:
        """
        Carry the plan out; returns once it is on disk and begun.

        :param tries: power cycles for one target; 0: as many as usual.
        :raises OperationRefused: when it is too large without a yes, or a node is in another operation by now.
        :raises StoreFailed: when it cannot be written; nothing was switched then.
        """
        if plan.needs_yes and not yes:
            raise OperationRefused(
                f"{len(plan.targets)} nodes are more than max_blast allows ({self.settings.max_blast})",
                "say --yes if you mean all of them",
            )
        self._refuse_busy(report.target.port for report in plan.targets)
        operation = Operation(
            id=self._new_id(),
            action=plan.action,
            who=who,
            source=source,
            created=self.clock.seconds(),
            at_most=plan.at_most,
            stop_after=plan.stop_after,
            image=plan.image,
            tries=tries,
            reports=plan.targets,
        )
        self._operations[operation.id] = operation
        self._unsaved.add(operation.id)
        try:
            await self._store.save_operation(operation, range(len(operation.reports)))
        except StoreFailed:
            del self._operations[operation.id]
            raise
        finally:
            self._unsaved.discard(operation.id)
        started = OperationStarted(
            operation=operation.id,
            action=operation.action.value,
            who=who,
            source=source,
            targets=len(operation.reports),
        )
        self.events.emit(started)
        self._forget_old()
        self.admit()
        return self._operations[operation.id]

    async def cancel(self, operation_id: str, *, who: str, source: str) -> Operation:
        """
        Begin with nothing more of an operation; what is switched off is switched on again all the same.

        :raises KeyError: when there is no such operation.
        :raises StoreFailed: when it cannot be written.
        """
        operation = self._operations[operation_id]
        if operation.is_final:
            return operation
        told = OperationCancelled(operation=operation_id, who=who, source=source)
        cancelled = attrs.evolve(operation, cancelled_by=who)
        try:
            await self._cancel_waiting(cancelled, f"cancelled by {who}", told)
        except StoreFailed:
            self._keep(attrs.evolve(self._operations[operation_id], cancelled_by=operation.cancelled_by))
            raise
        return self._operations[operation_id]

    async def _cancel_waiting(self, operation: Operation, reason: str, told: Event | None = None) -> None:
        now = self.clock.seconds()
        indexes = [index for index, report in enumerate(operation.reports) if report.step is Step.WAITING]
        for index in indexes:
            operation = operation.with_report(index, step=Step.CANCELLED, finished=now, reason=reason)
        await self.save(operation, indexes, told=told)

    @property
    def pace(self) -> Pace:
        """How fast nodes are, as seen lately."""
        return self.turns.pace

    def operation(self, operation_id: str) -> Operation | None:
        """The operation of this id."""
        return self._operations.get(operation_id)

    def operations(self) -> list[Operation]:
        """All that are remembered, the newest last."""
        return list(self._operations.values())

    def operation_of(self, mac: MACAddress) -> Operation | None:
        """The operation that the board is in."""
        for operation in self._operations.values():
            if any(report.target.mac == mac and not report.step.is_final for report in operation.reports):
                return operation
        return None

    # Beginning and end of the process

    def load(self) -> None:
        """Take the operations of earlier processes; call it once, when the store is open."""
        for operation in self._store.load_operations(self.settings.kept):
            self._operations[operation.id] = operation

    def resume(self) -> None:
        """
        Go on with what an earlier process left: first of all, ports that may be dark are given power.

        What is known of intents that ended meanwhile is read from the book.
        """
        self._stopping = False
        for operation in list(self._operations.values()):
            for index, report in enumerate(operation.reports):
                if report.intent:
                    self._recall_intent(report.intent)
                if report.step.is_in_flight or report.dark:
                    self._start(operation.id, index)
        self.admit()

    def _recall_intent(self, intent_id: str) -> None:
        intent = self.intents.recall(intent_id)
        if intent is not None and intent.state.is_final:
            fulfilled = intent.state is IntentState.FULFILLED
            self._intents_over[intent_id] = "" if fulfilled else intent.reason or intent.state.value

    async def stop(self) -> None:
        """Let go of everything; what is on disk goes on with the next process."""
        self._stopping = True
        runs = [run.cancel() for run in list(self._runs.values())]
        await gatherResults(runs, consumeErrors=True)

    def write_anew(self) -> None:
        """Save once more what is not over, whatever the disk makes of it."""
        for operation in self._operations.values():
            if not operation.is_final:
                saved = self._store.save_operation(operation, range(len(operation.reports)))
                saved.addErrback(lambda failure: self._log.failure("saving an operation anew", failure))

    # What runs

    def admit(self) -> None:
        """Begin with as many targets as there is room for; what begins may make room for more at once."""
        self._shall_admit = True
        if self._is_admitting:
            return
        self._is_admitting = True
        try:
            while self._shall_admit and not self._stopping:
                self._shall_admit = False
                for operation in list(self._operations.values()):
                    for index in self._next_targets(operation):
                        self._start(operation.id, index)
        finally:
            self._is_admitting = False

    def _next_targets(self, operation: Operation) -> list[int]:
        """The targets whose turn it is."""
        if operation.is_final or operation.id in self._unsaved:
            return []
        waiting = [
            index
            for index, report in enumerate(operation.reports)
            if report.step is Step.WAITING and (operation.id, index) not in self._runs
        ]
        room = len(waiting)
        if self.settings.admission and operation.action is not Action.POWER_OFF:
            begun = [self._begun(name, index, run) for (name, index), run in self._runs.items()]
            waiting = self.turns.of(operation, waiting, begun)
            room = self.turns.room(operation.action, begun)
        if operation.at_most:
            room = min(room, operation.at_most - sum(name == operation.id for name, _ in self._runs))
        return waiting[: max(0, room)]

    def _begun(self, operation_id: str, index: int, run: TargetRun) -> Begun:
        operation = self._operations[operation_id]
        return Begun(operation.action, operation.reports[index], run.is_through)

    def _start(self, operation_id: str, index: int) -> None:
        run = TargetRun(self, operation_id, index)
        self._runs[operation_id, index] = run
        run.start().addBoth(self._ended, operation_id, index)

    def _ended(self, result: object, operation_id: str, index: int) -> None:
        self._runs.pop((operation_id, index), None)
        if self._stopping:
            return
        operation = self._operations[operation_id]
        if operation.stop_after and operation.failures >= operation.stop_after and not operation.is_final:
            reason = f"{operation.failures} nodes failed: nothing more is begun"
            stopped = Deferred.fromCoroutine(self._cancel_waiting(operation, reason))
            stopped.addErrback(lambda failure: self._log.failure("stopping an operation", failure=failure))
        self.admit()

    # What runs of targets ask and tell

    def report(self, operation_id: str, index: int) -> TargetReport:
        """How far it is with a target."""
        return self._operations[operation_id].reports[index]

    async def record(self, operation_id: str, index: int, **changes: object) -> None:
        """
        Something is about to happen to a target: fires when it is on disk.

        :raises StoreFailed: when it is not; the report is then as it was.
        """
        await self.save(self._operations[operation_id].with_report(index, **changes), [index])

    async def note(self, operation_id: str, index: int, **changes: object) -> None:
        """Something has happened to a target: it is so whether the disk takes it or not."""
        try:
            await self.save(self._operations[operation_id].with_report(index, **changes), [index], anyway=True)
        except StoreFailed as failed:
            self._log.warn("operation {id} is not on disk as it is: {why}", id=operation_id, why=str(failed))
        if changes.get("step") is Step.FOLLOWING:
            self.admit()  # its switch has one less to come back to

    async def save(
        self, operation: Operation, indexes: Sequence[int], *, anyway: bool = False, told: Event | None = None
    ) -> None:
        """
        Keep an operation in memory and on disk; the first time that it is final, say so.

        :param anyway: in memory also when the disk does not take it.
        :param told: an event to be emitted once it is on disk.
        :raises StoreFailed: when the disk does not take it.
        """
        was_final = self._operations[operation.id].is_final
        if operation.is_final and not operation.finished:
            operation = attrs.evolve(operation, finished=self.clock.seconds())
        before = self._operations[operation.id]
        self._keep(operation)
        try:
            await self._store.save_operation(operation, indexes)
            if told is not None:
                self.events.emit(told)
        except StoreFailed:
            if not anyway:
                self._take_back(before, indexes)
            raise
        finally:
            made_final = operation.is_final and not was_final  # and no other save that is on its way to the disk
            if made_final and self._operations[operation.id].is_final:
                self._tell_end(self._operations[operation.id])

    def _take_back(self, before: Operation, indexes: Sequence[int]) -> None:
        current = self._operations[before.id]
        for index in indexes:
            current = current.with_report(index, **attrs.asdict(before.reports[index], recurse=False))
        self._keep(attrs.evolve(current, finished=before.finished))

    def _tell_end(self, operation: Operation) -> None:
        counts = operation.counts
        ended = OperationEnded(
            operation=operation.id,
            action=operation.action.value,
            done=counts[Step.DONE],
            failed=counts[Step.FAILED],
            cancelled=counts[Step.CANCELLED],
        )
        self.events.emit(ended)

    def is_busy(self, port: SwitchPort) -> bool:
        """Whether the port is in an operation that goes on."""
        return port in self._busy_ports()

    async def until(self, mac: MACAddress, moment: float) -> None:
        """Until something happens to the board, or this moment."""
        woken: Deferred[None] = Deferred()
        self._sleepers.setdefault(mac, []).append(woken)
        woken.addTimeout(max(0.01, moment - self.clock.seconds()), self.clock)
        try:
            await woken
        except TimeoutError:
            pass
        finally:
            self._forget_sleeper(mac, woken)

    def _forget_sleeper(self, mac: MACAddress, woken: "Deferred[None]") -> None:
        sleepers = [other for other in self._sleepers.pop(mac, []) if other is not woken]
        if sleepers:
            self._sleepers[mac] = sleepers

    def intent_over(self, intent_id: str) -> str | None:
        """None: the intent lives; empty: it is fulfilled; else why it is not."""
        return self._intents_over.get(intent_id)

    def passed(self, operation_id: str, index: int) -> None:
        """The node of this target is through what the manager bears: there is room for another."""
        self.turns.passed(self._operations[operation_id].action, self.report(operation_id, index))
        self.admit()

    def lost(self, action: Action, powered_at: float) -> None:
        """A node did not get through."""
        self.turns.lost(action, powered_at)

    def observe(self, recorded: Recorded) -> None:
        """Wake whoever follows the node."""
        event = recorded.event
        if isinstance(event, Installed):
            self._intents_over[event.intent] = ""
        elif isinstance(event, IntentClosed):
            self._intents_over[event.intent] = event.reason or event.state
        if event.mac is not None:
            for woken in self._sleepers.pop(event.mac, []):
                woken.callback(None)

    def _keep(self, operation: Operation) -> None:
        self._operations[operation.id] = operation
        for watcher in tuple(self.watchers):
            try:
                watcher(operation)
            except Exception:
                self._log.failure("{watcher} failed", watcher=watcher)

    def _forget_old(self) -> None:
        final = [operation.id for operation in self._operations.values() if operation.is_final]
        for operation_id in final[: max(0, len(final) - self.settings.kept)]:
            del self._operations[operation_id]
