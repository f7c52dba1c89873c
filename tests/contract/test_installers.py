"""
What the image doors may rely on when they ask for conversations: the hello service and its fake alike.
"""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import IInstallers
from piman.fleet.model import Intent, IntentOrigin, IntentState
from piman.fleet.state.intents import IntentBook
from piman.testing.installers import MemoryInstallers
from tests.hello_support import ADDRESS, DIGEST, MAC, OTHER, OTHER_ADDRESS, Call, World


class InstallersMixin:
    """The contract of :class:`IInstallers`."""

    installers: IInstallers
    book: IntentBook

    def call(self) -> None:
        """The board at :data:`MAC` begins a conversation, and says nothing yet."""
        raise NotImplementedError

    def told(self) -> None:
        """The board says that its card holds a system, and is told to format by its living intent."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """The board closes."""
        raise NotImplementedError

    def open(self) -> Intent:
        """The operator wants the board installed."""
        return self.successResultOf(self.book.open_intent(MAC, IntentOrigin.OPERATOR, "default"))

    def at_work(self) -> Intent:
        """A board that was told to format; its intent."""
        intent = self.open()
        self.call()
        self.told()
        return intent

    def test_interface(self) -> None:
        """It provides the interface."""
        verifyObject(IInstallers, self.installers)

    def test_nobody(self) -> None:
        """A board without a conversation is not at work, whatever the operator wants."""
        self.assertIsNone(self.installers.intent_at_work(MAC))
        self.open()
        self.assertIsNone(self.installers.intent_at_work(MAC))

    def test_conversation_without_an_order(self) -> None:
        """A board that has called, but was told nothing, is not at work."""
        self.open()
        self.call()
        self.assertIsNone(self.installers.intent_at_work(MAC))

    def test_at_work(self) -> None:
        """A board that was told to format is at work, by the intent as it is on disk; no other board is."""
        intent = self.at_work()
        found = self.installers.intent_at_work(MAC)
        self.assertEqual((found.id, found.state, found.digest), (intent.id, IntentState.ORDERED, DIGEST))
        self.assertEqual(found, self.book.current(MAC))
        self.assertIsNone(self.installers.intent_at_work(OTHER))

    def test_state_of_now(self) -> None:
        """The intent is the living one, not what it was when the board was told."""
        self.successResultOf(self.book.deliver(self.at_work()))
        self.assertIs(self.installers.intent_at_work(MAC).state, IntentState.DELIVERED)

    def test_hangs_up(self) -> None:
        """Without its conversation a board is not at work, though its intent lives."""
        self.at_work()
        self.hang_up()
        self.assertIsNone(self.installers.intent_at_work(MAC))
        self.assertIsNotNone(self.book.current(MAC))

    def test_calls_again(self) -> None:
        """A new conversation is at work only once it was told to format itself."""
        self.at_work()
        self.hang_up()
        self.call()
        self.assertIsNone(self.installers.intent_at_work(MAC))
        self.told()
        self.assertIsNotNone(self.installers.intent_at_work(MAC))

    def test_ordered_anew(self) -> None:
        """A conversation that was told by an intent which is over is not at work for the next one."""
        self.at_work()
        self.open()
        self.assertIsNone(self.installers.intent_at_work(MAC))

    def test_failed(self) -> None:
        """An intent that failed is at work no more."""
        self.successResultOf(self.book.fail(self.at_work(), "given up"))
        self.assertIsNone(self.installers.intent_at_work(MAC))


class HelloServiceTests(InstallersMixin, SynchronousTestCase):
    """The service keeps the contract."""

    def setUp(self) -> None:
        """A world of two nodes."""
        self.world = World()
        self.installers, self.book = self.world.service, self.world.book

    def call(self) -> None:
        """The node connects."""
        self.conversation: Call = self.world.call(ADDRESS)

    def told(self) -> None:
        """The node says what is on its card."""
        self.conversation.says("IS_INSTALLED")

    def hang_up(self) -> None:
        """The node closes."""
        self.conversation.hangs_up()

    def test_another_board_at_work(self) -> None:
        """A board that works makes no other one work that has called too."""
        self.at_work()
        self.world.call(OTHER_ADDRESS).says("IS_INSTALLED")
        self.assertIsNone(self.installers.intent_at_work(OTHER))


class MemoryInstallersTests(InstallersMixin, SynchronousTestCase):
    """The fake keeps the contract."""

    def setUp(self) -> None:
        """The book of a world without its conversations."""
        self.book = World().book
        self.installers = MemoryInstallers(self.book)

    def call(self) -> None:
        """The fake has no conversations that say nothing."""

    def told(self) -> None:
        """What the hello service does before it says so: the intent is ordered."""
        living = self.book.current(MAC)
        assert living is not None
        self.installers.tell_to_format(self.successResultOf(self.book.order(living, DIGEST)))

    def hang_up(self) -> None:
        """Forgotten."""
        self.installers.hang_up(MAC)
