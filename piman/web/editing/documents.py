# -*- test-case-name: tests.test_web_editing -*-
"""
The two files, asked and changed from outside: one write at a time, each an event with who and from where, each applied
as SIGHUP does.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredLock

from piman.editing.desk import (
    CONFIG,
    HOSTS_FILE,
    BadProposal,
    ChangedMeanwhile,
    Desk,
    Mistaken,
    NotKept,
    Proposal,
    Sheet,
    Verdict,
    read_proposal,
)
from piman.fleet.events import ConfigurationEdited
from piman.fleet.interfaces import IEventSink
from piman.web.api import Caller
from piman.web.editing import shapes
from piman.web.editing.shapes import JSON
from piman.web.wishes import Refusal

Result = TypeVar("Result")
InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]

NAMES = {CONFIG: "piman.yaml", HOSTS_FILE: "hosts.csv"}


@attrs.frozen(kw_only=True)
class Applied:
    """
    What became of files that were read again.

    :ivar taken: whether they are in force now.
    :ivar at_once: keys that changed.
    :ivar at_restart: keys that wait for a restart.
    :ivar note: what else there is to say: why they were not taken, that no manager runs.
    """

    taken: bool
    at_once: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    note: str = ""


class MistakesFound(Refusal):
    """
    422: a proposal has mistakes.

    :ivar verdict: all of them, and where they are.
    """

    def __init__(self, verdict: JSON, count: int) -> None:
        message = f"found {count} mistakes" if count > 1 else "found a mistake"
        super().__init__(422, "has-mistakes", message, "Nothing was written. The verdict tells each with its line.")
        self.verdict = verdict


class Documents:
    """
    Both files.

    :param in_thread: runs what waits for disks.
    :param apply: makes the manager read its files again; may answer later.
    :param events: is told of each write.
    :param now: seconds since 1970.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        in_thread: InThread,
        apply: "Callable[[], Applied | Deferred[Applied]]",
        events: IEventSink | None,
        now: Callable[[], float],
    ) -> None:
        self.desk = desk
        self._in_thread = in_thread
        self._apply = apply
        self._events = events
        self._now = now
        self._writing = DeferredLock()
        self._last: dict[str, tuple[str, JSON]] = {}

    # Looking

    async def sheet(self, kind: str) -> JSON:
        """
        A file as it is.

        :raises Refusal: when it cannot be read.
        """
        found: Sheet = await self._done(lambda: self.desk.sheet(kind))
        return shapes.sheet(found, self._last_change(kind, found.digest))

    async def digest(self, kind: str) -> str:
        """
        What tells the file of now apart from others.

        :raises Refusal: when it cannot be read.
        """
        found: str = await self._done(lambda: self.desk.digest(kind))
        return found

    async def judge(self, kind: str, sent: Any) -> JSON:
        """
        What would become of a proposal; nothing is written.

        :raises Refusal: when it is none.
        """
        proposal = proposal_of(kind, sent)
        found: Verdict = await self._done(lambda: self.desk.judge(kind, proposal))
        return shapes.verdict(found, self._last_change(kind, found.digest))

    # Writing

    async def keep(self, kind: str, sent: Any, digest: str, caller: Caller) -> JSON:
        """
        Write a proposal down and apply it.

        :param digest: of the file that it was made for.
        :raises Refusal: when it has mistakes, somebody else was faster, or the disk would not take it.
        """
        proposal = proposal_of(kind, sent)
        await self._writing.acquire()
        try:
            verdict = await self._kept(kind, proposal, digest)
            if verdict.diff or verdict.backup:
                self._note(kind, verdict, caller)
            applied = await _later(self._apply())
        finally:
            self._writing.release()
        told = shapes.verdict(verdict, self._last_change(kind, verdict.digest))
        return {"verdict": told, "backup": verdict.backup, "applied": shape_of(applied)}

    async def apply(self) -> JSON:
        """Read the files again, as SIGHUP does."""
        await self._writing.acquire()
        try:
            return shape_of(await _later(self._apply()))
        finally:
            self._writing.release()

    async def _kept(self, kind: str, proposal: Proposal, digest: str) -> Verdict:
        try:
            found: Verdict = await self._done(lambda: self.desk.keep(kind, proposal, digest))
        except ChangedMeanwhile:
            raise await self._too_late(kind) from None
        except Mistaken as mistaken:
            now = mistaken.verdict
            shown = shapes.verdict(now, self._last_change(kind, now.digest))
            raise MistakesFound(shown, len(now.problems)) from None
        return found

    async def _too_late(self, kind: str) -> Refusal:
        last = self._last_change(kind, await self.digest(kind))
        who = f"by {last['who']} from {last['source']}" if last else "by hand, or before this manager started"
        hint = "Look at it again; POST .../validate with your base carries your changes over."
        return Refusal(412, "changed-meanwhile", f"{NAMES[kind]} was changed meanwhile, {who}", hint)

    def _note(self, kind: str, verdict: Verdict, caller: Caller) -> None:
        change = {"who": caller.who, "source": caller.source, "time": self._now()}
        self._last[kind] = verdict.digest, change
        if self._events is not None:
            name = self.desk.file(kind).path.name
            self._events.emit(
                ConfigurationEdited(file=name, who=caller.who, source=caller.source, backup=verdict.backup)
            )

    def _last_change(self, kind: str, digest: str) -> JSON | None:
        """Who wrote the file as it is, if that was done here."""
        known, change = self._last.get(kind, ("", None))
        return change if known == digest else None

    async def _done(self, work: Callable[[], Result]) -> Result:
        try:
            found: Result = await self._in_thread(work)
        except NotKept as reason:
            message = f"{reason.filename} could not be written: {reason.strerror}; it is as it was"
            raise Refusal(503, "not-on-disk", message, reason.hint) from None
        except OSError as reason:
            message = f"{reason.filename or 'the file'} cannot be read: {reason.strerror}"
            raise Refusal(503, "not-readable", message, "Mend that on the manager.") from None
        return found


def proposal_of(kind: str, sent: Any) -> Proposal:
    """
    What somebody would have.

    :raises Refusal: when it is no proposal.
    """
    try:
        return read_proposal(kind, sent)
    except BadProposal as reason:
        raise Refusal(400, "bad-proposal", str(reason), "GET /openapi.json describes the body.") from None


def shape_of(applied: Applied) -> JSON:
    """What became of files that were read again."""
    return {
        "taken": applied.taken,
        "at_once": list(applied.at_once),
        "at_restart": list(applied.at_restart),
        "warnings": list(applied.warnings),
        "note": applied.note,
    }


async def _later(found: "Applied | Deferred[Applied]") -> Applied:
    return await found if isinstance(found, Deferred) else found
