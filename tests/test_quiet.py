"""
What Twisted says by itself of whoever starts and stops: nothing, of the manager's protocols.
"""

import pkgutil
from importlib import import_module
from typing import Any

from twisted.internet.protocol import AbstractDatagramProtocol, Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

import piman
from piman.monitor.poller import PollerSettings, web_client


def descendants(kind: type[Any]) -> set[type[Any]]:
    """Every class below a class."""
    children = set(kind.__subclasses__())
    return children.union(*map(descendants, children))


class QuietTests(SynchronousTestCase):
    """A quiet start and a quiet day."""

    def test_protocols_and_factories(self) -> None:
        """No factory and no datagram protocol of ours logs that it starts and stops."""
        for module in pkgutil.walk_packages(piman.__path__, "piman."):
            import_module(module.name)
        classes = descendants(Factory) | descendants(AbstractDatagramProtocol)
        ours = {kind for kind in classes if kind.__module__.startswith("piman.")}
        self.assertLessEqual({"HelloFactory", "DHCPProtocol", "QuietSite"}, {kind.__name__ for kind in ours})
        self.assertEqual([kind.__qualname__ for kind in ours if kind.noisy], [])

    def test_poller(self) -> None:
        """Asking a node leaves no line in the log, neither when the connection begins nor when it ends."""
        reactor = MemoryReactorClock()
        with capturedLogs() as lines:
            asked = web_client(reactor, PollerSettings()).get("http://172.30.4.13:3000/events")
            factory: Any = reactor.tcpClients[0][2]
            factory.doStart()
            factory.doStop()
        self.assertEqual([line.get("log_format") or line.get("format") for line in lines], [])
        asked.addErrback(lambda failure: None).cancel()
