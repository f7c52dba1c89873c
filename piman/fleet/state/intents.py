# -*- test-case-name: tests.test_fleet_intents -*-
"""
The intents that live: by them, and by nothing else, a card may be formatted.

Every step is durable before anybody acts on it: the book's methods return a Deferred that fires once the intent is on
disk.  In memory a step counts at once, so a later word of the node cannot overtake an earlier one; a step that could
not be saved is saved with the next.

docs/decisions/intents.md says why.  The steps as such: :mod:`piman.fleet.state.intent_life`.  Which orders cost an
attempt, and pauses: :mod:`piman.fleet.patience`.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from piman.fleet.events import Installed, IntentClosed, IntentOpened
from piman.fleet.interfaces import IEventSink, IIntentStore, StoreFailed
from piman.fleet.model import Intent, IntentOrigin, IntentState, MACAddress
from piman.fleet.patience import Blame, Patience
from piman.fleet.state.intent_life import (
    IntentRefused,
    Verdict,
    delivered,
    expired,
    failed,
    fulfilled,
    is_stale,
    judge,
    ordered,
)

_CLOSED_KEPT = 4096
"""Tokens of closed intents that are still answered with "gone" instead of "unknown"."""


class IntentBook:
    """
    The intents that live, at most one for each board.

    :param token: makes secrets and ids, 32 hexadecimal digits each.
    """

    _log = Logger()

    def __init__(
        self,
        store: IIntentStore,
        clock: IReactorTime,
        events: IEventSink,
        token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._token = token
        self._live: dict[MACAddress, Intent] = {}
        self._by_token: dict[str, Intent] = {}
        self._closed: OrderedDict[str, Intent] = OrderedDict()
        self._patience = Patience(clock)
        self._saving: dict[str, Deferred[None]] = {}

    def load(self) -> None:
        """
        Read the living intents from the store: once, before anything is served.

        Of two for one board the newer wins.
        """
        for intent in self._store.load_intents():
            if intent.mac in self._live:
                self._drop(self._live[intent.mac], failed, "a newer one was found")
            self._keep(intent)

    def current(self, mac: MACAddress) -> Intent | None:
        """The living intent of the board; one that waited too long is closed here."""
        intent = self._live.get(mac)
        if intent is not None and is_stale(intent, self._clock.seconds()):
            self._drop(intent, expired, "the node did not call within an hour")
            return None
        return intent

    def recall(self, intent_id: str) -> Intent | None:
        """An intent by its id, final or not, as it is on disk: for the start."""
        return self._store.load_intent(intent_id)

    def living(self) -> tuple[Intent, ...]:
        """All living intents, those that waited too long closed first."""
        macs = tuple(self._live)
        return tuple(intent for mac in macs if (intent := self.current(mac)) is not None)

    def with_token(self, token: str) -> Intent | None:
        """The intent that gave out this token, closed ones of late included."""
        return self._by_token.get(token) or self._closed.get(token)

    def deaf_seconds(self, mac: MACAddress) -> float:
        """How long the board may not open an intent by itself, because one of its intents failed; 0: it may."""
        return self._patience.seconds_left(mac)

    def judge(self, mac: MACAddress, *, installed: bool, digest: str = "") -> Verdict:
        """What to do with a known node: :func:`judge` with all that is known here."""
        intent = self.current(mac)
        return judge(
            intent,
            installed=installed,
            digest=digest,
            hears_own_wish=not self.deaf_seconds(mac),
            is_free=intent is not None and self._patience.is_free(intent.id),
        )

    def open_intent(
        self, mac: MACAddress, origin: IntentOrigin, image: str, serial: str | None = None, attempts: int = 0
    ) -> "Deferred[Intent]":
        """
        Somebody wants the board installed.  Fires with the intent once it is durable.

        An operator's wish replaces a living intent; a node's own joins it.

        :param attempts: formats already ordered by intents that this one carries on.
        """
        living = self.current(mac)
        if living is not None and origin is IntentOrigin.NODE:
            return self._saved(living)
        if living is not None:
            self._drop(living, failed, "the operator ordered anew")
        if origin is IntentOrigin.OPERATOR:
            self._patience.forgive(mac)
        now = self._clock.seconds()
        intent = Intent(
            id=self._token(),
            mac=mac,
            origin=origin,
            opened=now,
            changed=now,
            image=image,
            serial=serial,
            attempts=attempts,
        )
        self._keep(intent)
        return self._saved(intent).addCallback(self._opened)

    def order(self, intent: Intent, digest: str) -> "Deferred[Intent]":
        """``format`` is about to be sent: send it when this fires.  Fails with :class:`IntentRefused`."""
        is_free = self._patience.is_free(intent.id)

        def step(living: Intent, now: float) -> Intent:
            changed = ordered(living, now, digest, self._token(), is_free=is_free)
            self._patience.ordered(intent.id)
            return changed

        return self._step(intent, step)

    def image_began(self, intent: Intent) -> None:
        """The image of the last order is on its way: the order costs an attempt."""
        if self._lives(intent):
            self._patience.began(intent.id)

    def stumbled(self, intent: Intent) -> None:
        """The node said that it failed, or took too long: the order costs an attempt."""
        if self._lives(intent):
            self._patience.stumbled(intent.id)

    def blame(self, intent: Intent) -> Blame:
        """What an intent whose attempts are used up failed of; an image that arrived is not the line's fault."""
        return Blame.CARD if intent.state is IntentState.DELIVERED else self._patience.blame(intent.id)

    def deliver(self, intent: Intent) -> "Deferred[Intent]":
        """Every byte of the image was acknowledged.  Fails with :class:`IntentRefused`."""
        return self._step(intent, delivered)

    def fulfil(self, intent: Intent) -> "Deferred[Intent]":
        """
        The card holds the image: the one place that emits :class:`Installed`, once durable.

        Fails with :class:`IntentRefused` when the intent is over, so that no intent is fulfilled twice.
        """
        return self._step(intent, fulfilled).addCallback(self._installed)

    def fail(self, intent: Intent, reason: str, blame: Blame = Blame.CARD) -> "Deferred[Intent]":
        """
        Give the intent up.  Fails with :class:`IntentRefused` when it is over.

        :param blame: how long the board's own wish is not heard from now on.
        """
        self._patience.failed(intent.mac, blame)
        return self._step(intent, lambda living, now: failed(living, now, reason))

    def write_anew(self) -> None:
        """Save what lives once more; what cannot be saved is saved with its next step."""
        for intent in self.living():
            self._saved(intent).addErrback(lambda failure: self._log.failure("saving an intent anew", failure))

    async def settle(self) -> None:
        """Wait until nothing waits for the disk any more."""
        while self._saving:
            waiting: Deferred[None] = Deferred()
            next(iter(self._saving.values())).addBoth(_also, waiting)
            await waiting

    def _lives(self, intent: Intent) -> bool:
        living = self._live.get(intent.mac)
        return living is not None and living.id == intent.id

    def _step(self, intent: Intent, transition: Callable[[Intent, float], Intent]) -> "Deferred[Intent]":
        living = self._live.get(intent.mac)
        try:
            if living is None or living.id != intent.id:
                raise IntentRefused("the intent is over")
            changed = transition(living, self._clock.seconds())
        except IntentRefused as reason:
            return fail(reason)
        if not changed.state.is_final:
            self._keep(changed)
            return self._saved(changed)
        return self._close(living, changed)

    def _keep(self, intent: Intent) -> None:
        """This is now the living intent of its board, in this state."""
        before = self._live.get(intent.mac)
        if before is not None and before.token is not None:
            self._by_token.pop(before.token, None)
        self._live[intent.mac] = intent
        if intent.token is not None:
            self._by_token[intent.token] = intent

    def _drop(self, intent: Intent, transition: Callable[..., Intent], reason: str) -> None:
        """Close an intent that nobody waits for."""
        closing = self._close(intent, transition(intent, self._clock.seconds(), reason))
        closing.addErrback(self._not_dropped)

    def _not_dropped(self, failure: Failure) -> None:
        if failure.check(StoreFailed) is None:  # the store tells that itself
            self._log.failure("closing an intent", failure=failure)

    def _close(self, living: Intent, final: Intent) -> "Deferred[Intent]":
        del self._live[final.mac]
        self._patience.closed(final.id)
        if final.token is not None:
            self._by_token.pop(final.token, None)
            self._closed[final.token] = final
            if len(self._closed) > _CLOSED_KEPT:
                self._closed.popitem(last=False)
        return self._saved(final).addCallbacks(self._closed_durably, self._not_closed, errbackArgs=(living,))

    def _closed_durably(self, intent: Intent) -> Intent:
        if intent.state is not IntentState.FULFILLED:
            closed = IntentClosed(mac=intent.mac, intent=intent.id, state=intent.state.value, reason=intent.reason)
            self._events.emit(closed)
        return intent

    def _not_closed(self, failure: Failure, living: Intent) -> Failure:
        """The disk did not take it: the intent lives on, unless there is a newer one."""
        if living.mac not in self._live:
            self._keep(living)
        return failure

    def _saved(self, intent: Intent) -> "Deferred[Intent]":
        """Save after all earlier states of the same intent; fires, or fails, as the store does."""
        before = self._saving.get(intent.id)
        result: Deferred[Intent] = Deferred()
        tail: Deferred[None] = Deferred()
        self._saving[intent.id] = tail

        def save(_: object = None) -> None:
            self._store.save_intent(intent).addCallback(lambda _: intent).addBoth(finished)

        def finished(outcome: Intent | Failure) -> None:
            # First whoever waits for this step, then the next step goes to the disk.
            result.callback(outcome)
            if self._saving.get(intent.id) is tail:
                del self._saving[intent.id]
            tail.callback(None)

        if before is None:
            save()
        else:
            before.addBoth(_then, save)
        return result

    def _opened(self, intent: Intent) -> Intent:
        self._events.emit(IntentOpened(mac=intent.mac, intent=intent.id, origin=intent.origin.value))
        return intent

    def _installed(self, intent: Intent) -> Intent:
        self._patience.forgive(intent.mac)
        self._events.emit(Installed(mac=intent.mac, intent=intent.id, digest=intent.digest or "", image=intent.image))
        return intent


def _then(outcome: object, act: Callable[[], None]) -> object:
    act()
    return outcome


def _also(outcome: object, waiting: "Deferred[None]") -> object:
    waiting.callback(None)
    return outcome
