# -*- test-case-name: tests.test_serving -*-
"""
The web site, put together: what the configuration means to its guard and its port, and what answers at which address.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from piman.config import Config
from piman.host.listening import listen
from piman.ordered import StartupError
from piman.web.access.guard import AccessSettings, Guard
from piman.web.access.hosts import HostRule
from piman.web.connections import BoundedSite
from piman.web.site import Root, SiteService, knows
from piman.web.static_files import StaticFiles, packaged

SITE_NAME = "piman"


def access_settings(config: Config) -> AccessSettings:
    """Who may ask for what, under which names."""
    web = config.web
    hosts = HostRule.of((config.server_address, web.address), web.allowed_hosts)
    return AccessSettings.of(hosts, web.users, web.tokens, always=web.login == "always")


def site_service(
    reactor: Any,
    config: Config,
    *,
    guard: Guard,
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
    root = Root(guard, {"static": StaticFiles(packaged()), **parts}, rest)
    site = BoundedSite(root, reactor=reactor, knows=knows(guard))
    return SiteService(site, _listener(reactor, config), end)


def _listener(reactor: Any, config: Config) -> Callable[[BoundedSite], IListeningPort]:
    web = config.web
    if web.endpoint:
        return lambda site: _at_once(serverFromString(reactor, web.endpoint).listen(site), web.endpoint)
    return lambda site: listen(reactor, web.port, site, str(web.address))


def _at_once(listening: "Deferred[IListeningPort]", endpoint: str) -> IListeningPort:
    """Endpoints answer later in principle; those of TCP and TLS do so at once."""
    found: list[Any] = []
    listening.addBoth(found.append)
    if not found:
        raise StartupError(f"web.endpoint: {endpoint!r} does not listen at once; use tcp: or ssl:")
    if isinstance(found[0], Failure):
        found[0].raiseException()
    port: IListeningPort = found[0]
    return port
