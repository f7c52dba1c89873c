"""
What ``piman why`` prints of a board in a scenario: the word itself, through the API, from the manager's casebook.
"""

from collections.abc import Callable
from typing import Any

import attrs
from treq.testing import StubTreq
from twisted.internet.defer import Deferred

from piman.ctl.questions import WhyOptions, why
from piman.fleet.casebook import Casebook
from piman.fleet.model import MACAddress
from piman.fleet.operations.contract import Explanation
from piman.fleet.operations.targets import Atlas
from piman.fleet.state.image_choices import ImageChoices
from piman.monitor.recent import RecentReadings
from piman.testing.fakes import MemoryImageChoiceStore
from piman.testing.scenario import Scenario
from piman.web.answers import Answers
from piman.web.api import API, Caller
from piman.web.recalled import Recalled
from piman.web.shelf import Shelf
from piman.web.stream import Stream
from tests.ctl_support import Running
from tests.web_support import VERSION, MemoryHistory, MemoryImages


@attrs.frozen
class Door:
    """What a word needs of a manager: its time, and its API."""

    clock: Any
    treq: StubTreq


def _explains(casebook: Casebook) -> Callable[[MACAddress], "Deferred[Explanation]"]:
    """As the service does: the switch is asked first."""

    async def look(mac: MACAddress) -> Explanation:
        found = await casebook.look(mac)
        return Explanation(found.sentence, found.remedy)

    return lambda mac: Deferred.fromCoroutine(look(mac))


def door_of(scenario: Scenario) -> Door:
    """The API over the manager of a scenario."""
    manager = scenario.manager
    assert manager is not None
    history = MemoryHistory()
    stream = Stream(
        manager.host,
        operations=manager.operations,
        history=history,
        last_id=lambda: manager.events.last_id,
        labels=dict,
    )
    atlas = Atlas(places=(), nodes=manager.registry.nodes())
    shelf = Shelf(
        manager.host,
        images=MemoryImages(),
        choices=ImageChoices(MemoryImageChoiceStore(), manager.events),
        registry=manager.registry,
        atlas=lambda: atlas,
        tags=dict,
        wall=manager.wall,
    )
    answers = Answers(
        manager.host,
        registry=manager.registry,
        operations=manager.operations,
        atlas=lambda: atlas,
        history=history,
        why=_explains(manager.casebook),
        wall=manager.wall,
        recalled=Recalled(RecentReadings(manager.host), manager.wall, lambda: 105.0),
    )
    api = API(
        answers,
        registry=manager.registry,
        operations=manager.operations,
        atlas=lambda: atlas,
        shelf=shelf,
        stream=stream,
        caller=lambda request: Caller("ada", "control socket"),
        version=VERSION,
        wall=manager.wall,
    )
    return Door(scenario.clock, StubTreq(api.resource()))


def said_of(scenario: Scenario, mac: MACAddress) -> tuple[int, str]:
    """Exit status and output of ``piman why MAC``."""
    running = Running(door_of(scenario), why, WhyOptions(), str(mac))
    if hasattr(running.result, "raiseException"):
        running.result.raiseException()
    assert running.result is not None, "it has not ended"
    return running.result, running.out
