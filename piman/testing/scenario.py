# -*- test-case-name: tests.scenario.test_boot -*-
"""
Whole boots in virtual time: virtual boards, the manager's real services, one Clock, no sockets.

What the manager keeps on disk is kept in memory here and outlives :meth:`Scenario.kill_manager`.  The boards hang on
switches in memory; whoever powers a board otherwise pulls and puts in its cable.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256, shake_256
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.fleet.events import Event, Recorded
from piman.fleet.interfaces import IEventObserver, IPowerSwitch
from piman.fleet.model import Intent, MACAddress, Node, SwitchPort
from piman.fleet.operations.book import Operations, OperationSettings
from piman.fleet.operations.orders import Action, Operation
from piman.fleet.operations.recovery import RecoverySettings
from piman.simulator.booting.boards import KINDS, Board, board_number
from piman.simulator.booting.journal import Journal
from piman.simulator.pi import MODELS, Pi
from piman.simulator.running import plan
from piman.simulator.running.harness import Harness, PowerCuts
from piman.simulator.wiring.faults import NO_DEFECTS, Damage, Defects, Faults, FaultyNetwork
from piman.simulator.wiring.uplink import Uplink
from piman.testing.fakes import MemoryIntentStore, MemoryLeaseStore, MemoryOperationStore
from piman.testing.lan import VirtualLAN
from piman.testing.power import MemoryPowerSwitch
from piman.testing.virtual_board import BoardNetwork
from piman.testing.virtual_host import VirtualHost
from piman.testing.virtual_manager import FIRST_SWITCH, SERVER, VirtualManager, label_of

SWITCH = FIRST_SWITCH
FIRST_NODE = IPv4Address("172.30.4.10")
BEGINNING = 1_750_000_000.0
"""A time at which a clock can be set."""
SMALL_BYTES = 3_000
"""No boot file is larger: a boot shall take milliseconds."""


@implementer(IEventObserver)
class Scenario:
    """
    A rack in virtual time.

    :param directory: where boot files are written.
    :param kinds: the boards, in this order.
    :param pooled: whether boards take their addresses from the pool instead of having their own.
    :param version: of the hello protocol.
    :param defects: what is wrong with every board.
    :param has_agents: whether installed systems have an agent, and the manager asks it.
    :param racks: on so many switches, in turn.
    :param uplink: how many datagrams a second all boards can exchange with the manager, and how many may wait.
    :param settings: of operations.
    :param recovery: what the manager does by itself.
    :ivar recorded: every event, through all managers.
    :ivar switches: those that the manager can ask about power.
    :ivar racks: where the boards hang, by address.
    :ivar switch: the first of them.
    :ivar protected: ports that piman.yaml protects.
    :ivar lines: the boards' cables.
    :ivar aheads: by how much the clock of the manager's computer was before the true time, one after the other.
    """

    def __init__(
        self,
        directory: Path,
        kinds: Sequence[str] = MODELS,
        *,
        seed: int = 1,
        faults: Faults | None = None,
        power_cuts: PowerCuts | None = None,
        pooled: bool = False,
        version: int = 2,
        defects: Defects = NO_DEFECTS,
        has_agents: bool = False,
        racks: int = 1,
        uplink: tuple[float, int] | None = None,
        settings: OperationSettings | None = None,
        recovery: RecoverySettings | None = None,
    ) -> None:
        self.recovery = recovery or RecoverySettings()
        self.protected: set[SwitchPort] = set()
        self.settings = settings or OperationSettings()
        self.has_agents = has_agents
        self.switches: dict[IPv4Address, IPowerSwitch] = {}
        self.pis: list[Pi] = []
        self.clock = Clock()
        self.clock.advance(BEGINNING)
        self.aheads = [0.0]
        self.lan = VirtualLAN(self.clock)
        self.recorded: list[Recorded] = []
        self.lease_store = MemoryLeaseStore()
        self.intent_store = MemoryIntentStore()
        self.operation_store = MemoryOperationStore()
        self.damage = Damage()
        self._random = Random(seed)
        self._write(directory)
        self.boards = [board_number(number, KINDS[kind]) for number, kind in enumerate(kinds, start=1)]
        self.ports = [SwitchPort(SWITCH - 256 * (seat % racks), seat // racks + 1) for seat in range(len(self.boards))]
        self.racks = {SWITCH - 256 * rack: self._rack(SWITCH - 256 * rack) for rack in range(racks)}
        self.switch = self.racks[SWITCH]
        if self.recovery.enabled:
            self.switches.update(self.racks)
        self.nodes = tuple(
            _node(board, None if pooled else FIRST_NODE + seat, port)
            for seat, (board, port) in enumerate(zip(self.boards, self.ports, strict=True))
        )
        self.uplink = Uplink(self.clock, *uplink) if uplink is not None else None
        self.lines: list[FaultyNetwork] = []
        self.manager: VirtualManager | None = None
        self.start_manager()
        self.pis = [self._pi(board, faults or Faults(), version, defects) for board in self.boards]
        self.harness = Harness(self.pis, clock=self.clock, random=self._random, power_cuts=power_cuts)

    def _write(self, directory: Path) -> None:
        self.boot_dir = directory / "boot"
        for name in (*plan.BOOT_FILES, *plan.TEXT_FILES):
            file = self.boot_dir / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(plan.content_of(name)[:SMALL_BYTES])
        self.image = directory / "rootfs.tgz"
        self.image.write_bytes(shake_256(b"rootfs").digest(200_000))
        self.digest = sha256(self.image.read_bytes()).hexdigest()

    def _rack(self, address: IPv4Address) -> MemoryPowerSwitch:
        seats = {port.port: seat for seat, port in enumerate(self.ports) if port.switch == address}
        return MemoryPowerSwitch(
            seats, changed=lambda port, on: self._switched(seats[port], on), label=label_of(address)
        )

    def _pi(self, board: Board, faults: Faults, version: int, defects: Defects) -> Pi:
        line = FaultyNetwork(
            BoardNetwork(self.lan, board.mac),
            faults,
            clock=self.clock,
            random=Random(self._random.getrandbits(64)),
            damage=self.damage,
            defects=defects,
            uplink=self.uplink,
        )
        self.lines.append(line)
        journal = Journal(check=lambda name, content: content == self.shown(name))
        random = Random(self._random.getrandbits(64))
        return Pi(
            board,
            clock=self.clock,
            network=line,
            journal=journal,
            random=random,
            version=version,
            defects=defects,
        )

    def shown(self, name: str) -> bytes:
        """What a board must get when it asks for a file."""
        content = (self.boot_dir / name.lstrip("/")).read_bytes()
        return content.replace(b"MASTER", str(SERVER).encode()) if name.lstrip("/") == "cmdline.txt" else content

    # Power

    def _switched(self, seat: int, on: bool) -> None:
        pi = self.pis[seat]
        if on:
            pi.power_on()
        else:
            pi.power_off()

    def pull_cable(self, pi: Pi, seconds: float) -> None:
        """Pull a board's cable, and put it in again after so long."""
        port = self.ports[self.pis.index(pi)]
        switch = self.racks[port.switch]
        pi.power_off()
        self.clock.callLater(seconds, lambda: pi.power_on() if switch.delivering(port.port) else None)

    # The operator

    def order(self, action: Action, *words: str) -> Operation:
        """
        Plan an order and begin with it, however many nodes it is for.

        :raises OperationRefused: when the manager will not.
        """
        found: list[Operation | Failure] = []
        self.ordering(action, *words).addBoth(found.append)
        (result,) = found
        if isinstance(result, Failure):
            result.raiseException()
        assert isinstance(result, Operation)
        return result

    def ordering(self, action: Action, *words: str) -> "Deferred[Operation]":
        """The same, where the disk may be slow: fires when the order is on it."""
        assert self.manager is not None
        return Deferred.fromCoroutine(_order(self.manager.operations, action, words))

    def now(self, operation: Operation) -> Operation:
        """The operation as it is on disk by now."""
        return self.operation_store.operations[operation.id]

    # The manager

    def observe(self, recorded: Recorded) -> None:
        """Remember every event."""
        self.recorded.append(recorded)

    def start_manager(self) -> None:
        """A new process with the files of the old one."""
        last = self.recorded[-1].id if self.recorded else 0
        self.manager = VirtualManager(
            self, VirtualHost(self.lan, SERVER, ahead=self.aheads[-1]), first_id=last + 1
        )

    def wall_clock(self) -> float:
        """What the clock of the manager's computer shows."""
        return self.clock.seconds() + self.aheads[-1]

    def step_clock(self, seconds: float) -> None:
        """Somebody sets the clock of the manager's computer forward, or back."""
        self.aheads.append(self.aheads[-1] + seconds)

    def kill_manager(self) -> None:
        """SIGKILL."""
        if self.manager is not None:
            self.manager.host.crash()
            self.manager = None

    def events(self, kind: type[Event], pi: Pi | None = None) -> list[Any]:
        """The events of one class, of all boards or of one."""
        return [
            one.event
            for one in self.recorded
            if isinstance(one.event, kind) and (pi is None or one.event.mac == MACAddress(pi.board.mac))
        ]

    @property
    def intents(self) -> list[Intent]:
        """All intents on disk."""
        return list(self.intent_store.intents.values())

    # Time

    def run(self, seconds: float = 1800.0) -> bool:
        """Power everything on; whether all boards come up in this time."""
        self.harness.start()
        return self.run_until(lambda: all(pi.is_up for pi in self.pis), seconds)

    def run_until(self, condition: Callable[[], bool], seconds: float = 1800.0) -> bool:
        """Let time pass until something holds; whether it did in this time."""
        end = self.clock.seconds() + seconds
        while not condition():
            calls = self.clock.getDelayedCalls()
            moment = min((call.getTime() for call in calls), default=end)
            if moment > end or not calls:
                return False
            self.clock.advance(max(0.0, moment - self.clock.seconds()))
        return True

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.clock.seconds() + seconds
        while (moment := min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)) < end:
            self.clock.advance(max(0.0, moment - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def finish(self) -> Sequence[Any]:
        """Power off, stop the manager; the delayed calls that are left over (none, if all is well)."""
        self.harness.stop()
        if self.manager is not None:
            self.manager.stop()
        self.clock.advance(1.0)
        return self.clock.getDelayedCalls()


async def _order(operations: Operations, action: Action, words: Sequence[str]) -> Operation:
    plan = await operations.plan(action, words)
    return await operations.begin(plan, who="ada", source="scenario", yes=True)


def _node(board: Board, address: IPv4Address | None, port: SwitchPort) -> Node:
    return Node(mac=MACAddress(board.mac), hostname=board.hostname, address=address, port=port)
