# -*- test-case-name: tests.test_web_access_guard -*-
"""
What each request needs, by its method and the first segment of its path.  Pure.

The table is short on purpose: what it does not name needs the most.  So a route that is added needs no entry to be
safe, and can be forgotten nowhere.
"""

import attrs

from piman.settings.people import Role

READING = frozenset({"GET", "HEAD", "OPTIONS"})
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
METHODS = READING | CHANGING


@attrs.frozen
class Need:
    """
    What a request must have.

    :ivar role: None: it is open to everybody.
    :ivar is_change: whether it must come from our own pages, or from none.
    """

    role: Role | None
    is_change: bool


_OPEN = Need(None, False)
_EXCEPTIONS = {
    ("GET", "static"): _OPEN,
    ("HEAD", "static"): _OPEN,
    ("GET", "healthz"): _OPEN,
    ("HEAD", "healthz"): _OPEN,
    ("GET", "login"): _OPEN,
    ("HEAD", "login"): _OPEN,
    ("POST", "login"): Need(None, True),
    ("POST", "logout"): Need(Role.VIEWER, True),
    # The SimpleJson data source asks by POST: it reads, and Grafana's server is no page of ours.
    ("POST", "grafana"): Need(Role.VIEWER, False),
}


def need(method: str, first: str) -> Need:
    """
    What a request needs.

    :param first: the first segment of its path.
    """
    found = _EXCEPTIONS.get((method, first))
    if found is not None:
        return found
    return Need(Role.VIEWER, False) if method in READING else Need(Role.OPERATOR, True)
