"""
Tests for :mod:`piman.fleet.state.image_choices`: on disk before it counts, told with who and from where.
"""

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.events import ImageChoiceWithdrawn, ImageChosen
from piman.fleet.interfaces import StoreFailed
from piman.fleet.model import ImageChoice, Scope
from piman.fleet.state.image_choices import ImageChoices
from piman.fleet.state.store import StateStore, read_image_choices
from piman.testing.fakes import CapturedEvents, MemoryImageChoiceStore
from tests.fleet_support import MAC, ThreadedClock

OF_ALL = ImageChoice(scope=Scope.DEFAULT, image="lite", who="ada", source="control socket")
OF_NODE = ImageChoice(scope=Scope.NODE, name=str(MAC), image="lab", who="ada", source="control socket")


class ChoicesTests(SynchronousTestCase):
    """The book of choices."""

    def setUp(self) -> None:
        """An empty one."""
        self.store, self.events = MemoryImageChoiceStore(), CapturedEvents()
        self.book = ImageChoices(self.store, self.events)
        self.changes: list[int] = []
        self.book.watchers.append(lambda: self.changes.append(len(self.book.all)))

    def choose(self, *choices: ImageChoice) -> None:
        """Make them."""
        self.successResultOf(Deferred.fromCoroutine(self.book.choose(choices)))

    def test_chosen(self) -> None:
        """It counts, is on disk, watchers are told, and the events name who and from where."""
        self.choose(OF_ALL, OF_NODE)
        self.assertEqual(self.book.all, {OF_ALL.key: OF_ALL, OF_NODE.key: OF_NODE})
        self.assertEqual(self.store.choices, self.book.all)
        self.assertEqual(self.changes, [2])
        told = {"who": "ada", "source": "control socket"}
        self.assertEqual(
            self.events.events,
            [
                ImageChosen(scope="default", name="", image="lite", **told),
                ImageChosen(mac=MAC, scope="node", name=str(MAC), image="lab", **told),
            ],
        )

    def test_withdrawn(self) -> None:
        """What is taken back counts no more, here and on disk; what was not chosen is no mistake."""
        self.choose(OF_ALL, OF_NODE)
        keys = [OF_NODE.key, (Scope.TAG, "kiosks")]
        self.successResultOf(Deferred.fromCoroutine(self.book.withdraw(keys, who="bob", source="10.0.0.1")))
        self.assertEqual((self.book.all, self.store.choices), ({OF_ALL.key: OF_ALL},) * 2)
        gone = ImageChoiceWithdrawn(
            mac=MAC, scope="node", name=str(MAC), image="lab", who="bob", source="10.0.0.1"
        )
        self.assertEqual(self.events.of(ImageChoiceWithdrawn), [gone])

    def test_full_disk(self) -> None:
        """What cannot be written changes nothing and is no event."""
        self.choose(OF_ALL)
        self.events.events.clear()
        self.store.failure = StoreFailed("no space")
        self.failureResultOf(Deferred.fromCoroutine(self.book.choose([OF_NODE])), StoreFailed)
        withdrawing = self.book.withdraw([OF_ALL.key], who="ada", source="")
        self.failureResultOf(Deferred.fromCoroutine(withdrawing), StoreFailed)
        self.assertEqual((self.book.all, self.events.events), ({OF_ALL.key: OF_ALL}, []))

    def test_written_anew(self) -> None:
        """After a step of the clock all are written once more; a full disk is no failure of the step."""
        self.choose(OF_ALL)
        self.store.choices.clear()
        self.store.failure = StoreFailed("no space")
        self.book.write_anew()
        self.store.failure = None
        self.book.write_anew()
        self.assertEqual(self.store.choices, self.book.all)

    def test_loaded(self) -> None:
        """The next process finds them, and its watchers are told."""
        self.choose(OF_ALL)
        later = ImageChoices(self.store, self.events)
        told: list[object] = []
        later.watchers.append(lambda: told.append(later.all))
        later.load()
        self.assertEqual(told, [self.book.all])


class ReadingTests(SynchronousTestCase):
    """Reading the choices of a file that is another's."""

    def setUp(self) -> None:
        """A file with a choice in it."""
        self.path = Path(self.mktemp()) / "state.db"
        self.clock = ThreadedClock()
        self.store = StateStore(self.path, reactor=self.clock)
        self.store.open()
        self.clock.wait(self.store.save_image_choices([OF_ALL], []))

    def close(self) -> None:
        """The manager ends."""
        self.clock.wait(self.store.close())

    def test_while_it_is_open(self) -> None:
        """What is in the journal alone is read, too."""
        self.assertEqual(read_image_choices(self.path), [OF_ALL])
        self.close()

    def test_at_rest(self) -> None:
        """A file that nobody has open is read without leaving anything beside it."""
        self.close()
        self.assertEqual(read_image_choices(self.path), [OF_ALL])
        self.assertEqual([path.name for path in self.path.parent.iterdir()], ["state.db"])

    def test_nothing_there(self) -> None:
        """Without a file nothing was chosen."""
        self.close()
        self.assertEqual(read_image_choices(self.path.with_name("other.db")), [])

    def test_no_database(self) -> None:
        """A file that is none is told."""
        self.close()
        self.path.write_bytes(b"no database at all, but long enough to look at" * 100)
        self.assertRaises(StoreFailed, read_image_choices, self.path)
