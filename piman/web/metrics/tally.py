# -*- test-case-name: tests.test_web_metrics -*-
"""
What is counted as it happens: events, and the phases that nodes go through.

One fold an event, plain numbers, no locks: see benchmarks/metrics.py.  What others count already is not counted here
again; :mod:`piman.web.metrics.sources` reads it when somebody asks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zope.interface import implementer

from piman.distribution import PATIENT, Distribution
from piman.fleet import events
from piman.fleet.events import Event, Recorded
from piman.fleet.interfaces import IEventObserver, INodeDirectory
from piman.fleet.model import MACAddress, NodeStatus, Phase
from piman.wire.pi import MODELS

BOOT_PHASES = (
    Phase.POWERED,
    Phase.OFFERED,
    Phase.LEASED,
    Phase.LOADING,
    Phase.STARTING,
    Phase.GREETING,
    Phase.FORMATTING,
    Phase.IMAGING,
    Phase.BOOTING,
)
"""Phases on the way from dark to up."""

ONWARD = frozenset({*BOOT_PHASES, Phase.UP}) - {Phase.POWERED}
"""Phases in which a boot goes on from another one; power begins it anew."""
INSTALLING = {Phase.FORMATTING, Phase.IMAGING}

DOORS = ("tcp", "http")
ACTIONS = ("restart", "reinstall", "power-on", "power-off")
RESULTS = ("done", "failed", "cancelled")
INSTALL_RESULTS = ("installed", "failed", "expired")
IMAGE_RESULTS = ("sent", "interrupted")
POWER_RESULTS = ("done", "failed")


@implementer(IEventObserver)
class Tally:
    """
    Counts events.

    :ivar kinds: events by class.
    """

    def __init__(self) -> None:
        self.kinds: Counter[type[Event]] = Counter()
        self.installs = dict.fromkeys(INSTALL_RESULTS, 0)
        self.images = {(door, result): 0 for door in DOORS for result in IMAGE_RESULTS}
        self.image_seconds = {door: Distribution(PATIENT) for door in DOORS}
        self.power_cycles = dict.fromkeys(POWER_RESULTS, 0)
        self.operations = dict.fromkeys(ACTIONS, 0)
        self.targets = {(action, result): 0 for action in ACTIONS for result in RESULTS}
        self.reload_was_good = True
        self._folds: Mapping[type[Event], Callable[[Any], None]] = {
            events.Installed: self._installed,
            events.IntentClosed: self._intent_closed,
            events.ImageSent: self._image_sent,
            events.ImageInterrupted: self._image_interrupted,
            events.PowerCycled: self._power_cycled,
            events.PowerCycleFailed: self._power_failed,
            events.OperationStarted: self._operation_started,
            events.OperationEnded: self._operation_ended,
            events.ConfigurationReloaded: self._reloaded,
            events.ConfigurationRejected: self._rejected,
        }

    def observe(self, recorded: Recorded) -> None:
        """Count an event."""
        kind = type(recorded.event)
        self.kinds[kind] += 1
        fold = self._folds.get(kind)
        if fold is not None:
            fold(recorded.event)

    def _installed(self, event: events.Installed) -> None:
        self.installs["installed"] += 1

    def _intent_closed(self, event: events.IntentClosed) -> None:
        if event.state in self.installs:
            self.installs[event.state] += 1

    def _image_sent(self, event: events.ImageSent) -> None:
        self.images[event.door, "sent"] += 1
        self.image_seconds[event.door].take(event.seconds)

    def _image_interrupted(self, event: events.ImageInterrupted) -> None:
        self.images[event.door, "interrupted"] += 1

    def _power_cycled(self, event: events.PowerCycled) -> None:
        self.power_cycles["done"] += 1

    def _power_failed(self, event: events.PowerCycleFailed) -> None:
        self.power_cycles["failed"] += 1

    def _operation_started(self, event: events.OperationStarted) -> None:
        self.operations[event.action] += 1

    def _operation_ended(self, event: events.OperationEnded) -> None:
        for result in RESULTS:
            self.targets[event.action, result] += getattr(event, result)

    def _reloaded(self, event: events.ConfigurationReloaded) -> None:
        self.reload_was_good = True

    def _rejected(self, event: events.ConfigurationRejected) -> None:
        self.reload_was_good = False


class Boots:
    """
    Times the boots of the operator's nodes: a watcher of :class:`piman.fleet.nodes.NodeRegistry`.

    A phase counts when it is left for the next one of the same boot; one that a power cut ends counts nowhere.

    :ivar begun: boots that began.
    :ivar phases: how long each phase took, by phase and model.
    :ivar whole: how long boots took until the node was up, by model, and whether its card was written.
    """

    def __init__(self, nodes: INodeDirectory) -> None:
        self.begun = 0
        self.phases: dict[tuple[Phase, str], Distribution] = {}
        self.whole: dict[tuple[str, bool], Distribution] = {}
        self._nodes = nodes
        self._last: dict[MACAddress, tuple[float, Phase, int]] = {}

    def begin(self, statuses: Iterable[NodeStatus]) -> None:
        """What was seen before now is not counted."""
        self._last = {status.mac: _place(status) for status in statuses}

    def watch(self, status: NodeStatus) -> None:
        """A status changed."""
        place = _place(status)
        last = self._last.get(status.mac, (0.0, Phase.UNKNOWN, 0))
        if place == last:
            return
        if self._nodes.node(status.mac) is None:
            self._last.pop(status.mac, None)
            return
        self._last[status.mac] = place
        self.begun += status.attempt > last[2]
        if place[:2] != last[:2] and len(status.timeline) > 1:
            self._moved_on(status)

    def _moved_on(self, status: NodeStatus) -> None:
        """The last phase but one of the timeline is over."""
        left, began = status.timeline[-2]
        if left not in BOOT_PHASES or left is status.phase or status.phase not in ONWARD:
            return
        model = model_label(status.model)
        _of(self.phases, (left, model)).take(max(0.0, status.since - began))
        if status.phase is Phase.UP:
            began, phases = way_up(status)
            was_installed = bool(phases & INSTALLING)
            _of(self.whole, (model, was_installed)).take(max(0.0, status.since - began))


def way_up(status: NodeStatus) -> tuple[float, set[Phase]]:
    """
    When a node that is up now set out, and by which phases it came.

    The timeline may begin with an earlier boot, of which a later one without a firmware's question is no continuation.
    """
    began, phases = status.since, set[Phase]()
    for phase, time in reversed(status.timeline[:-1]):
        if phase not in BOOT_PHASES:
            return began, phases
        began = time
        phases.add(phase)
    return status.boot_started or began, phases


def _place(status: NodeStatus) -> tuple[float, Phase, int]:
    return status.since, status.phase, status.attempt


def _of(found: dict[Any, Distribution], key: Any) -> Distribution:
    if key not in found:
        found[key] = Distribution(PATIENT)
    return found[key]


def model_label(model: str | None) -> str:
    """A model as a label: one of those that there are, whatever a board says of itself."""
    if model is None:
        return "unknown"
    return model if model in MODELS else "other"
