# -*- test-case-name: tests.system.test_manager -*-
"""
The map: every service of the manager, in order.

:func:`makeService` reads the configuration, :class:`piman.manager.Manager` builds the parts that all services share,
and :func:`services` lists them.  What the configuration means to each part is said in :mod:`piman.unpacking`.
"""

from piman.reactor import WrongReactor, install

try:
    install()
except WrongReactor as reason:
    raise SystemExit(f"piman: {reason}") from None

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred

from piman.answering import control_service, web_services
from piman.boot.image_http import ImageHTTPSettings, image_http_service
from piman.boot.image_tcp import ImageSettings, image_service
from piman.config import ConfigError
from piman.fleet.interfaces import StoreFailed
from piman.hello import HelloSettings, hello_service
from piman.host.limits import raise_file_limit, shortage
from piman.manager import Manager
from piman.ntp import NTPSettings, ntp_service
from piman.ordered import OrderedService, StartupError, say_in_one_line
from piman.power import load
from piman.tftp import tftp_service
from piman.unpacking import tftp_settings
from piman.web.metrics import sources
from piman.words import Words


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
            settings=tftp_settings(config),
            files=manager.files,
            addresses=manager.leases,
            events=manager.events,
            answers=manager.answer_times,
            interface=config.interface,
        )
        measuring.add(sources.of_tftp(tftp.server))
        measuring.add_transports("tftp", tftp.transports)
        manager.events.add_observer(tftp)
        yield "tftp", tftp
    if config.hello.enabled:
        yield from _install_services(manager)
    if config.monitor.enabled:
        measuring.add(sources.of_poller(manager.monitor.poller))
        yield "monitor", manager.monitor
    yield "operations", Held(manager.begin_operations, manager.end_operations)
    yield from web_services(manager)
    if config.control.enabled:
        yield "control", control_service(manager)
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
