# -*- test-case-name: tests.test_fleet_operations -*-
"""
What is done for one target of an operation, from its turn to its end.
"""

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from piman.fleet.events import PowerCycled, PowerCycleFailed, PowerGiven, PowerRemoved
from piman.fleet.interfaces import PowerFailed, StoreFailed
from piman.fleet.model import IntentOrigin, NodeStatus, Phase, SwitchPort
from piman.fleet.operations.contract import Book
from piman.fleet.operations.following import Outcome, Standing, judge, restarted, stages
from piman.fleet.operations.orders import Action, Step, TargetReport
from piman.fleet.patience import Blame
from piman.fleet.state.intent_life import IntentRefused

LOOK_SECONDS = 5.0
"""Between two looks which board appears on a port that leads to nobody."""
RESCUE_SECONDS = 60.0
"""Between two attempts to give a port its power back that an earlier attempt could not."""
PEERS_SECONDS = 10.0
"""Between two looks how fast its peers are, while nothing happens to a node."""
BUSY = frozenset({Phase.OFF, Phase.POWERED, Phase.OFFERED, Phase.LEASED, Phase.LOADING})
"""Phases of a restart in which the node is a load: afterwards there is room for the next one."""
INSTALLING = BUSY | {Phase.STARTING, Phase.GREETING, Phase.FORMATTING, Phase.IMAGING}
"""The same for an installation."""


class _Failed(Exception):
    """The target failed for this reason."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class TargetRun:
    """
    One target at work.

    :ivar is_through: whether the node is past what the manager bears.
    """

    _log = Logger()

    def __init__(self, book: Book, operation_id: str, index: int) -> None:
        self.is_through = False
        self._book = book
        self._id = operation_id
        self._index = index
        self._done: Deferred[None] | None = None
        self._was_resumed = self._report.step is Step.FOLLOWING

    def start(self) -> "Deferred[None]":
        """Do it; never fails."""
        self._done = Deferred.fromCoroutine(self._run())
        return self._done.addErrback(self._broken)

    def cancel(self) -> "Deferred[None]":
        """Let go; nothing is switched any more."""
        assert self._done is not None
        ended: Deferred[None] = Deferred()
        self._done.addBoth(lambda _: ended.callback(None))
        self._done.cancel()
        return ended

    def _broken(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("operation {id} broke at target {index}", failure, id=self._id, index=self._index)

    @property
    def _report(self) -> TargetReport:
        return self._book.report(self._id, self._index)

    @property
    def _action(self) -> Action:
        operation = self._book.operation(self._id)
        assert operation is not None
        return operation.action

    @property
    def _port(self) -> SwitchPort:
        port = self._report.target.port
        assert port is not None
        return port

    async def _record(self, **changes: object) -> None:
        """Before it is done: on disk, or not done."""
        await self._book.record(self._id, self._index, **changes)

    async def _note(self, **changes: object) -> None:
        """After it was done: a port is never left dark because a disk is full."""
        await self._book.note(self._id, self._index, **changes)

    # The whole

    async def _run(self) -> None:
        if self._report.dark:
            self.is_through = True
            await self._rescue()
            return
        try:
            await self._act()
        except _Failed as failed:
            await self._end(Step.FAILED, failed.reason, failed.remedy)
        except PowerFailed as failed:
            self._emit_failure(failed)
            await self._end(Step.FAILED, failed.reason, failed.remedy)
        except StoreFailed as failed:
            reason = f"the manager could not write what it does: {failed}"
            await self._end(Step.FAILED, reason, "Free space on its disk.")
        if self._report.dark:
            await self._rescue()

    async def _act(self) -> None:
        if not self._report.started:
            await self._record(started=self._book.clock.seconds())
        match self._action:
            case Action.POWER_OFF:
                await self._power_off()
            case Action.POWER_ON:
                await self._power_on()
            case _:
                await self._bring_back()

    async def _end(self, step: Step, reason: str = "", remedy: str = "") -> None:
        if step is Step.FAILED:
            await self._give_up_intent(reason)
            self.is_through = True  # its place is free, but nothing went well
        now = self._book.clock.seconds()
        self._through()
        await self._note(step=step, finished=now, reason=reason, remedy=remedy, stages=self._stages())

    def _through(self) -> None:
        if not self.is_through:
            self.is_through = True
            self._book.passed(self._id, self._index)

    def _emit_failure(self, failed: PowerFailed) -> None:
        event = PowerCycleFailed(
            mac=self._report.target.mac, port=str(self._port), operation=self._id, reason=failed.reason
        )
        self._book.events.emit(event)

    # Power

    async def _power_off(self) -> None:
        await self._record(step=Step.SWITCHING_OFF)
        await self._book.desk.take_away(self._port)
        self._tell_removed()
        await self._note(off_at=self._book.clock.seconds())
        await self._end(Step.DONE)

    async def _power_on(self) -> None:
        if self._report.step is not Step.FOLLOWING:
            await self._record(step=Step.SWITCHING_ON)
            had_power = await self._has_power()
            await self._book.desk.give(self._port, is_new=not had_power)
            now = self._book.clock.seconds()
            if not had_power:
                given = PowerGiven(mac=self._report.target.mac, port=str(self._port), operation=self._id)
                self._book.events.emit(given)
                await self._note(off_at=now)
            await self._note(step=Step.FOLLOWING, on_at=now)
            if had_power:
                await self._end(Step.DONE, "it had power already")
                return
        await self._follow_to_the_end()

    async def _has_power(self) -> bool:
        """Whether the port is known to deliver power before anything is ordered."""
        try:
            return bool((await self._book.desk.look(self._port)).delivering)
        except PowerFailed:
            return False

    async def _bring_back(self) -> None:
        """Cycle and follow, again and again within bounds."""
        if self._report.step is not Step.FOLLOWING:
            await self._cycle()
        while not await self._follow_to_the_end():
            await self._cycle()

    async def _cycle(self) -> None:
        if self._report.step in (Step.WAITING, Step.SWITCHING_OFF, Step.FOLLOWING):
            await self._open_intent()
            goes_on = self._report.step is Step.SWITCHING_OFF
            await self._record(step=Step.SWITCHING_OFF, tries=self._report.tries + (not goes_on))
            await self._take_away(goes_on)
        if self._report.step is Step.OFF:
            await self._book.desk.pause(self._book.desk.policy.off_seconds)
            await self._note(step=Step.SWITCHING_ON)
        await self._give_back()
        now = self._book.clock.seconds()
        cycled = PowerCycled(
            mac=self._report.target.mac,
            port=str(self._port),
            operation=self._id,
            dark_seconds=max(0.0, now - self._report.off_at),
        )
        self._book.events.emit(cycled)
        await self._note(step=Step.FOLLOWING, on_at=now)

    async def _take_away(self, goes_on: bool) -> None:
        """
        Take the power away; when that fails, give it again, unless the switch has certainly done nothing.

        :param goes_on: an earlier process has begun with it, and nobody knows how far it came.
        """
        try:
            await self._book.desk.take_away(self._port)
        except PowerFailed as failed:
            if goes_on or not failed.nothing_done:
                await self._give_back(failed)
            raise
        self._tell_removed()
        await self._note(step=Step.OFF, off_at=self._book.clock.seconds())

    def _tell_removed(self) -> None:
        removed = PowerRemoved(mac=self._report.target.mac, port=str(self._port), operation=self._id)
        self._book.events.emit(removed)

    async def _give_back(self, because: PowerFailed | None = None) -> None:
        try:
            await self._book.desk.give(self._port)
        except PowerFailed as failed:
            await self._note(dark=True)
            first = f"{because.reason} Then: " if because else ""
            reason = f"{first}{failed.reason} The port may be off; it is switched on as soon as that is possible."
            raise PowerFailed(reason, failed.remedy) from failed

    async def _rescue(self) -> None:
        """Give a port its power back that was left without, however long it takes."""
        while not self._book.is_busy(self._port):  # the operator has ordered something newer
            try:
                await self._book.desk.give(self._port)
            except PowerFailed:
                await self._book.desk.pause(RESCUE_SECONDS)
                continue
            given = PowerGiven(mac=self._report.target.mac, port=str(self._port), operation=self._id)
            self._book.events.emit(given)
            break
        await self._note(dark=False)

    # The installation

    async def _open_intent(self) -> None:
        """The wish to install is on disk before anything is switched."""
        mac = self._report.target.mac
        if self._action is not Action.REINSTALL or self._report.intent or mac is None:
            return
        node, operation = self._book.nodes.node(mac), self._book.operation(self._id)
        if node is None or operation is None:
            raise _Failed("the node is not in the configuration any more", "Put its row back into hosts.csv.")
        serial = self._book.nodes.status(mac).serial
        image = operation.image or node.image
        intent = await self._book.intents.open_intent(mac, IntentOrigin.OPERATOR, image, serial)
        await self._record(intent=intent.id)

    async def _give_up_intent(self, reason: str) -> None:
        """A node that was not brought back must not be formatted by surprise at some later start."""
        mac, intent_id = self._report.target.mac, self._report.intent
        living = self._book.intents.current(mac) if mac is not None and intent_id else None
        if living is None or living.id != intent_id:
            return
        try:
            await self._book.intents.fail(living, f"operation {self._id} failed: {reason}", Blame.NOBODY)
        except (IntentRefused, StoreFailed) as failed:
            self._log.warn("the intent of {name} lives on: {why}", name=self._report.target.name, why=str(failed))

    # Following

    async def _follow_to_the_end(self) -> bool:
        """
        Follow the node; False: its power is to be cycled once more.

        :raises _Failed: when it is given up.
        """
        if self._report.target.mac is None and not await self._find_board():
            return True
        standing = await self._follow()
        if standing.outcome is Outcome.BACK:
            await self._end(Step.DONE)
            return True
        if standing.outcome is Outcome.UNMOVED and self._was_resumed and self._action is Action.RESTART:
            reason = "it is up; its start was not seen, because the manager itself was started anew meanwhile"
            await self._end(Step.DONE, reason)
            return True
        self._book.lost(self._action, self._report.on_at)
        if standing.outcome is Outcome.UNMOVED and not self._was_resumed:
            raise _Failed(
                "its port was without power, and yet it never stopped running",
                "It has another power supply, or hangs on another port (piman-ctl find-port tells): mend piman.yaml.",
            )
        if self._may_try_again():
            self.is_through = self._was_resumed = False
            return False
        status = self._status()
        why = self._book.explain(status)
        tries = f" after {self._report.tries} power cycles" if self._report.tries > 1 else ""
        raise _Failed(f"{why.sentence}{tries}", why.remedy)

    def _may_try_again(self) -> bool:
        operation = self._book.operation(self._id)
        is_wanted = operation is not None and not operation.cancelled_by
        tries = (operation.tries if operation is not None else 0) or self._book.settings.tries
        return self._action.cycles and is_wanted and self._report.tries < tries

    async def _follow(self) -> Standing:
        while True:
            await self._note_progress()  # first: from the judgement to the waiting nothing may happen unseen
            over = self._book.intent_over(self._report.intent) if self._report.intent else None
            if over:
                raise _Failed(f"it was not installed: {over}", "piman-ctl why tells more; order it again when mended.")
            status = self._status()
            standing = self._judged(status, is_installed=over == "")
            is_moving = standing.outcome is Outcome.ON_ITS_WAY and restarted(self._report, status)
            if is_moving and self._book.is_stuck(status):  # it shows signs of life, again and again the same ones
                standing = Standing(Outcome.OVERDUE)
            if standing.outcome is not Outcome.ON_ITS_WAY:
                return standing
            mac = self._report.target.mac
            assert mac is not None
            await self._book.until(mac, standing.again_at)

    def _judged(self, status: NodeStatus, *, is_installed: bool) -> Standing:
        """How it stands: overdue when its whole time is over, or when its peers have passed by far."""
        now, pace = self._book.clock.seconds(), self._book.pace
        waits = judge(self._report, status, now, action=self._action, installed=is_installed)
        if waits.outcome is not Outcome.ON_ITS_WAY or not (self._may_try_again() and pace.may_cut()):
            return waits
        waits = judge(
            self._report, status, now, action=self._action, installed=is_installed, patience=pace.patience
        )
        if waits.outcome is Outcome.OVERDUE:
            pace.cut()
        return attrs.evolve(waits, again_at=min(waits.again_at, now + PEERS_SECONDS))

    async def _note_progress(self) -> None:
        busy = INSTALLING if self._action is Action.REINSTALL else BUSY
        while (found := self._stages()) != self._report.stages:
            await self._note(stages=found)
        status = self._status()
        if status.phase not in busy and restarted(self._report, status):
            self._through()

    def _status(self) -> NodeStatus:
        mac = self._report.target.mac
        assert mac is not None
        return self._book.nodes.status(mac)

    def _stages(self) -> tuple[tuple[Phase, float], ...]:
        return stages(self._report, self._status()) if self._report.target.mac is not None else ()

    async def _find_board(self) -> bool:
        """Wait until the switch sees a board on a port that led to nobody; the target is done when none appears."""
        end = self._book.clock.seconds() + self._book.settings.unmapped_seconds
        while self._book.clock.seconds() < end:
            await self._book.desk.pause(LOOK_SECONDS)
            try:
                boards = (await self._book.desk.learned(self._port.switch)).get(self._port.port, frozenset())
            except PowerFailed:
                break
            if len(boards) == 1:
                (mac,) = boards
                node = self._book.nodes.node(mac)
                target = attrs.evolve(self._report.target, mac=mac, name=node.name if node else str(mac))
                await self._note(target=target)
                return True
        await self._end(Step.DONE, "the port was switched; no board is known there, so none could be followed")
        return False
