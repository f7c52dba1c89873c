# -*- test-case-name: tests.test_web_access_guard -*-
"""
Who stands at the door, as the guard found out; whoever answers a request asks here.
"""

import enum
from typing import Any

import attrs
from twisted.web.iweb import IRequest
from zope.interface import Interface, implementer

from piman.settings.people import Role
from piman.web.api import Caller


class Way(enum.Enum):
    """How it is known who somebody is."""

    NOBODY = "nobody"
    """It is not: only what is open to everybody."""
    LOCAL = "local"
    """On this machine, or through ``ssh -L``: whoever can do that needs no login."""
    SESSION = "session"
    TOKEN = "token"


class IVisitor(Interface):
    """A visitor, as a component of a request."""


@implementer(IVisitor)
@attrs.frozen(kw_only=True)
class Visitor:
    """Somebody who was let in."""

    who: str
    """The name of a user or a token; ``local``; empty: nobody."""
    source: str
    """The address of the peer."""
    way: Way
    role: Role = Role.VIEWER
    csrf_token: str = attrs.field(default="", repr=False)
    """What a request that changes something must show, unless it shows a token."""
    speaks_https: bool = False
    """Whether the browser does, be it with a proxy."""
    session: str = attrs.field(default="", repr=False)
    """The id of the session, for its end."""

    @property
    def is_operator(self) -> bool:
        """Whether it may change something."""
        return self.way is not Way.NOBODY and self.role is Role.OPERATOR


class NotGuarded(Exception):
    """A request came past the guard: our mistake."""


def visitor_of(request: IRequest) -> Visitor:
    """
    Who sent a request.

    :raises NotGuarded: when the guard has not let it in.
    """
    carrier: Any = request
    found: Visitor | None = carrier.getComponent(IVisitor)
    if found is None:
        raise NotGuarded(request.uri)
    return found


def caller_of(request: IRequest) -> Caller:
    """Who sent a request, as events name it."""
    visitor = visitor_of(request)
    return Caller(visitor.who, visitor.source)
