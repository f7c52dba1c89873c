# -*- test-case-name: tests.system.test_manager -*-
"""
The map: every service of the manager, in order.

:func:`makeService` reads the configuration, :class:`Manager` builds the parts that all services share, and
:func:`services` lists them.  With :mod:`piman.power` the only module that unpacks :class:`piman.config.Config`.
"""

from piman.reactor import WrongReactor, install, wall_clock

try:
    install()
except WrongReactor as reason:
    raise SystemExit(f"piman: {reason}") from None

import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ClassVar

import attrs
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from piman.boot.files import BootFiles
from piman.boot.image_http import ImageHTTPSettings, image_http_service
from piman.boot.image_tcp import ImageSettings, image_service
from piman.boot.images import ImageLibrary, in_thread
from piman.config import Config, ConfigError, differences
from piman.dhcp import DHCPSettings, dhcp_service
from piman.editing.desk import Desk
from piman.editing.secrets import Vault
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
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.target_run import Explanation
from piman.fleet.operations.targets import Atlas
from piman.fleet.state.history import HistoryStore
from piman.fleet.state.image_choices import ImageChoices
from piman.fleet.state.intents import IntentBook
from piman.fleet.state.journal import JournalWriter
from piman.fleet.state.leases import LeaseTable, LeaseTerms
from piman.fleet.state.lock import StateLock
from piman.fleet.state.pool import Pool
from piman.fleet.state.store import StateStore
from piman.fleet.walltime import WallTime, WallTimedImageChoices, WallTimedIntents, WallTimedLeases, WallTimedOperations
from piman.fleet.wording import counted
from piman.hello import HelloSettings, hello_service
from piman.host.arp import ARPProber, ARPSocket
from piman.host.limits import raise_file_limit, shortage
from piman.host.neighbours import KernelNeighbours, LinkLayerSender, mtu_of
from piman.measuring import Measuring, grafana_resource, measured_parts
from piman.monitor.poller import PollerSettings, poller_service
from piman.ntp import NTPSettings, ntp_service
from piman.ordered import OrderedService, StartupError, say_in_one_line
from piman.power import atlas_of, load, operation_settings, power_policy, power_switches
from piman.serving import SITE_NAME, SecureDoor, access_settings, grafana_service, site_service
from piman.settings.sections import Document
from piman.settings.tags import tag_images
from piman.tftp import TFTPSettings, tftp_service
from piman.web.access import visitors
from piman.web.access.guard import Guard
from piman.web.access.login import Login
from piman.web.access.passwords import Checker
from piman.web.answers import Answers
from piman.web.api import API, Caller
from piman.web.control_socket import ControlSocket, caller_of
from piman.web.editing.documents import Applied, Documents
from piman.web.editing.pages import EditingPages
from piman.web.editing.routes import DocumentRoutes, WithDocuments
from piman.web.metrics import sources
from piman.web.openapi import document
from piman.web.pages.resource import Pages
from piman.web.reference import Reference
from piman.web.shelf import Shelf
from piman.web.site import context_for
from piman.web.standings import Standings
from piman.web.stream import Stream
from piman.words import Words, own_version

RECALLED_EVENTS = 10_000
"""Events of earlier processes that verdicts still know."""

SNAPSHOT_SECONDS = 10.0
"""How often statuses that changed are written down."""


class Options(Words):
    """``twistd piman``."""

    command = "piman server"
    longdesc = (
        "Runs the manager in the foreground: the same as twistd -n --pidfile= piman.  Ports 67, 69 and 123 need root, "
        "or the capability net_bind_service; kill -HUP makes it read its files again."
    )
    examples = (
        "  piman server                                  with ./piman.yaml\n"
        "  piman server --config /etc/piman/piman.yaml\n"
        "  twistd --pidfile /run/piman.pid piman         in the background\n"
    )
    optParameters: ClassVar = [["config", "c", "piman.yaml", "The configuration file"]]


class Held(Service):
    """Something with a beginning and an end: ``begin`` in startService, ``end`` awaited in stopService."""

    def __init__(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self._begin = begin
        self._end = end

    def startService(self) -> None:
        """
        Begin.

        :raises StartupError: when a store cannot be used.
        """
        self._try_to_begin()
        super().startService()

    def _try_to_begin(self) -> None:
        try:
            self._begin()
        except StoreFailed as reason:
            raise StartupError(str(reason)) from reason

    def stopService(self) -> "Deferred[object] | None":
        """End what was begun."""
        if not self.running:
            return None
        super().stopService()
        return maybeDeferred(self._end)


class HeldEarly(Held):
    """The same, begun before the services after it bind their ports; ``begin`` is called twice."""

    def privilegedStartService(self) -> None:
        """
        Begin.

        :raises StartupError: when a store cannot be used.
        """
        super().privilegedStartService()
        self._try_to_begin()


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
            reactor, nodes=self.registry, pool=_pool(config), terms=LeaseTerms(lease_seconds=config.dhcp.lease_seconds)
        )
        self.choices = ImageChoices(WallTimedImageChoices(self.state, self.wall), self.events)
        self.choices.watchers.append(self._assign_images)
        self.intents = IntentBook(WallTimedIntents(self.state, self.wall), reactor, self.events)
        self.power = power_switches(reactor, config)
        self.casebook = Casebook(
            reactor, nodes=self.registry, switches=lambda: self.operations.desk.switches
        )
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
            settings=operation_settings(config),
        )
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
        self.measuring = Measuring(reactor, self.registry)
        self.guard = Guard(reactor, access_settings(config))
        self.door = SecureDoor()
        self.documents = Documents(
            Desk(
                path,
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
        told = self.registry, self.casebook, self.operations, self.history, self.journal, self.arrivals, self.stream
        for observer in (*told, self.measuring.tally):
            self.events.add_observer(observer)
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
        self.neighbours = KernelNeighbours(reactor)
        self.images = ImageLibrary(
            image_paths(config), run=in_thread(reactor), cache=config.state_dir / "images.json"
        )
        self.files = _boot_files(self)
        self.dhcp = dhcp_service(
            reactor,
            settings=_dhcp_settings(config),
            nodes=self.registry,
            leases=self.leases,
            store=WallTimedLeases(self.state, self.wall),
            events=self.events,
            link=LinkLayerSender(config.interface),
            prober=ARPProber(reactor, ARPSocket(config.interface)),
            interface=config.interface,
        )
        self.monitor = poller_service(
            reactor, settings=_poller_settings(config), nodes=self.registry, events=self.events
        )
        self.monitor.poller.listeners.append(self.measuring.readings.take)
        self._snapshots = LoopingCall(self._save_snapshots)
        self._snapshots.clock = reactor
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
        )
        self._hangup: Any = None

    def atlas(self) -> Atlas:
        """What the operator's words can name, as of now."""
        return atlas_of(self.config, {lease.address: lease.mac for lease in self.leases.leases()})

    def labels(self) -> dict[IPv4Address, str]:
        """What people call the switches, by address, as of now."""
        return {switch.address: switch.label for switch in self.config.switches}

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

    async def _end_operations(self) -> None:
        await self.operations.stop()
        self.power.close()

    def end_operations(self) -> "Deferred[None]":
        """Switch nothing any more; what is on disk goes on with the next process."""
        return Deferred.fromCoroutine(self._end_operations())

    def begin(self) -> None:
        """All services run: say so, and listen to SIGHUP."""
        self._hangup = signal.signal(
            signal.SIGHUP, lambda *_: self.reactor.callFromThread(self.reload)
        )
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
        self.monitor.reconfigure(_poller_settings(new))
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
            self.dhcp.replace_pool(_pool(new))
        self.leases.terms = LeaseTerms(lease_seconds=new.dhcp.lease_seconds)
        terms = _dhcp_settings(new)
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
        old.close()


# What the configuration means to each part


def ready_line(config: Config) -> str:
    """What runs now, and where: version, nodes, interface, address, ports."""
    hello = config.hello
    doors = (
        ("DHCP", config.dhcp.port, config.dhcp.enabled),
        ("TFTP", config.tftp.port, config.tftp.enabled),
        ("NTP", config.ntp.port, config.ntp.enabled),
        ("hello", hello.port, hello.enabled),
        ("image", hello.image_port, hello.enabled),
        ("HTTP", hello.http_port, hello.enabled),
        ("web", config.web.port, config.web.enabled and not config.web.endpoint),
        ("Grafana", config.grafana.port, config.grafana.enabled and config.grafana.port is not None),
    )
    ports = ", ".join(f"{name} {port}" for name, port, enabled in doors if enabled)
    nodes = counted(len(config.nodes), "node")
    return f"piman {own_version()} is ready for {nodes} at {config.server_address} on {config.interface}: {ports}"


def image_paths(config: Config) -> dict[str, str]:
    """The image files by name."""
    return {name: str(path) for name, path in config.images.items()}


def _pool(config: Config) -> Pool | None:
    """The addresses for boards without a reservation; the server's own is none of them."""
    found = config.dhcp.pool
    if found is None:
        return None
    return Pool(found.first, found.last, excluded=frozenset({config.server_address}))


def _dhcp_settings(config: Config) -> DHCPSettings:
    wanted = config.dhcp
    return DHCPSettings(
        server_address=config.server_address,
        network=config.subnet,
        port=wanted.port,
        lease_seconds=wanted.lease_seconds,
        unknown_hosts=wanted.unknown_hosts,
        relays=wanted.relays,
        router=wanted.router,
        dns_servers=wanted.dns_servers,
        domain=wanted.domain,
        options=wanted.options,
    )


def _tftp_settings(config: Config) -> TFTPSettings:
    return TFTPSettings(
        network=config.subnet,
        address=str(config.server_address),
        port=config.tftp.port,
        data_ports=config.tftp.data_ports,
        mtu_bytes=_mtu(config.interface),
    )


def _poller_settings(config: Config) -> PollerSettings:
    wanted = config.monitor
    return PollerSettings(
        interval_seconds=wanted.interval_seconds,
        timeout_seconds=wanted.timeout_seconds,
        agent_port=wanted.agent_port,
        misses=wanted.misses,
        concurrency=wanted.concurrency,
    )


def _boot_files(manager: Manager) -> BootFiles:
    config = manager.config
    return BootFiles(
        config.boot_dir,
        nodes=manager.registry,
        addresses=manager.leases,
        neighbours=manager.neighbours,
        server_address=config.server_address,
        unknown_clients=config.tftp.unknown_clients,
        protected_paths=tuple(config.images.values()),
    )


def _mtu(interface: str) -> int:
    """The largest packet of the interface; Ethernet's when there is none of that name (binding will tell)."""
    try:
        return min(mtu_of(interface), 65_535)
    except OSError:
        return 1500


# The map


def services(manager: Manager) -> Iterator[tuple[str, IService]]:
    """Every service with its name, in the order in which they start."""
    reactor, config, measuring = manager.reactor, manager.config, manager.measuring
    yield "lock", HeldEarly(manager.lock.take, manager.lock.release)
    yield "history", Held(manager.open_history, manager.close_history)
    yield "state", Held(manager.open_state, manager.state.close)
    yield "journal", Held(manager.journal.open, manager.journal.close)
    yield "clock", Held(manager.clock_steps.begin, manager.clock_steps.end)
    yield "measuring", measuring
    if config.dhcp.enabled:
        measuring.add(sources.of_dhcp(manager.dhcp.protocol), sources.of_leases(reactor, manager.leases))
        measuring.add_transports("dhcp", manager.dhcp.transports)
        yield "dhcp", manager.dhcp
    if config.ntp.enabled:
        settings = NTPSettings(port=config.ntp.port, local_stratum=config.ntp.local_stratum)
        ntp = ntp_service(reactor, settings=settings, interface=config.interface, wall=manager.wall)
        measuring.add_transports("ntp", ntp.transports)
        yield "ntp", ntp
    if config.tftp.enabled:
        tftp = tftp_service(
            reactor,
            settings=_tftp_settings(config),
            files=manager.files,
            addresses=manager.leases,
            events=manager.events,
            interface=config.interface,
        )
        measuring.add(sources.of_tftp(tftp.server))
        measuring.add_transports("tftp", tftp.transports)
        yield "tftp", tftp
    if config.hello.enabled:
        yield from _install_services(manager)
    if config.monitor.enabled:
        measuring.add(sources.of_poller(manager.monitor.poller))
        yield "monitor", manager.monitor
    yield "operations", Held(manager.operations.resume, manager.end_operations)
    yield from _web_services(manager)
    if config.control.enabled:
        yield "control", _control_service(manager)
    yield "ready", Held(manager.begin, manager.end)


def _install_services(manager: Manager) -> Iterator[tuple[str, IService]]:
    """The conversation with the installer, and the two doors of the image."""
    ports = manager.config.hello
    hello = hello_service(
        manager.reactor,
        settings=HelloSettings(port=ports.port, http_port=ports.http_port),
        addresses=manager.leases,
        neighbours=manager.neighbours,
        nodes=manager.registry,
        intents=manager.intents,
        images=manager.images,
        events=manager.events,
        wall=manager.wall,
    )
    parts: dict[str, Any] = {
        "addresses": manager.leases,
        "intents": manager.intents,
        "images": manager.images,
        "events": manager.events,
    }
    tcp, http = ImageSettings(port=ports.image_port), ImageHTTPSettings(port=ports.http_port)
    image = image_service(manager.reactor, settings=tcp, installers=hello, **parts)
    image_http = image_http_service(manager.reactor, settings=http, **parts)
    manager.measuring.add(sources.of_doors((image, image_http)))
    yield "hello", hello
    yield "image", image
    yield "image-http", image_http


def _api(manager: Manager, caller: Callable[[IRequest], Caller]) -> IResource:
    """
    The API.

    :param caller: who sent a request.
    """
    documents = DocumentRoutes(manager.documents, caller)
    api = API(
        manager.answers,
        registry=manager.registry,
        operations=manager.operations,
        atlas=manager.atlas,
        shelf=manager.shelf,
        stream=manager.stream,
        wall=manager.wall,
        caller=caller,
        version=own_version(),
    )
    return WithDocuments(documents.resource(), api.resource())


def _web_services(manager: Manager) -> Iterator[tuple[str, IService]]:
    """The site, and Grafana's own port."""
    config = manager.config
    grafana = _grafana(manager) if config.grafana.enabled else None
    if config.web.enabled:
        yield "web", _web_service(manager, grafana)
    if grafana is not None and config.grafana.port is not None:
        yield "grafana", grafana_service(manager.reactor, config, grafana)


def _grafana(manager: Manager) -> IResource:
    return grafana_resource(
        manager.measuring,
        nodes=manager.registry,
        labels=manager.labels,
        history=manager.history,
        wall=manager.wall,
        interval_seconds=lambda: manager.config.monitor.interval_seconds,
    )


def _web_service(manager: Manager, grafana: IResource | None) -> IService:
    """The site: what answers, by the first segment of the path."""
    reactor, context = manager.reactor, context_for(SITE_NAME, own_version())
    api = _api(manager, visitors.caller_of)
    reference = Reference(api, document(own_version()), context)
    login = Login(
        reactor, guard=manager.guard, checker=Checker(manager.in_thread), events=manager.events, context=context
    ).resource()
    databases = {"state": manager.state.database, "history": manager.history.database}
    manager.measuring.add(
        sources.of_power(lambda: manager.power.by_address),
        sources.of_operations(manager.operations),
        sources.of_stores(databases, manager.history),
        sources.of_stream(lambda: len(manager.stream.readers)),
    )
    measured = measured_parts(
        manager.measuring,
        nodes=manager.registry,
        labels=manager.labels,
        agent_port=lambda: manager.config.monitor.agent_port,
        grafana=grafana,
    )
    pages = Pages(
        manager.answers,
        manager.standings,
        images=manager.shelf.images,
        context=context,
        readings=manager.reading,
    )
    files = EditingPages(
        manager.documents,
        context=context,
        caller=visitors.caller_of,
        strangers=manager.strangers,
        free=lambda: [str(slot.address) for slot in manager.registry.slots()],
    ).resource()
    service: IService = site_service(
        reactor,
        manager.config,
        guard=manager.guard,
        door=manager.door,
        parts={
            "api": reference,
            **dict.fromkeys(("healthz", "openapi.json", "get_config", "get_hosts_csv"), api),
            **dict.fromkeys(("login", "logout"), login),
            **measured,
            **dict.fromkeys(("config", "hosts-csv"), files),
        },
        rest=pages.resource(),
        end=manager.stream.close,
    )
    return service


def _control_service(manager: Manager) -> IService:
    """The API on the control socket."""
    api, end = _api(manager, caller_of), manager.stream.close
    service: IService = ControlSocket(manager.reactor, manager.config.control.socket, api, end)
    return service


def build(manager: Manager) -> OrderedService:
    """All services as one."""
    top = OrderedService()
    for name, service in services(manager):
        service.setName(name)
        service.setServiceParent(top)
    return top


def makeService(options: Options) -> IService:
    """twistd's entry."""
    from twisted.internet import reactor

    path = Path(options["config"]).absolute()
    try:
        config = load(path)
    except ConfigError as mistakes:
        print(mistakes, file=sys.stderr)
        raise SystemExit(2) from None
    for warning in filter(None, (*config.warnings, shortage(raise_file_limit(), len(config.nodes)))):
        print(f"warning: {warning}", file=sys.stderr)
    sys.excepthook = say_in_one_line(sys.excepthook)
    return build(Manager(reactor, path, config))
