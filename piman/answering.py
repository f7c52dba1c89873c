# -*- test-case-name: tests.system.test_site -*-
"""
What answers people and programs: the site, Grafana's own port, the control socket, put together for a manager.
"""

from collections.abc import Callable, Iterator

from twisted.application.service import IService
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from piman.manager import Manager
from piman.measuring import grafana_resource, measured_parts
from piman.serving import SITE_NAME, grafana_service, site_service
from piman.web.access import visitors
from piman.web.access.login import Login
from piman.web.access.passwords import Checker
from piman.web.api import API, Caller
from piman.web.control_socket import ControlSocket, caller_of
from piman.web.editing.pages import EditingPages
from piman.web.editing.routes import DocumentRoutes, WithDocuments
from piman.web.metrics import sources
from piman.web.openapi import document
from piman.web.pages.resource import Pages
from piman.web.reference import Reference
from piman.web.site import context_for
from piman.words import own_version


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


def web_services(manager: Manager) -> Iterator[tuple[str, IService]]:
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
        gap_seconds=manager.gap_seconds,
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


def control_service(manager: Manager) -> IService:
    """The API on the control socket."""
    api, end = _api(manager, caller_of), manager.stream.close
    service: IService = ControlSocket(manager.reactor, manager.config.control.socket, api, end)
    return service
