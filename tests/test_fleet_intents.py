"""
When a card may be formatted.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.events import Installed, IntentClosed, IntentOpened
from piman.fleet.interfaces import StoreFull
from piman.fleet.model import Intent, IntentOrigin, IntentState
from piman.fleet.patience import FREE_ORDERS, LINE_PAUSE_SECONDS, PAUSE_SECONDS, Blame
from piman.fleet.state.intent_life import (
    ATTEMPTS,
    OPEN_SECONDS,
    IntentRefused,
    Verdict,
    delivered,
    expired,
    failed,
    fulfilled,
    is_for_board,
    judge,
    ordered,
)
from piman.fleet.state.intents import IntentBook
from piman.testing.fakes import CapturedEvents
from tests.hello_support import DIGEST, MAC, NOW, OTHER, SlowStore

OPEN = Intent(id="1" * 32, mac=MAC, origin=IntentOrigin.OPERATOR, opened=NOW)
ORDERED = ordered(OPEN, NOW, DIGEST, "token")
DELIVERED = delivered(ORDERED, NOW)
FULFILLED = fulfilled(DELIVERED, NOW)
FAILED = failed(OPEN, NOW, "broken")
EXPIRED = expired(OPEN, NOW, "late")
STEPS = ("open", "node", "order", "begin", "stumble", "deliver", "fulfil", "fail", "crash", "hour", "full")


class TransitionTests(SynchronousTestCase):
    """The life of one intent."""

    def test_the_good_life(self) -> None:
        """An intent is opened, ordered, delivered and fulfilled, and keeps what was ordered."""
        self.assertEqual(FULFILLED.state, IntentState.FULFILLED)
        self.assertEqual((FULFILLED.digest, FULFILLED.token, FULFILLED.attempts), (DIGEST, "token", 1))

    def test_what_each_state_refuses(self) -> None:
        """A step that the life does not have is refused: above all, a delivered intent is never ordered again."""
        steps = {
            "order": lambda intent: ordered(intent, NOW, DIGEST, "t"),
            "deliver": lambda intent: delivered(intent, NOW),
            "fulfil": lambda intent: fulfilled(intent, NOW),
            "fail": lambda intent: failed(intent, NOW, "x"),
            "expire": lambda intent: expired(intent, NOW, "x"),
        }
        allowed = {
            OPEN: {"order", "fail", "expire"},
            ORDERED: {"order", "deliver", "fail"},
            DELIVERED: {"deliver", "fulfil", "fail"},
            FULFILLED: set(),
            FAILED: set(),
            EXPIRED: set(),
        }
        for intent, names in allowed.items():
            for name, step in steps.items():
                if name in names:
                    step(intent)
                else:
                    self.assertRaises(IntentRefused, step, intent)

    def test_three_attempts(self) -> None:
        """The fourth order is refused."""
        intent = OPEN
        for _ in range(ATTEMPTS):
            intent = ordered(intent, NOW, DIGEST, "t")
        self.assertRaises(IntentRefused, ordered, intent, NOW, DIGEST, "t")

    def test_token_lives_as_long_as_the_image(self) -> None:
        """A second order keeps the token, so that a fetch can be resumed; another image gets another token."""
        self.assertEqual(ordered(ORDERED, NOW, DIGEST, "new").token, "token")
        self.assertEqual(ordered(ORDERED, NOW, "00" * 32, "new").token, "new")

    def test_serial(self) -> None:
        """Another board is one whose serial is known and differs."""
        meant = Intent(id="2", mac=MAC, origin=IntentOrigin.OPERATOR, opened=NOW, serial="ab12cd34")
        self.assertTrue(is_for_board(meant, "ab12cd34"))
        self.assertTrue(is_for_board(meant, None))
        self.assertTrue(is_for_board(OPEN, "ab12cd34"))
        self.assertFalse(is_for_board(meant, "00000000"))


class JudgeTests(SynchronousTestCase):
    """The verdict on a node that says what is on its card."""

    def test_table(self) -> None:
        """Every row of the table in docs/protocols/hello.md."""
        worn = ordered(ordered(ORDERED, NOW, DIGEST, "t"), NOW, DIGEST, "t")
        rows = [
            (None, True, Verdict.BOOT),
            (None, False, Verdict.FORMAT),
            (OPEN, True, Verdict.FORMAT),
            (OPEN, False, Verdict.FORMAT),
            (ORDERED, True, Verdict.FORMAT),
            (ORDERED, False, Verdict.FORMAT),
            (worn, True, Verdict.GIVE_UP),
            (worn, False, Verdict.GIVE_UP),
            (DELIVERED, True, Verdict.FULFIL),
            (DELIVERED, False, Verdict.RENEW),
            (delivered(worn, NOW), True, Verdict.FULFIL),
            (delivered(worn, NOW), False, Verdict.GIVE_UP),
        ]
        for intent, installed, verdict in rows:
            self.assertIs(judge(intent, installed=installed), verdict, (intent, installed))

    def test_pause(self) -> None:
        """A node whose installation failed of late is not heard, but boots what it has."""
        self.assertIs(judge(None, installed=False, hears_own_wish=False), Verdict.TURN_AWAY)
        self.assertIs(judge(None, installed=True, hears_own_wish=False), Verdict.BOOT)
        self.assertIs(judge(OPEN, installed=False, hears_own_wish=False), Verdict.FORMAT)

    def test_digest_on_the_card(self) -> None:
        """A card that holds the ordered image fulfils the intent; an operator's new wish is obeyed all the same."""
        self.assertIs(judge(ORDERED, installed=True, digest=DIGEST), Verdict.FULFIL)
        self.assertIs(judge(ORDERED, installed=True, digest="00" * 32), Verdict.FORMAT)
        self.assertIs(judge(ORDERED, installed=False, digest=DIGEST), Verdict.FORMAT)
        self.assertIs(judge(OPEN, installed=True, digest=DIGEST), Verdict.FORMAT)


class BookTests(SynchronousTestCase):
    """The living intents and the disk."""

    def setUp(self) -> None:
        """An empty book."""
        self.clock = Clock()
        self.clock.rightNow = NOW
        self.store = SlowStore()
        self.events = CapturedEvents()
        self.ids = 0
        self.book = self.reload()

    def reload(self) -> IntentBook:
        """The manager starts with what is on disk."""
        self.book = IntentBook(self.store, self.clock, self.events, token=self.token)
        self.book.load()
        return self.book

    def token(self) -> str:
        """Counted, so that failures repeat."""
        self.ids += 1
        return f"{self.ids:032x}"

    def opened(self, origin: IntentOrigin = IntentOrigin.OPERATOR) -> Intent:
        """A durable intent."""
        return self.successResultOf(self.book.open_intent(MAC, origin, "default"))

    def test_durable_before_it_fires(self) -> None:
        """Each step fires only once it is on disk."""
        self.store.held = True
        opening = self.book.open_intent(MAC, IntentOrigin.NODE, "default")
        self.assertNoResult(opening)
        self.assertEqual(self.events.events, [])
        self.store.flush()
        intent = self.successResultOf(opening)
        ordering = self.book.order(intent, DIGEST)
        self.assertNoResult(ordering)
        self.assertEqual(self.store.intents[intent.id].state, IntentState.OPEN)
        self.store.flush()
        self.assertEqual(self.successResultOf(ordering).state, IntentState.ORDERED)
        self.assertEqual(self.store.intents[intent.id].state, IntentState.ORDERED)

    def test_a_word_cannot_overtake_the_disk(self) -> None:
        """IS_FORMATTED that arrives while `delivered` is being written fulfils, and the disk sees both in order."""
        intent = self.successResultOf(self.book.order(self.opened(), DIGEST))
        self.store.held = True
        delivering = self.book.deliver(intent)
        fulfilling = self.book.fulfil(intent)
        self.assertEqual(len(self.store.waiting), 1)
        self.store.flush()
        self.successResultOf(delivering)
        self.successResultOf(fulfilling)
        states = [saved.state for saved in self.store.history]
        self.assertEqual(states[-2:], [IntentState.DELIVERED, IntentState.FULFILLED])

    def test_installed_once(self) -> None:
        """The second fulfilment of an intent is refused and says nothing."""
        intent = self.successResultOf(self.book.order(self.opened(), DIGEST))
        self.successResultOf(self.book.deliver(intent))
        self.store.held = True
        first = self.book.fulfil(intent)
        self.failureResultOf(self.book.fulfil(intent), IntentRefused)
        self.store.flush()
        self.successResultOf(first)
        self.failureResultOf(self.book.fulfil(intent), IntentRefused)
        installed = Installed(mac=MAC, intent=intent.id, digest=DIGEST, image="default")
        self.assertEqual(self.events.of(Installed), [installed])

    def test_restart(self) -> None:
        """What was on disk lives after a restart, token included; what was over stays over."""
        intent = self.successResultOf(self.book.order(self.opened(), DIGEST))
        self.reload()
        self.assertEqual(self.book.current(MAC), intent)
        self.assertEqual(self.book.with_token(intent.token or ""), intent)
        self.successResultOf(self.book.deliver(intent))
        self.successResultOf(self.book.fulfil(intent))
        self.reload()
        self.assertIsNone(self.book.current(MAC))

    def test_two_found_for_one_board(self) -> None:
        """Of two living intents of one board the newer wins, and the older is closed on disk."""
        self.store.intents = {OPEN.id: OPEN, "2": Intent(id="2", mac=MAC, origin=IntentOrigin.NODE, opened=NOW + 1)}
        self.reload()
        self.assertEqual(self.book.current(MAC), self.store.intents["2"])
        self.assertEqual(self.store.intents[OPEN.id].state, IntentState.FAILED)

    def test_full_disk(self) -> None:
        """A step that was not written fails, and is written with the next one; a format never sent costs nothing."""
        intent = self.opened()
        self.store.held = True
        ordering = self.book.order(intent, DIGEST)
        self.store.refuse()
        self.failureResultOf(ordering, StoreFull)
        self.store.held = False
        again = self.successResultOf(self.book.order(intent, DIGEST))
        self.assertEqual(again.attempts, 1)
        self.assertEqual(self.store.intents[intent.id], again)

    def test_full_disk_at_the_end(self) -> None:
        """A fulfilment that was not written is none: the intent lives on, and the next one counts."""
        intent = self.successResultOf(self.book.order(self.opened(), DIGEST))
        self.successResultOf(self.book.deliver(intent))
        self.store.held = True
        fulfilling = self.book.fulfil(intent)
        self.store.refuse()
        self.failureResultOf(fulfilling, StoreFull)
        self.assertEqual(self.events.of(Installed), [])
        self.store.held = False
        self.successResultOf(self.book.fulfil(intent))
        self.assertEqual(len(self.events.of(Installed)), 1)

    def test_stale(self) -> None:
        """An intent that was not ordered within an hour is closed, and says so."""
        intent = self.opened()
        self.clock.advance(OPEN_SECONDS - 1)
        self.assertEqual(self.book.living(), (intent,))
        self.clock.advance(1)
        self.assertEqual(self.book.living(), ())
        self.assertEqual(self.store.intents[intent.id].state, IntentState.EXPIRED)
        closed = self.events.of(IntentClosed)
        self.assertEqual([event.state for event in closed], ["expired"])

    def test_ordered_is_never_stale(self) -> None:
        """An intent that was ordered waits for its node as long as it takes."""
        self.successResultOf(self.book.order(self.opened(), DIGEST))
        self.clock.advance(100 * OPEN_SECONDS)
        self.assertIsNotNone(self.book.current(MAC))

    def test_operator_replaces(self) -> None:
        """A second order of the operator ends the first intent, also one that was delivered."""
        first = self.opened()
        self.successResultOf(self.book.order(first, DIGEST))
        second = self.opened()
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(self.book.current(MAC), second)
        self.failureResultOf(self.book.order(first, DIGEST), IntentRefused)
        self.assertEqual(self.store.intents[first.id].state, IntentState.FAILED)

    def test_node_joins(self) -> None:
        """A node's own wish joins the intent that lives."""
        first = self.opened()
        self.assertEqual(self.opened(IntentOrigin.NODE), first)
        self.assertEqual(len(self.events.of(IntentOpened)), 1)

    def test_pause_after_failure(self) -> None:
        """After a failure the node's own wish is not heard for an hour; the operator's ends the pause."""
        self.successResultOf(self.book.fail(self.opened(), "broken card"))
        self.assertEqual(self.book.deaf_seconds(MAC), PAUSE_SECONDS)
        self.assertEqual(self.book.deaf_seconds(OTHER), 0)
        self.clock.advance(PAUSE_SECONDS)
        self.assertEqual(self.book.deaf_seconds(MAC), 0)
        self.successResultOf(self.book.fail(self.opened(), "broken card"))
        self.opened()
        self.assertEqual(self.book.deaf_seconds(MAC), 0)

    def test_pause_when_the_line_may_be_to_blame(self) -> None:
        """It begins with five minutes and doubles up to an hour; an installation ends the doubling."""
        for seconds in (300, 600, 1200, 2400, 3600, 3600):
            self.successResultOf(self.book.fail(self.opened(IntentOrigin.NODE), "broken line", Blame.LINE))
            self.assertEqual(self.book.deaf_seconds(MAC), seconds)
        intent = self.successResultOf(self.book.order(self.opened(IntentOrigin.NODE), DIGEST))
        self.successResultOf(self.book.deliver(intent))
        self.successResultOf(self.book.fulfil(intent))
        self.successResultOf(self.book.fail(self.opened(IntentOrigin.NODE), "broken line", Blame.LINE))
        self.assertEqual(self.book.deaf_seconds(MAC), LINE_PAUSE_SECONDS)

    def test_no_pause(self) -> None:
        """An intent that fails of nobody's fault leaves the node's own wish heard."""
        self.successResultOf(self.book.fail(self.opened(), "no image", Blame.NOBODY))
        self.assertEqual(self.book.deaf_seconds(MAC), 0)

    def order(self) -> int:
        """Order a format; the attempt that it counts as."""
        return self.successResultOf(self.book.order(self.book.current(MAC) or self.opened(), DIGEST)).attempts

    def test_free_orders(self) -> None:
        """An order after one whose image never began costs no attempt, six times for an intent."""
        self.assertEqual([self.order() for _ in range(FREE_ORDERS + 1)], [1] * (FREE_ORDERS + 1))
        self.assertEqual([self.order(), self.order()], [2, 3])
        self.failureResultOf(self.book.order(self.book.current(MAC) or OPEN, DIGEST), IntentRefused)
        self.assertIs(self.book.judge(MAC, installed=True), Verdict.GIVE_UP)

    def test_the_last_attempt_can_be_free_too(self) -> None:
        """After three attempts a fourth order is allowed when the third had no image, and refused when it had."""
        for _ in range(3):
            self.order()
            self.book.image_began(self.book.current(MAC) or OPEN)
        self.assertIs(self.book.judge(MAC, installed=False), Verdict.GIVE_UP)
        self.opened()
        for _ in range(2):
            self.order()
            self.book.image_began(self.book.current(MAC) or OPEN)
        self.assertEqual([self.order(), self.order()], [3, 3])
        self.assertIs(self.book.judge(MAC, installed=False), Verdict.FORMAT)

    def test_blame(self) -> None:
        """The card is to blame when it failed before any image began, when all arrived, and when nobody knows."""
        intent = self.opened()
        self.assertIs(self.book.blame(intent), Blame.CARD)
        self.order()
        self.assertIs(self.book.blame(intent), Blame.LINE)
        self.book.image_began(intent)
        self.book.stumbled(intent)
        self.assertIs(self.book.blame(intent), Blame.LINE)
        self.order()
        self.book.stumbled(intent)
        self.order()
        self.assertIs(self.book.blame(intent), Blame.CARD)
        self.assertIs(self.book.blame(DELIVERED), Blame.CARD)

    def test_a_word_too_late(self) -> None:
        """What is told of an intent that is over changes nothing for the next one."""
        self.order()
        old = self.book.current(MAC) or OPEN
        self.opened()
        self.order()
        self.book.image_began(old)
        self.book.stumbled(old)
        self.assertEqual(self.order(), 1)

    def test_tokens_of_closed_intents(self) -> None:
        """A token of an intent that is over is still known as such; an invented one is not."""
        intent = self.successResultOf(self.book.order(self.opened(), DIGEST))
        self.successResultOf(self.book.fail(intent, "x"))
        over = self.book.with_token(intent.token or "")
        assert over is not None
        self.assertIs(over.state, IntentState.FAILED)
        self.assertIsNone(self.book.with_token("4b" * 16))
        self.assertIsNone(self.book.with_token(""))

    def test_settle(self) -> None:
        """Settling waits for all that is on its way to the disk."""
        self.store.held = True
        opening = self.book.open_intent(MAC, IntentOrigin.NODE, "default")
        other = self.book.open_intent(OTHER, IntentOrigin.NODE, "default")
        settling = Deferred.fromCoroutine(self.book.settle())
        self.assertNoResult(settling)
        self.store.flush()
        self.successResultOf(settling)
        self.successResultOf(opening)
        self.successResultOf(other)

    @given(st.lists(st.sampled_from(STEPS)))
    def test_any_sequence(self, steps: list[str]) -> None:
        """
        Whatever happens, restarts and full disks included: no step but an order raises the attempts, no intent is
        ordered after its delivery or more than three times, and each is fulfilled at most once.
        """
        self.setUp()
        for step in steps:
            self.step(step)
        for intent_id in {intent.id for intent in self.store.history}:
            saved = [intent for intent in self.store.history if intent.id == intent_id]
            life = [intent.state for intent in saved]
            if IntentState.DELIVERED in life:
                after = life[life.index(IntentState.DELIVERED) :]
                self.assertNotIn(IntentState.ORDERED, after)
            attempts = [intent.attempts for intent in saved]
            self.assertEqual(attempts, sorted(attempts))
            self.assertLessEqual(attempts[-1], ATTEMPTS)
            most = ATTEMPTS + FREE_ORDERS * (1 + steps.count("crash"))
            self.assertLessEqual(life.count(IntentState.ORDERED), most)
        fulfilled_ids = [event.intent for event in self.events.of(Installed)]
        self.assertEqual(len(fulfilled_ids), len(set(fulfilled_ids)))

    def step(self, step: str) -> None:
        """One of the things that can happen."""
        intent = self.book.current(MAC) or OPEN
        results: dict[str, object] = {
            "open": lambda: self.book.open_intent(MAC, IntentOrigin.OPERATOR, "default"),
            "node": lambda: self.book.open_intent(MAC, IntentOrigin.NODE, "default"),
            "order": lambda: self.book.order(intent, DIGEST),
            "deliver": lambda: self.book.deliver(intent),
            "fulfil": lambda: self.book.fulfil(intent),
            "fail": lambda: self.book.fail(intent, "x"),
        }
        if step == "crash":
            self.reload()
        elif step == "begin":
            self.book.image_began(intent)
        elif step == "stumble":
            self.book.stumbled(intent)
        elif step == "hour":
            self.clock.advance(OPEN_SECONDS)
        elif step == "full":
            self.store.held = True
            outcome = self.book.deliver(intent)
            outcome.addErrback(lambda failure: failure.trap(IntentRefused, StoreFull))
            self.store.refuse()
            self.store.held = False
        else:
            act = results[step]
            assert callable(act)
            act().addErrback(lambda failure: failure.trap(IntentRefused))
