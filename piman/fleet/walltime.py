# -*- test-case-name: tests.test_fleet_walltime -*-
"""
Between the process's own time and the world's.

Inside the process every moment is of one clock that never steps (:mod:`piman.reactor`), so that moments can be
compared and subtracted whatever somebody does to the host's clock.  What is stored, shown or sent is in the host's
time.  :class:`WallTime` translates at that border; docs/decisions/two-clocks.md
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from piman.fleet.interfaces import IImageChoiceStore, IIntentStore, ILeaseStore, IOperationStore
from piman.fleet.model import ImageChoice, Intent, Lease, Moment
from piman.fleet.operations.orders import Operation

NOISE_SECONDS = 0.001
"""Two clocks that are read one after the other differ by so much without any step; only more than this counts."""

Value = TypeVar("Value")
_Move = Callable[[Any, float], Any]


def moved(value: Value, seconds: float) -> Value:
    """
    The value with each :data:`~piman.fleet.model.Moment` in it so much later.

    A moment of 0 means "never" and stays; a value without moments comes back as the same object.
    """
    if not seconds:
        return value
    kind: Any = type(value)
    moves = _moves_of(kind)
    changes = {name: move(getattr(value, name), seconds) for name, move in moves}
    return _evolve(value, changes) if changes else value


def _evolve(value: Any, changes: dict[str, Any]) -> Any:
    return attrs.evolve(value, **changes)


def _later(moment: float, seconds: float) -> float:
    return moment + seconds if moment and isfinite(moment) else moment


@cache
def _moves_of(kind: Any) -> Sequence[tuple[str, _Move]]:
    """The fields of a class that may hold moments, and how each is moved."""
    if not attrs.has(kind):
        return ()
    hints = get_type_hints(kind, include_extras=True)
    found = ((field.name, _move_of(hints[field.name])) for field in attrs.fields(kind))
    return tuple((name, move) for name, move in found if move is not None)


def _move_of(annotation: Any) -> _Move | None:
    if annotation == Moment:
        return _later
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        inner = next(filter(None, (_move_of(one) for one in arguments if one is not NoneType)), None)
        return inner and (lambda value, seconds: None if value is None else inner(value, seconds))
    if get_origin(annotation) is tuple:
        return _move_of_tuple(arguments)
    if attrs.has(annotation) and (_moves_of(annotation) or annotation.__subclasses__()):  # an Event is any of them
        return moved
    return None


def _move_of_tuple(arguments: tuple[Any, ...]) -> _Move | None:
    if arguments[-1] is Ellipsis:
        each = _move_of(arguments[0])
        return each and (lambda values, seconds: tuple(each(value, seconds) for value in values))
    every = [_move_of(one) for one in arguments]
    if not any(every):
        return None
    return lambda values, seconds: tuple(
        move(value, seconds) if move else value for value, move in zip(values, every, strict=True)
    )


class WallTime:
    """
    The host's time beside the process's.

    :param clock: the process's, which never steps.
    :param now: reads the host's clock, seconds since 1970; without it the two are one.
    """

    def __init__(self, clock: IReactorTime, now: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self.now = now or clock.seconds
        """The host's time."""
        self._ahead = 0.0

    @property
    def ahead(self) -> float:
        """By how many seconds the host's clock is before the process's: what it has stepped since the start."""
        found = self.now() - self._clock.seconds()
        if abs(found - self._ahead) > NOISE_SECONDS:
            self._ahead = found if abs(found) > NOISE_SECONDS else 0.0
        return self._ahead

    def to_wall(self, value: Value) -> Value:
        """A value of the process (event, status, lease, ...) with its moments in the host's time."""
        return moved(value, self.ahead)

    def from_wall(self, value: Value) -> Value:
        """A value that :meth:`to_wall` made, perhaps in an earlier process, as the process understands it."""
        return moved(value, -self.ahead)

    def moment_to_wall(self, moment: float) -> float:
        """A bare moment of the process in the host's time."""
        return _later(moment, self.ahead)


# Stores hold the host's time


@implementer(ILeaseStore)
class WallTimedLeases:
    """Leases in the host's time on disk, in the process's for whoever asks here."""

    def __init__(self, store: ILeaseStore, wall: WallTime) -> None:
        self._store = store
        self._wall = wall

    @property
    def is_new(self) -> bool:
        """Whether nothing of before is known."""
        return bool(self._store.is_new)

    def load_leases(self) -> list[Lease]:
        """All bindings on disk."""
        return [self._wall.from_wall(lease) for lease in self._store.load_leases()]

    def commit(self, leases: Sequence[Lease]) -> "Deferred[None]":
        """Put these bindings on disk."""
        return self._store.commit([self._wall.to_wall(lease) for lease in leases])


@implementer(IIntentStore)
class WallTimedIntents:
    """Intents in the host's time on disk, in the process's for whoever asks here."""

    def __init__(self, store: IIntentStore, wall: WallTime) -> None:
        self._store = store
        self._wall = wall

    def load_intents(self) -> list[Intent]:
        """All intents that are not final, oldest first."""
        return [self._wall.from_wall(intent) for intent in self._store.load_intents()]

    def load_intent(self, intent: str) -> Intent | None:
        """The intent of this id, final or not."""
        found = self._store.load_intent(intent)
        return None if found is None else self._wall.from_wall(found)

    def save_intent(self, intent: Intent) -> "Deferred[None]":
        """Insert or replace by id."""
        return self._store.save_intent(self._wall.to_wall(intent))


@implementer(IOperationStore)
class WallTimedOperations:
    """Operations in the host's time on disk, in the process's for whoever asks here."""

    def __init__(self, store: IOperationStore, wall: WallTime) -> None:
        self._store = store
        self._wall = wall

    def load_operations(self, limit: int) -> list[Operation]:
        """All that are not final and the newest others, oldest first."""
        return [self._wall.from_wall(operation) for operation in self._store.load_operations(limit)]

    def save_operation(self, operation: Operation, indexes: Sequence[int]) -> "Deferred[None]":
        """Insert or replace it by id; of its reports only these."""
        return self._store.save_operation(self._wall.to_wall(operation), indexes)


@implementer(IImageChoiceStore)
class WallTimedImageChoices:
    """Choices of images in the host's time on disk, in the process's for whoever asks here."""

    def __init__(self, store: IImageChoiceStore, wall: WallTime) -> None:
        self._store = store
        self._wall = wall

    def load_image_choices(self) -> list[ImageChoice]:
        """All of them."""
        return [self._wall.from_wall(choice) for choice in self._store.load_image_choices()]

    def save_image_choices(self, made: Sequence[ImageChoice], withdrawn: Sequence[ImageChoice]) -> "Deferred[None]":
        """Insert or replace these by key, and forget those."""
        return self._store.save_image_choices([self._wall.to_wall(choice) for choice in made], withdrawn)
