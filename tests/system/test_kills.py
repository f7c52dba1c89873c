"""
SIGKILL of the real manager at every step of a restart and of a reinstallation; real sockets, a board in a virtual rack.

A step is not guessed from the time: the switch's agent tells of every request before it is obeyed and after, the board
of every step of its boot, the manager's own stream of every step that is on disk.  At the wanted one the switch falls
silent and the manager dies; then the next one starts.
"""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from piman.ctl.client import ManagerClient, NoManager, WentAway
from piman.ctl.following import Message, follow
from piman.simulator.pi import Pi
from piman.simulator.rack import Rack, RackOptions
from piman.simulator.showing.report import Report
from piman.simulator.switch import TRUE, State
from piman.simulator.wiring.snmp_agent import AgentProtocol, Operation
from piman.simulator.wiring.snmp_agent import Message as Datagram

Trap = tuple[str, ...]
"""
Signals, of which the last springs it when the others were heard before, in this order.

``asked``, ``off``, ``on``: a request that has come, and is neither obeyed nor answered; ``off done``, ``on done``: it
is obeyed, but not answered.  ``step ...``: the manager says that this is on disk.  ``board ...``: a step of the board.
"""

SWITCHING: tuple[Trap, ...] = (
    ("asked",),
    ("ordered", "asked"),
    ("step switching off",),
    ("off",),
    ("off done",),
    ("off done", "asked"),
    ("off done", "asked", "asked"),
    ("off done", "asked", "asked", "asked"),
    ("step off",),
    ("step switching on",),
    ("step off", "asked"),
    ("on",),
    ("on done",),
    ("on done", "asked"),
    ("step following",),
)
"""From the order to power."""
BOOTING: tuple[Trap, ...] = (
    ("on done", "board firmware"),
    ("on done", "board address"),
    ("on done", "board loading"),
    ("on done", "board kernel"),
    ("on done", "board greeting"),
    ("on done", "board booting"),
    ("on done", "board up"),
)
INSTALLING: tuple[Trap, ...] = (
    *BOOTING[:-2],
    ("on done", "board formatting"),
    ("on done", "board imaging"),
    *BOOTING[-2:],
)
AWAY_SECONDS = (0.0, 0.7)
"""How long there is no manager, in turn."""
LOOK_SECONDS = 0.1
RACKS = 4
"""For each action so many at a time: most of the time is waiting."""
PATIENCE_SECONDS = 150.0
"""For the end of an operation."""
SPRING_SECONDS = 60.0


class Gate:
    """
    Stands before a switch's agent, hears every signal, and closes when the trap springs.

    :ivar sprung: fires then.
    """

    def __init__(self, agent: AgentProtocol) -> None:
        self.sprung: Deferred[None] = Deferred()
        self._agent = agent
        self._obey = agent.datagramReceived
        self._left: list[str] = []
        self._is_open = True
        agent.datagramReceived = self._received  # type: ignore[method-assign]

    def arm(self, trap: Trap) -> None:
        """From now on signals count."""
        self.sprung = Deferred()
        self._left = list(trap)

    def open(self) -> None:
        """Requests come through again."""
        self._left, self._is_open = [], True

    def hear(self, signal: str) -> None:
        """One more."""
        if self._left and self._left[0] == signal:
            self._left.pop(0)
            if not self._left:
                self._is_open = False
                self.sprung.callback(None)

    def _received(self, data: bytes, address: Any) -> None:
        asked = Datagram.from_wire(data)
        name = "asked"
        if asked.operation is Operation.SET:
            name = "on" if asked.bindings[0][1] == TRUE else "off"
        self.hear(name)
        if not self._is_open:
            return
        if self._left[:1] == [f"{name} done"] and len(self._left) == 1:
            self._obey_silently(data, address)
        else:
            self._obey(data, address)
        self.hear(f"{name} done")

    def _obey_silently(self, data: bytes, address: Any) -> None:
        transport, self._agent.transport = self._agent.transport, None
        self._obey(data, address)
        self._agent.transport = transport


class Gathering:
    """
    Racks that wait for each other.

    :ivar complete: fires when all are there.
    """

    def __init__(self, count: int) -> None:
        self.complete: Deferred[None] = Deferred()
        self._missing = count

    def come(self) -> None:
        """One more."""
        self._missing -= 1
        if not self._missing:
            self.complete.callback(None)


class Kills:
    """
    An errand: for each trap one operation whose manager is killed where it springs.

    :ivar action: what is ordered.
    :ivar problems: what was not as it must be, with the trap.
    :ivar seconds: how long each trap took.
    :param gathering: nobody is killed before all its racks are up.
    """

    def __init__(self, action: str, traps: Sequence[Trap], gathering: Gathering) -> None:
        self.problems: list[str] = []
        self.seconds: dict[Trap, float] = {}
        self.action = action
        self._traps = traps
        self._gathering = gathering

    async def __call__(self, rack: Rack) -> None:
        """Do it."""
        self._rack = rack
        self._reactor: Any = rack.reactor
        (self._pi,) = rack.pis
        (self._switch,) = rack.room.switches.values()
        (agent,) = rack.room.agents
        self._gate = Gate(agent)
        self._client = ManagerClient(self._reactor, rack.directory / "state" / "control.sock")
        rack.harness.watchers.append(self._board_changed)
        self._gathering.come()
        await self._until(lambda: self._gathering.complete.called, "the other racks", PATIENCE_SECONDS)
        for number, trap in enumerate(self._traps):
            began = self._reactor.seconds()
            try:
                await self._kill_at(trap, AWAY_SECONDS[number % len(AWAY_SECONDS)])
            except AssertionError as wrong:
                self.problems.append(f"{self.action}, killed at {' > '.join(trap)}: {wrong}")
            self.seconds[trap] = self._reactor.seconds() - began

    def _board_changed(self, pi: Pi) -> None:
        self._gate.hear(f"board {pi.journal.step.value}")

    async def _kill_at(self, trap: Trap, away: float) -> None:
        known = {each["id"] for each in await self._operations()}
        orders, installations = self._switch.orders, self._pi.journal.installations
        self._gate.arm(trap)
        following = Deferred.fromCoroutine(self._order())
        following.addErrback(lambda failure: failure.trap(CancelledError, NoManager, WentAway))
        await self._until(lambda: self._gate.sprung.called, "the trap to spring", SPRING_SECONDS)
        await self._rack.manager.kill()
        following.cancel()
        await deferLater(self._reactor, away)
        self._gate.open()
        await self._rack.manager.start()
        await self._check({each["id"] for each in await self._operations()} - known, orders, installations)

    async def _order(self) -> None:
        """Give the order as the command line does, and hand on what the manager says of it."""
        name = self._pi.board.hostname
        begun = await self._client.post("/api/v1/operations", {"action": self.action, "nodes": [name]})
        self._gate.hear("ordered")
        identity = begun["operation"]["id"]

        def heard(message: Message) -> bool:
            if message.kind == "operation" and message.data["id"] == identity:
                for report in message.data["reports"]:
                    self._gate.hear(f"step {report['step']}")
            return False

        heard(Message("operation", begun["operation"]))
        await follow(self._client, {"operation": identity}, heard, away=lambda: None)

    async def _operations(self) -> list[dict[str, Any]]:
        end = self._reactor.seconds() + SPRING_SECONDS
        while True:
            try:
                found: list[dict[str, Any]] = (await self._client.get("/api/v1/operations"))["operations"]
            except NoManager:  # it starts
                assert self._reactor.seconds() < end, "no manager answers"
                await deferLater(self._reactor, LOOK_SECONDS)
            else:
                return found

    async def _check(self, begun: set[str], orders: int, installations: int) -> None:
        """What holds afterwards."""
        assert len(begun) <= 1, f"operations: {begun}"
        for identity in begun:
            await self._check_end(await self._ended(identity))
        await self._until(lambda: self._pi.is_up, "the board to be up", PATIENCE_SECONDS)
        for port in self._switch.ports.values():
            assert port.admin_on, f"port {port.number} is off"
        assert self._switch.ports[1].state is State.DELIVERING
        more = self._pi.journal.installations - installations
        assert more == (len(begun) if self.action == "reinstall" else 0), f"{more} installations"
        assert begun or self._switch.orders == orders, "switched without an operation"

    async def _ended(self, identity: str) -> dict[str, Any]:
        end = self._reactor.seconds() + PATIENCE_SECONDS
        while True:
            operation = await self._client.get(f"/api/v1/operations/{identity}")
            if operation["final"]:
                return operation
            assert self._reactor.seconds() < end, f"it does not end: {operation}"
            await deferLater(self._reactor, LOOK_SECONDS)

    async def _check_end(self, operation: dict[str, Any]) -> None:
        (report,) = operation["reports"]
        assert report["step"] == "done" and not report["dark"], report
        assert 1 <= report["tries"] <= 2, report
        assert report["started"] <= report["off_at"] <= report["on_at"] <= report["finished"], report
        assert not report["reason"] or "the manager itself was started anew" in report["reason"], report
        if not report["reason"]:
            phases = [stage["phase"] for stage in report["stages"]]
            assert phases[-1] == "up", report
        assert self._pi.is_up, f"done, and the board is at {self._pi.journal.step.value}"

    async def _until(self, holds: Any, what: str, seconds: float) -> None:
        end = self._reactor.seconds() + seconds
        while not holds():
            assert self._reactor.seconds() < end, f"waited in vain for {what}"
            await deferLater(self._reactor, LOOK_SECONDS)


class KillTests(TestCase):
    """
    Whatever the step: every port is on afterwards, the board is up, the operation ends as done with times in order,
    nothing is installed but once for each reinstallation; and in the end the manager's files agree with the board.
    """

    timeout = 900

    async def test_each_step(self) -> None:
        """At each step of a restart, and of a reinstallation."""
        wanted = {"restart": (*SWITCHING, *BOOTING), "reinstall": (*SWITCHING, *INSTALLING)}
        gathering = Gathering(RACKS * len(wanted))
        errands = [
            Kills(action, traps[share::RACKS], gathering) for action, traps in wanted.items() for share in range(RACKS)
        ]
        reports = await self.run_racks(errands)
        killed = [(errand.action, trap) for errand in errands for trap in errand.seconds]
        self.assertEqual(sorted(killed), sorted((action, trap) for action, traps in wanted.items() for trap in traps))
        self.assertEqual([problem for errand in errands for problem in errand.problems], [])
        self.assertEqual([problem for report in reports for problem in report.problems], [])

    async def run_racks(self, errands: Sequence[Kills]) -> list[Report]:
        """For each errand a rack of one board on a switch."""
        runs = []
        for errand in errands:
            options = RackOptions(
                count=1,
                models=("4B",),
                switches=1,
                speed=20.0,
                poll_seconds=1.0,
                plain=True,
                operations={"off_seconds": 0.5, "stagger_seconds": 0.1},
            )
            reactor: Any = global_reactor
            rack = Rack(reactor, options, Path(self.mktemp()).absolute(), Console(file=StringIO()), errand=errand)
            run = Deferred.fromCoroutine(rack.run())
            runs.append(run)
            while not rack.pis[0].journal.boots and not run.called:  # its ports are taken by then
                await deferLater(reactor, LOOK_SECONDS)
        ended = await DeferredList(runs, consumeErrors=True)  # all of them, also when one fails
        for is_good, result in ended:
            if not is_good:
                result.raiseException()  # type: ignore[attr-defined]
        return [report for _, report in ended]
