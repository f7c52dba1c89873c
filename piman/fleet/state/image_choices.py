# -*- test-case-name: tests.test_fleet_image_choices -*-
"""
The images that the operator chose by command, for all nodes, for tags and for single nodes.

A choice is on disk before it counts.  It installs nothing by itself: it says what the next installation brings.
"""

from collections.abc import Callable, Iterable, Sequence

from twisted.logger import Logger

from piman.fleet.assignment import Choices
from piman.fleet.events import ImageChoiceWithdrawn, ImageChosen
from piman.fleet.interfaces import IEventSink, IImageChoiceStore
from piman.fleet.model import ImageChoice, MACAddress, Scope


class ImageChoices:
    """
    All choices.

    :ivar watchers: called after each change.
    """

    _log = Logger()

    def __init__(self, store: IImageChoiceStore, events: IEventSink) -> None:
        self.watchers: list[Callable[[], None]] = []
        self._store = store
        self._events = events
        self._choices: dict[tuple[Scope, str], ImageChoice] = {}

    def load(self) -> None:
        """Take those of earlier processes."""
        self._choices = {choice.key: choice for choice in self._store.load_image_choices()}
        self._tell()

    @property
    def all(self) -> Choices:
        """Those in force."""
        return dict(self._choices)

    async def choose(self, choices: Sequence[ImageChoice]) -> None:
        """
        Let these count, instead of what was chosen for the same before.

        :raises StoreFailed: when they cannot be written: nothing has changed then.
        """
        await self._store.save_image_choices(choices, ())
        self._choices.update({choice.key: choice for choice in choices})
        self._tell()
        for choice in choices:
            self._events.emit(
                ImageChosen(
                    mac=_mac(choice),
                    scope=choice.scope.value,
                    name=choice.name,
                    image=choice.image,
                    who=choice.who,
                    source=choice.source,
                )
            )

    async def withdraw(self, keys: Iterable[tuple[Scope, str]], *, who: str, source: str) -> None:
        """
        Let what the files say count again; where nothing was chosen nothing happens.

        :raises StoreFailed: when it cannot be written: nothing has changed then.
        """
        gone = [self._choices[key] for key in keys if key in self._choices]
        if not gone:
            return
        await self._store.save_image_choices((), gone)
        for choice in gone:
            self._choices.pop(choice.key, None)
        self._tell()
        for choice in gone:
            self._events.emit(
                ImageChoiceWithdrawn(
                    mac=_mac(choice),
                    scope=choice.scope.value,
                    name=choice.name,
                    image=choice.image,
                    who=who,
                    source=source,
                )
            )

    def write_anew(self) -> None:
        """Save all once more: the host's clock was stepped.  What cannot be saved keeps its time of before."""
        if self._choices:
            saved = self._store.save_image_choices(tuple(self._choices.values()), ())
            saved.addErrback(lambda failure: self._log.warn("{why}", why=failure.getErrorMessage()))

    def _tell(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()


def _mac(choice: ImageChoice) -> MACAddress | None:
    """The node that an event of the choice is about."""
    return MACAddress.parse(choice.name) if choice.scope is Scope.NODE else None
