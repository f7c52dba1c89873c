# -*- test-case-name: tests.test_serving -*-
"""
The web site, put together: what the configuration means to its guard and its port, and what answers at which address.
"""

from collections.abc import Callable, Mapping
from typing import Any

from OpenSSL.SSL import Error
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from piman.config import Config
from piman.host.listening import listen
from piman.ordered import StartupError
from piman.web.access.guard import AccessSettings, Guard
from piman.web.access.hosts import HostRule
from piman.web.connections import BoundedSite
from piman.web.grafana.any_page import AnyPage
from piman.web.site import Root, SiteService, knows
from piman.web.static_files import StaticFiles, packaged
from piman.web.tls import BadCertificate, Certified

SITE_NAME = "piman"


def access_settings(config: Config) -> AccessSettings:
    """Who may ask for what, under which names."""
    web = config.web
    hosts = HostRule.of((config.server_address, web.address), web.allowed_hosts)
    return AccessSettings.of(hosts, web.users, web.tokens, always=web.login == "always")


class SecureDoor:
    """The certificate of the site, where ``web.certificate`` names one."""

    _log = Logger()

    def __init__(self) -> None:
        self._certified: Certified | None = None

    def wrapped(self, reactor: Any, config: Config, site: BoundedSite) -> IProtocolFactory:
        """
        The site behind TLS, or as it is.

        :raises StartupError: when the files cannot be used.
        """
        web = config.web
        if web.certificate is None or web.private_key is None:
            return site
        try:
            self._certified = Certified(web.certificate, web.private_key)
        except BadCertificate as reason:
            raise StartupError(f"web.certificate: {reason}") from reason
        wrapped: IProtocolFactory = TLSMemoryBIOFactory(self._certified, False, site, reactor)
        return wrapped

    def read_again(self) -> None:
        """The files may be new ones; those that cannot be used change nothing."""
        if self._certified is None:
            return
        try:
            self._certified.read_again()
        except BadCertificate as reason:
            self._log.warn("the site goes on with the certificate that it has: {reason}", reason=reason)


def site_service(
    reactor: Any,
    config: Config,
    *,
    guard: Guard,
    door: SecureDoor,
    parts: Mapping[str, IResource],
    rest: IResource,
    end: Callable[[], object],
) -> SiteService:
    """
    The service.

    :param parts: what answers, by the first segment of the path.
    :param rest: what answers everywhere else: the pages.
    :param end: ends the streams.
    """
    web = config.web
    root = Root(guard, {"static": StaticFiles(packaged()), **parts}, rest)
    site = BoundedSite(root, reactor=reactor, knows=knows(guard))

    def bind() -> IListeningPort:
        if web.endpoint:
            return _bind_endpoint(reactor, web.endpoint, site)
        return listen(reactor, web.port, door.wrapped(reactor, config, site), str(web.address))

    return SiteService(site, bind, end)


def grafana_service(reactor: Any, config: Config, resource: IResource) -> SiteService:
    """
    Grafana's data sources at the root of a port of their own, which anybody may ask and any page may read, and nobody
    can change anything by.

    :param config: with a ``grafana.port``.
    """
    site = BoundedSite(AnyPage(resource), reactor=reactor, knows=lambda request: True)
    address, port = str(config.web.address), config.grafana.port or 0
    return SiteService(site, lambda: listen(reactor, port, site, address), lambda: None)


def _bind_endpoint(reactor: Any, endpoint: str, site: BoundedSite) -> IListeningPort:
    """
    Endpoints answer later in principle; those of TCP and TLS do so at once.

    :raises StartupError: when the text means nothing, or its files cannot be used.
    """
    found: list[Any] = []
    try:
        serverFromString(reactor, endpoint).listen(site).addBoth(found.append)
    except (ValueError, TypeError, OSError, Error) as reason:
        raise StartupError(f"web.endpoint: {endpoint!r} cannot be used: {reason}") from reason
    if not found:
        raise StartupError(f"web.endpoint: {endpoint!r} does not listen at once; use tcp: or ssl:")
    if isinstance(found[0], Failure):
        found[0].raiseException()
    port: IListeningPort = found[0]
    return port
