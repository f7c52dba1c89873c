# -*- test-case-name: tests.system.test_manager -*-
"""
The parts that all services of the manager share, built from one configuration; and what a new one changes.
"""

import secrets
import signal
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from piman.boot.images import ImageLibrary, in_thread
from piman.config import Config, ConfigError, differences
from piman.dhcp import dhcp_service
from piman.editing.desk import Desk
from piman.editing.secrets import Vault
from piman.fleet.answer_times import AnswerTimes
from piman.fleet.arrivals import Arrivals
from piman.fleet.assignment import assigned, spoken, without_image
from piman.fleet.casebook import Casebook
from piman.fleet.clock_steps import ClockSteps
from piman.fleet.eventlog import EventLog
from piman.fleet.events import ConfigurationRejected, ConfigurationReloaded, ManagerStarted, StoreReplaced
from piman.fleet.interfaces import StoreFailed
from piman.fleet.model import MACAddress
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations
from piman.fleet.operations.contract import Explanation
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.recovery import LOOK_SECONDS, Recovery
from piman.fleet.operations.targets import Atlas
from piman.fleet.state.history import HistoryStore
from piman.fleet.state.image_choices import ImageChoices
from piman.fleet.state.intents import IntentBook
from piman.fleet.state.journal import JournalWriter
from piman.fleet.state.leases import LeaseTable, LeaseTerms
from piman.fleet.state.lock import StateLock
from piman.fleet.state.store import StateStore
from piman.fleet.walltime import WallTime, WallTimedImageChoices, WallTimedIntents, WallTimedLeases, WallTimedOperations
from piman.fleet.wording import counted
from piman.host.arp import ARPProber, ARPSocket
from piman.host.neighbours import KernelNeighbours, LinkLayerSender
from piman.measuring import GAP_POLLS, Measuring
from piman.monitor.poller import poller_service
from piman.power import atlas_of, load, operation_settings, power_policy, power_switches, recovery_settings
from piman.reactor import wall_clock
from piman.serving import SecureDoor, access_settings
from piman.settings.sections import Document
from piman.settings.tags import tag_images
from piman.unpacking import boot_files, dhcp_settings, image_paths, poller_settings, pool, ready_line
from piman.web.access.guard import Guard
from piman.web.answers import Answers
from piman.web.editing.documents import Applied, Documents
from piman.web.recalled import Recalled
from piman.web.shelf import Shelf
from piman.web.standings import Standings
from piman.web.stream import Stream
from piman.words import own_version

RECALLED_EVENTS = 10_000
"""Events of earlier processes that verdicts still know."""

SNAPSHOT_SECONDS = 10.0
"""How often statuses that changed are written down."""


class Manager:
    """
    The parts that the services share, for one configuration.

    :ivar config: the configuration in force; :meth:`reload` replaces it.
    """

    _log = Logger()

    def __init__(self, reactor: Any, path: Path, config: Config) -> None:
        self.reactor = reactor
        self.path = path
        self.config = config
        self.wall = WallTime(reactor, wall_clock)
        self.lock = StateLock(config.state_dir)
        self.events = EventLog(reactor)
        self.state = StateStore(config.state_dir / "state.db", reactor=reactor, events=self.events)
        self.history = HistoryStore(
            config.state_dir / "history.db", reactor=reactor, clock=reactor, wall=self.wall, sink=self.events
        )
        self.registry = NodeRegistry(config.nodes, config.slots)
        self.journal = JournalWriter(
            reactor, config.log_dir, in_thread=self.in_thread, nodes=self.registry, wall=self.wall
        )
        self.arrivals = Arrivals(
            nodes=self.registry, events=self.events, has_agent=lambda mac: self.registry.status(mac).has_agent
        )
        self.leases = LeaseTable(
            reactor, nodes=self.registry, pool=pool(config), terms=LeaseTerms(lease_seconds=config.dhcp.lease_seconds)
        )
        self.choices = ImageChoices(WallTimedImageChoices(self.state, self.wall), self.events)
        self.choices.watchers.append(self._assign_images)
        self.intents = IntentBook(WallTimedIntents(self.state, self.wall), reactor, self.events)
        self._order()
        self._serve()
        self._show()
        told = self.registry, self.casebook, self.operations, self.history, self.journal, self.arrivals, self.stream
        for observer in (*told, self.measuring.tally):
            self.events.add_observer(observer)
        self._snapshots = LoopingCall(self._save_snapshots)
        self._snapshots.clock = reactor
        self._recoveries = LoopingCall(lambda: Deferred.fromCoroutine(self._recover()))
        self._recoveries.clock = reactor
        self._hangup: Any = None

    def _order(self) -> None:
        """What is ordered of nodes, and why they are where they are."""
        reactor, config = self.reactor, self.config
        self.power = power_switches(reactor, config)
        self.casebook = Casebook(reactor, nodes=self.registry, switches=lambda: self.operations.desk.switches)
        self.answer_times = AnswerTimes(reactor)
        self.operations = Operations(
            reactor,
            desk=PowerDesk(reactor, self.power.by_address, power_policy(config)),
            atlas=self.atlas,
            nodes=self.registry,
            store=WallTimedOperations(self.state, self.wall),
            intents=self.intents,
            events=self.events,
            explain=self.casebook.explain,
            is_stuck=self.casebook.is_stuck,
            is_crowded=self.answer_times.is_crowded,
            settings=operation_settings(config),
        )
        self.recovery = Recovery(
            reactor,
            book=self.operations,
            casebook=self.casebook,
            nodes=self.registry,
            intents=self.intents,
            events=self.events,
            label=self.label_of,
            settings=recovery_settings(config),
        )
        self.clock_steps = ClockSteps(
            reactor,
            self.wall,
            self.events,
            write_anew=(
                self.leases.write_anew,
                self.registry.write_anew,
                self.intents.write_anew,
                self.operations.write_anew,
                self.choices.write_anew,
            ),
        )

    def _serve(self) -> None:
        """What the protocols ask, and the protocols that are asked in turn."""
        reactor, config = self.reactor, self.config
        self.measuring = Measuring(reactor, self.registry)
        self.neighbours = KernelNeighbours(reactor)
        self.images = ImageLibrary(image_paths(config), run=in_thread(reactor), cache=config.state_dir / "images.json")
        self.files = boot_files(config, nodes=self.registry, addresses=self.leases, neighbours=self.neighbours)
        self.dhcp = dhcp_service(
            reactor,
            settings=dhcp_settings(config),
            nodes=self.registry,
            leases=self.leases,
            store=WallTimedLeases(self.state, self.wall),
            events=self.events,
            link=LinkLayerSender(config.interface),
            prober=ARPProber(reactor, ARPSocket(config.interface)),
            interface=config.interface,
        )
        self.monitor = poller_service(
            reactor, settings=poller_settings(config), nodes=self.registry, events=self.events
        )
        self.monitor.poller.listeners.append(self.measuring.readings.take)

    def _show(self) -> None:
        """What pages and the API show, and the documents that they change."""
        reactor, config = self.reactor, self.config
        self.standings = Standings(reactor, registry=self.registry, judge=self.casebook.why, wall=self.wall)
        self.stream = Stream(
            reactor,
            operations=self.operations,
            history=self.history,
            last_id=lambda: self.events.last_id,
            labels=self.labels,
            wall=self.wall,
            standings=self.standings,
        )
        self.guard = Guard(reactor, access_settings(config))
        self.door = SecureDoor()
        self.documents = Documents(
            Desk(
                self.path,
                load=load,
                vault=Vault(secrets.token_bytes(32), Document),
                in_force=lambda: self.config,
                now=self.wall.now,
            ),
            in_thread=self.in_thread,
            apply=self.reload,
            events=self.events,
            now=self.wall.now,
        )
        self.shelf = Shelf(
            reactor,
            images=self.images,
            choices=self.choices,
            registry=self.registry,
            atlas=self.atlas,
            tags=lambda: self.config.tags,
            wall=self.wall,
        )
        self.answers = Answers(
            reactor,
            registry=self.registry,
            operations=self.operations,
            atlas=self.atlas,
            history=self.history,
            why=self.why,
            wall=self.wall,
            recalled=Recalled(self.measuring.readings, self.wall, self.gap_seconds),
        )

    def atlas(self) -> Atlas:
        """What the operator's words can name, as of now."""
        return atlas_of(self.config, {lease.address: lease.mac for lease in self.leases.leases()})

    def gap_seconds(self) -> float:
        """Readings further apart than this have a gap between them, as of now."""
        return GAP_POLLS * self.config.monitor.interval_seconds

    def labels(self) -> dict[IPv4Address, str]:
        """What people call the switches, by address, as of now."""
        return {switch.address: switch.label for switch in self.config.switches}

    def label_of(self, address: IPv4Address) -> str:
        """What people call a switch."""
        return self.labels().get(address, str(address))

    def strangers(self) -> list[Mapping[str, str]]:
        """Boards that no file names, as the page of hosts.csv offers them."""
        return [
            {"mac": str(each.mac), "model": each.model or "", "address": str(each.address or "")}
            for each in self.registry.strangers()
        ]

    async def why(self, mac: MACAddress) -> Explanation:
        """Why a node is where it is; its switch is asked first."""
        found = await self.casebook.look(mac)
        return Explanation(found.sentence, found.remedy)

    def reading(self, mac: MACAddress) -> dict[str, Any] | None:
        """What a node's agent told last, with the ``time`` when it came."""
        if mac not in self.monitor.poller.readings:
            return None
        came, reading = self.monitor.poller.readings[mac]
        return {**attrs.asdict(reading), "time": came + self.wall.ahead}

    def in_thread(self, work: Callable[[], Any]) -> "Deferred[Any]":
        """Do it where it holds nobody up."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), work)

    # Beginning and end of what is not a protocol

    def open_state(self) -> None:
        """Open state.db, take intents and operations into memory; the DHCP service takes the leases."""
        self._say(self.state.open())
        self.intents.load()
        self.operations.load()
        self.choices.load()
        for note in self._lost_images():
            self._log.warn("{note}", note=note)

    def open_history(self) -> None:
        """Open history.db, go on counting where it ended, take the statuses of before."""
        replaced = self.history.open()
        self.events.continue_after(self.history.last_event_id())
        self.registry.restore(self.history.load_snapshots())
        for recorded in self.history.load_uncovered():
            self.registry.observe(recorded)
        self._say(replaced)
        recalled = self.history.events(newest=True, limit=RECALLED_EVENTS).addCallback(self.casebook.recall)
        recalled.addErrback(lambda failure: self._log.warn("verdicts know nothing of before: {why}", why=str(failure)))
        self._snapshots.start(SNAPSHOT_SECONDS, now=False)

    async def _end_history(self) -> None:
        self._snapshots.stop()
        await self._save_snapshots()
        await self.history.close()

    def close_history(self) -> "Deferred[None]":
        """Write the statuses and close history.db."""
        return Deferred.fromCoroutine(self._end_history())

    async def _save_snapshots(self) -> None:
        changed, covered = self.registry.take_changed(), self.events.last_id
        try:
            await self.history.save_snapshots(changed, covered=covered)
        except StoreFailed as reason:
            self.registry.return_changed(changed)
            self._log.warn("statuses were not saved: {reason}", reason=reason)

    def _say(self, replaced: StoreReplaced | None) -> None:
        if replaced is not None:
            self.events.emit(replaced)

    def begin_operations(self) -> None:
        """Go on with what an earlier process left; from now on look after nodes that are stuck."""
        self.operations.resume()
        self._recoveries.start(LOOK_SECONDS, now=False)

    async def _recover(self) -> None:
        try:
            await self.recovery.look()
        except Exception:
            self._log.failure("looking for nodes that are stuck")

    async def _end_operations(self) -> None:
        if self._recoveries.running:
            self._recoveries.stop()
        await self.operations.stop()
        self.power.close()

    def end_operations(self) -> "Deferred[None]":
        """Switch nothing any more; what is on disk goes on with the next process."""
        return Deferred.fromCoroutine(self._end_operations())

    def begin(self) -> None:
        """All services run: say so, and listen to SIGHUP."""
        self._hangup = signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self.reload))
        self.events.emit(ManagerStarted(version=own_version()))
        self._log.info("{ready}", ready=ready_line(self.config))

    def end(self) -> None:
        """Leave SIGHUP to whoever had it."""
        signal.signal(signal.SIGHUP, self._hangup or signal.SIG_DFL)

    # Reading the files again

    def reload(self) -> Applied:
        """SIGHUP, or a change on a page: take the files as they are now, or say what is wrong and change nothing."""
        try:
            new = load(self.path, previous=self.config)
        except ConfigError as mistakes:
            self.events.emit(ConfigurationRejected(problems=tuple(map(str, mistakes.problems))))
            self._log.warn("the configuration has mistakes and was not taken:\n{mistakes}", mistakes=mistakes)
            return Applied(taken=False, note="; ".join(map(str, mistakes.problems)))
        at_once, waiting = differences(self.config, new)
        old, self.config = self.config, new
        self._assign_images()
        self.leases.nodes_changed()
        self._reload_dhcp(old, new)
        self.monitor.reconfigure(poller_settings(new))
        self.images.replace_images(image_paths(new))
        self.files.protect(new.images.values())
        self.files.treat_unknown_clients(new.tftp.unknown_clients)
        self._replace_power()
        self.guard.settings = access_settings(new)
        self.door.read_again()
        warnings = *map(str, new.warnings), *self._lost_images()
        notes = warnings + tuple(f"{key} changes at the next start" for key in waiting)
        self.events.emit(ConfigurationReloaded(nodes=len(new.nodes), warnings=notes))
        say = self._log.warn if warnings else self._log.info
        say("{path} read again: {what}", path=self.path, what="; ".join((counted(len(new.nodes), "node"), *notes)))
        return Applied(taken=True, at_once=at_once, at_restart=waiting, warnings=warnings)

    def _reload_dhcp(self, old: Config, new: Config) -> None:
        """The terms and the pool; our own address, the network and the port stay as they are until a restart."""
        now = self.dhcp.protocol.settings
        if new.dhcp.pool != old.dhcp.pool and new.subnet == now.network:
            self.dhcp.replace_pool(pool(new))
        self.leases.terms = LeaseTerms(lease_seconds=new.dhcp.lease_seconds)
        terms = dhcp_settings(new)
        self.dhcp.protocol.reconfigure(
            attrs.evolve(terms, server_address=now.server_address, network=now.network, port=now.port)
        )

    def _assign_images(self) -> None:
        """The operator's nodes, each with the image that it is to get: of the files, or chosen by command."""
        nodes = assigned(self.config.nodes, tag_images(self.config.tags), self.choices.all)
        self.registry.replace_nodes(nodes, self.config.slots)

    def _lost_images(self) -> list[str]:
        """Choices of images that piman.yaml names no more: who has one of these is not installed."""
        return [
            f"image {choice.image} was chosen for {spoken(choice)}, and images in {self.path.name} does not name it"
            for choice in without_image(self.choices.all, self.config.images)
        ]

    def _replace_power(self) -> None:
        """Operations go on with the switches as they are described now; orders under way are given again."""
        old, self.power = self.power, power_switches(self.reactor, self.config)
        self.operations.desk.switches = self.power.by_address
        self.operations.desk.policy = power_policy(self.config)
        self.operations.settings = operation_settings(self.config)
        self.recovery.settings = recovery_settings(self.config)
        old.close()
