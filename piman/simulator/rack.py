# -*- test-case-name: tests.test_simulator_rack -*-
"""
A virtual rack with a real manager: real sockets, no root, no hardware.

:func:`simulate` writes a configuration, starts the manager as a child process, powers virtual boards on, shows how
they come up, and in the end compares what the boards experienced with what the manager has on disk.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import attrs
from rich.console import Console
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import globalLogPublisher, textFileLogObserver

from piman.fleet.wording import counted
from piman.simulator.booting.card import Card
from piman.simulator.booting.journal import STEPS, Journal, Step
from piman.simulator.pi import MODELS, Pi
from piman.simulator.running import plan, truth
from piman.simulator.running.agents import agents_site
from piman.simulator.running.claims import free_ports, raise_descriptor_limit
from piman.simulator.running.harness import Harness, PowerCuts
from piman.simulator.running.manager import ManagerFailed, ManagerProcess
from piman.simulator.running.plan import Place
from piman.simulator.running.switch_room import SwitchRoom
from piman.simulator.showing.report import Report, Spread, as_renderable, step_spreads
from piman.simulator.showing.view import LiveView, PlainView
from piman.simulator.wiring.faults import Damage, Faults, FaultyNetwork
from piman.simulator.wiring.network import LoopbackNetwork
from piman.simulator.wiring.uplink import Uplink

DRAW_SECONDS = 0.25
DESCRIPTORS_FOR_BOARD = 2
"""The conversation with the manager and the image."""
DESCRIPTORS_FOR_US = 300
"""Everything that is not a board: files, agents that are asked, libraries."""
DOWN_SECONDS = 2.0
"""How long a killed manager stays away."""
SETTLE_SECONDS = 1.0
"""After the last board is up: what the manager has just heard it may still be writing."""
NOTICE_SECONDS = 2.0
"""A manager that was killed may have one more round of asking agents, and this long for the answers."""


@attrs.frozen(kw_only=True)
class RackOptions:
    """
    What to simulate.

    :ivar models: in turn.
    :ivar loss: share of datagrams lost each way; likewise ``duplicate``, ``reorder``, ``stall``.
    :ivar cut: share of pieces of TCP streams at which the connection breaks.
    :ivar uplink: how many datagrams a second all boards together can exchange with the manager, and how many may wait;
        None: any number.
    :ivar power_cuts: share of boards that lose their power once, at one of the steps ``die_at``.
    :ivar speed: how much faster those waits pass that nobody on the wire can observe.
    :ivar pool_share: share of boards without an address of their own in hosts.csv.
    :ivar version_1: share of boards whose initramfs speaks version 1 of the hello protocol.
    :ivar directory: where the files are kept; None: a temporary folder.
    :ivar kill_manager: SIGKILL half-way, then a new start.
    :ivar switches: PoE switches that the boards hang on, 48 on each at most; 0: power comes from nowhere.
    :ivar operations: what ``operations:`` of the manager's piman.yaml says.
    :ivar stay: go on when all boards are up, until somebody interrupts; then nobody but the manager cycles boards
        that hang, where there are switches.
    """

    count: int = 8
    models: tuple[str, ...] = MODELS
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    stall: float = 0.0
    cut: float = 0.0
    uplink: tuple[float, int] | None = None
    power_cuts: float = 0.0
    die_at: tuple[Step, ...] = STEPS
    speed: float = 10.0
    seed: int = 1
    pool_share: float = 0.0
    version_1: float = 0.0
    stagger_seconds: float = 0.0
    timeout_seconds: float = 600.0
    directory: Path | None = None
    plain: bool = False
    kill_manager: bool = False
    poll_seconds: float = 10.0
    switches: int = 0
    operations: Mapping[str, object] = attrs.field(factory=dict)
    stay: bool = False

    @property
    def faults(self) -> Faults:
        """What happens on each board's line."""
        return Faults(loss=self.loss, duplicate=self.duplicate, reorder=self.reorder, stall=self.stall, cut=self.cut)


def simulate(reactor: Any, options: RackOptions, console: Console | None = None) -> "Deferred[int]":
    """Run it and show it; fires with 0 when all boards are up and the manager agrees, with 1 when not."""
    return Deferred.fromCoroutine(_simulate(reactor, options, console or Console()))


async def _simulate(reactor: Any, options: RackOptions, console: Console) -> int:
    with ExitStack() as temporary, ExitStack() as lasting:
        directory = options.directory or _temporary_directory(temporary)
        interrupted = reactor.addSystemEventTrigger("after", "shutdown", temporary.close)
        lasting.callback(reactor.removeSystemEventTrigger, interrupted)
        _log_to(directory, lasting)
        if await _shown(Rack(reactor, options, directory, console), console):
            return 0
        temporary.pop_all()  # what went wrong can be looked into
        console.print(f"Files and logs: {directory}", markup=False, highlight=False)
        return 1


def _temporary_directory(stack: ExitStack) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="piman-rack-"))
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _log_to(directory: Path, stack: ExitStack) -> None:
    """Our own log lines, mistakes above all."""
    directory.mkdir(parents=True, exist_ok=True)
    observer = textFileLogObserver(stack.enter_context((directory / "rack.log").open("a")))
    globalLogPublisher.addObserver(observer)
    stack.callback(globalLogPublisher.removeObserver, observer)


async def _shown(rack: "Rack", console: Console) -> bool:
    """Run it and show what came of it; whether all is well."""
    try:
        report = await rack.run()
    except ManagerFailed as reason:
        console.print(f"The manager does not run. It said:\n{reason}", markup=False, highlight=False)
        return False
    console.print(as_renderable(report))
    return report.is_good


Errand = Callable[["Rack"], Awaitable[None]]
"""Something to be done with a rack whose boards are all up."""


class Rack:
    """
    One run.

    :param errand: done when all boards are up, before manager and boards are compared.
    :ivar pis: the boards.
    :ivar room: their switches.
    :ivar reactor: for errands.
    """

    def __init__(
        self,
        reactor: Any,
        options: RackOptions,
        directory: Path,
        console: Console,
        errand: Errand | None = None,
    ) -> None:
        self.options = options
        self.directory = directory
        self.damage = Damage()
        self.reactor = reactor
        self._random = Random(options.seed)
        self._uplink = Uplink(reactor, *options.uplink) if options.uplink else None
        self._notes: list[str] = []
        self._problems: list[str] = []
        self._began = 0.0
        descriptors = raise_descriptor_limit()
        self._errand = errand
        self.places = plan.places(options.count, options.models, options.pool_share, options.switches)
        self.room = SwitchRoom(reactor, self.places)
        self._agents = agents_site(reactor, self._is_up, Random(options.seed))
        self._agent_port = reactor.listenTCP(0, self._agents, backlog=1024)
        self.ports = free_ports(self._agent_port.getHost().port, Random())
        self.digest = plan.write(
            directory,
            self.places,
            self.ports,
            poll_seconds=options.poll_seconds,
            operations=options.operations,
        )
        self._by_address: dict[str, Pi] = {}
        inspector = plan.Inspector()
        self.pis = tuple(self._board(place, inspector) for place in self.places)
        self.harness = Harness(
            self.pis,
            clock=reactor,
            random=self._random,
            speed=options.speed,
            stagger_seconds=options.stagger_seconds,
            at_once=(descriptors - DESCRIPTORS_FOR_US) // DESCRIPTORS_FOR_BOARD,
            power_cuts=PowerCuts(share=options.power_cuts, steps=options.die_at),
            hands=[self.room.hand(place, pi) for place, pi in zip(self.places, self.pis, strict=True)],
        )
        self.manager = ManagerProcess(reactor, directory, (str(plan.SERVER), self.ports.http))
        site = f"http://localhost:{self.ports.web}/"
        title = f"{options.count} virtual boards, web site {site}, manager at {plan.SERVER}, files in {directory}"
        kind = PlainView if options.plain or not console.is_terminal else LiveView
        self._view = kind(self.pis, console, title)
        self.harness.watchers.append(self._changed)

    def _board(self, place: Place, inspector: plan.Inspector) -> Pi:
        options = self.options
        network: Any = LoopbackNetwork(self.reactor, relay=place.relay, server=plan.SERVER, ports=self.ports.well_known)
        network = self.room.watched(place, network)
        seeded = Random(self._random.getrandbits(64))
        if options.faults.are_any or self._uplink is not None:
            network = FaultyNetwork(
                network,
                options.faults,
                clock=self.reactor,
                random=Random(seeded.getrandbits(64)),
                damage=self.damage,
                uplink=self._uplink,
            )
        return Pi(
            place.board,
            clock=self.reactor,
            network=network,
            journal=Journal(check=inspector),
            random=seeded,
            speed=options.speed,
            card=Card(),
            version=1 if self._random.random() < options.version_1 else 2,
        )

    def _is_up(self, address: Any) -> bool:
        pi = self._by_address.get(str(address))
        return pi is not None and pi.is_up

    def _changed(self, pi: Pi) -> None:
        if pi.is_up:
            self._by_address[str(pi.address)] = pi
        self._view.changed(pi, self.reactor.seconds() - self._began)

    # The run

    async def run(self) -> Report:
        """
        From the manager's start to its end.

        :raises ManagerFailed: when the manager does not start.
        """
        trigger = self.reactor.addSystemEventTrigger("before", "shutdown", self._interrupted)
        drawing = LoopingCall(self._draw)
        drawing.clock = self.reactor
        try:
            self.room.listen(self.ports.snmp)
            await self.manager.start()
            self._began = self.reactor.seconds()
            self._view.start()
            drawing.start(DRAW_SECONDS)
            self.harness.start()
            await self._until_up()
            seconds = self.reactor.seconds() - self._began
            await self._while_up()
            drawing.stop()
            self._draw()
            self._view.stop()
            return await self._compare(seconds)
        finally:
            if drawing.running:
                drawing.stop()
                self._view.stop()
            self.reactor.removeSystemEventTrigger(trigger)
            await self._end()

    async def _while_up(self) -> None:
        """What is done with boards that are all up; from now on switches are the manager's."""
        if not self.harness.all_up.called:
            return
        self.harness.recovers = not self.room.switches
        if self._errand is not None:
            await self._errand(self)
        if self.options.stay:
            await Deferred()

    def _interrupted(self) -> None:
        """Ctrl-C: leave no process behind, and the terminal as it was."""
        self._view.stop()
        self.manager.send_kill()

    def _draw(self) -> None:
        self._view.draw(self.reactor.seconds())

    async def _until_up(self) -> None:
        """All up, or the end of patience."""
        deadline: Deferred[None] = Deferred()
        patience = self.reactor.callLater(self.options.timeout_seconds, deadline.callback, None)
        half_way = self._when_half_way() if self.options.kill_manager else None
        if half_way is not None:
            await _first(half_way, deadline, self.harness.all_up)
            await self._kill_and_restart()
        await _first(deadline, self.harness.all_up)
        if patience.active():
            patience.cancel()

    def _when_half_way(self) -> "Deferred[None]":
        """Fires when half of the boards have called the manager: the others load, or ask for addresses."""
        half_way: Deferred[None] = Deferred()
        arrived: set[int] = set()

        def watch(pi: Pi) -> None:
            if pi.journal.step in (Step.GREETING, Step.FORMATTING, Step.IMAGING, Step.BOOTING, Step.UP):
                arrived.add(id(pi))
            if len(arrived) * 2 >= len(self.pis) and not half_way.called:
                half_way.callback(None)

        self.harness.watchers.append(watch)
        return half_way

    async def _kill_and_restart(self) -> None:
        at = self.reactor.seconds() - self._began
        found = {step: sum(pi.journal.step is step for pi in self.pis) for step in Step}
        await self.manager.kill()
        seats = tuple(zip(self.places, self.pis, strict=True))
        disagreeing = list(truth.lease_complaints(seats, truth.read(self.directory / "state")))
        self._problems.extend(f"when the manager was killed: {text}" for text in disagreeing)
        shown = ", ".join(f"{count} {step.value}" for step, count in found.items() if count)
        self._notes.append(f"The manager was killed after {at:.1f} s, with the boards at: {shown}.")
        told = sum(bool(pi.journal.told) for pi in self.pis)
        wrong = counted(len(disagreeing), "lease")
        self._notes.append(f"{counted(told, 'board')} had been told an address then; {wrong} on disk differed.")
        await _later(self.reactor, DOWN_SECONDS)
        await self.manager.start()
        self._notes.append(f"It served again after {self.reactor.seconds() - self._began - at:.1f} s.")

    async def _end(self) -> None:
        """Stop everything."""
        await self.manager.stop()
        self.harness.stop()
        await self.room.close()
        await self._agent_port.stopListening()

    async def _compare(self, seconds: float) -> Report:
        """Let the manager notice the last arrivals, stop it, compare its files with what happened, count."""
        was_killed = self.manager.starts > 1
        await _later(self.reactor, self.options.poll_seconds + NOTICE_SECONDS if was_killed else SETTLE_SECONDS)
        await self.manager.stop()
        if self.room.switches:
            self._notes.append(
                f"{len(self.room.switches)} switches answered {self.room.requests} requests by SNMP and obeyed "
                f"{self.room.orders} orders."
            )
        return self._report(seconds)

    def _report(self, seconds: float) -> Report:
        journals = [pi.journal for pi in self.pis]
        left = [f"{pi.board.hostname} is left behind: {_where(pi)}" for pi in self.pis if not pi.is_up]
        return Report(
            boards=len(self.pis),
            up=sum(pi.is_up for pi in self.pis),
            seconds=seconds,
            steps=step_spreads(self.pis),
            whole=Spread.of(pi.journal.since - self._began for pi in self.pis if pi.is_up),
            boots=sum(journal.boots for journal in journals),
            retries=sum(journal.retries for journal in journals),
            power_cycles=self.harness.cycles,
            hangs=dict(Counter(_kind_of_hang(why) for journal in journals for why in journal.hangs).most_common()),
            power_cuts=self.harness.cuts,
            resends=sum(journal.resends for journal in journals),
            files=sum(journal.files for journal in journals),
            loaded_bytes=sum(journal.loaded_bytes for journal in journals),
            installations=sum(journal.installations for journal in journals),
            damage=self.damage,
            manager_starts=self.manager.starts,
            agent_answers=self._agents.resource.asked,
            problems=(*self._problems, *left, *self._disagreements()),
            notes=tuple(self._notes),
        )

    def _disagreements(self) -> list[str]:
        state = self.directory / "state"
        if not (state / "state.db").exists():
            return ["the manager left no state.db"]
        seats = tuple(zip(self.places, self.pis, strict=True))
        return list(truth.complaints(seats, truth.read(state), self.digest))


def _kind_of_hang(why: str) -> str:
    """The same for all boards: without their prefix."""
    return re.sub(r"\b[0-9a-f]{8}/", "", why)


def _where(pi: Pi) -> str:
    return f"{pi.journal.step.value}, {pi.journal.trouble or 'no trouble known'}"


def _first(*several: "Deferred[None]") -> "Awaitable[None]":
    """Fires with the first of these; the others stay as they are."""
    first: Deferred[None] = Deferred()

    def fired(result: None) -> None:
        if not first.called:
            first.callback(None)

    for one in several:
        one.addCallback(fired)
    return first


def _later(reactor: Any, seconds: float) -> "Deferred[None]":
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting if seconds else succeed(None)
