# -*- test-case-name: tests.test_reactor -*-
"""
The one reactor that piman runs on: Twisted's asyncio reactor.

pysnmp 7 speaks asyncio only, and klein imports the global reactor when it is imported.  So
:mod:`piman.service` and :mod:`piman.control` call :func:`install` before they import anything else.
"""

import sys


class WrongReactor(RuntimeError):
    """Another reactor was installed before piman could install its own."""


def install() -> None:
    """
    Install the asyncio reactor; do nothing when it is installed already.

    :raises WrongReactor: when the command line forced another reactor.
    """
    from twisted.internet import asyncioreactor

    if "twisted.internet.reactor" not in sys.modules:
        asyncioreactor.install()
        return
    running = sys.modules["twisted.internet.reactor"]
    if not isinstance(running, asyncioreactor.AsyncioSelectorReactor):
        raise WrongReactor(
            f"piman needs the asyncio reactor, but {type(running).__name__} is installed: "
            "leave out --reactor, or say --reactor=asyncio"
        )
