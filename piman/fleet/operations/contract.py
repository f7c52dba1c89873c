# -*- test-case-name: tests.test_fleet_operations -*-
"""
What a target that is at work asks of the book of operations that it is in.
"""

from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.fleet.interfaces import IEventSink, INodeDirectory
from piman.fleet.model import MACAddress, NodeStatus, SwitchPort
from piman.fleet.operations.orders import Action, Operation, TargetReport
from piman.fleet.operations.pace import Pace
from piman.fleet.operations.power import PowerDesk
from piman.fleet.state.intents import IntentBook


@attrs.frozen
class Explanation:
    """Why a node is where it is."""

    sentence: str
    remedy: str = ""


Explain = Callable[[NodeStatus], Explanation]


def explain_plainly(status: NodeStatus) -> Explanation:
    """The latest thing worth telling."""
    told = f": it {status.detail}" if status.detail else ""
    return Explanation(f"no sign of life since phase {status.phase.value}{told}")


class Settings(Protocol):
    """The knobs of operations that concern one target."""

    @property
    def tries(self) -> int:
        """Power cycles for one target."""

    @property
    def unmapped_seconds(self) -> float:
        """How long a board is waited for on a port that leads to no known node."""


class Book(Protocol):
    """What a target asks of the book of operations that it is in."""

    clock: IReactorTime
    desk: PowerDesk
    nodes: INodeDirectory
    intents: IntentBook
    events: IEventSink
    explain: Explain
    is_stuck: Callable[[NodeStatus], bool]

    @property
    def pace(self) -> Pace:
        """How fast nodes are, as seen lately."""

    @property
    def settings(self) -> Settings:
        """The knobs."""

    def operation(self, operation_id: str) -> Operation | None:
        """The operation of this id."""

    def report(self, operation_id: str, index: int) -> TargetReport:
        """How far it is with a target."""

    async def record(self, operation_id: str, index: int, **changes: object) -> None:
        """Something is about to happen to a target: fires when it is on disk, StoreFailed when it is not."""

    async def note(self, operation_id: str, index: int, **changes: object) -> None:
        """Something has happened to a target: it is so whether the disk takes it or not."""

    def intent_over(self, intent_id: str) -> str | None:
        """None: the intent lives; empty: it is fulfilled; else why it is not."""

    async def until(self, mac: MACAddress, moment: float) -> None:
        """Until something happens to the board, or this moment."""

    def is_busy(self, port: SwitchPort) -> bool:
        """Whether the port is in an operation that goes on."""

    def passed(self, operation_id: str, index: int) -> None:
        """The node of this target is through what the manager bears."""

    def lost(self, action: Action, powered_at: float) -> None:
        """A node did not get through."""
