"""
Drop-ins of others: power switches, alert channels.  What lies in a ``piman/plugins`` folder on the path is found.
"""

import sys

from twisted.logger import Logger
from twisted.plugin import getPlugins, pluginPackagePaths

from piman.fleet.interfaces import IPowerSwitchKind

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []

_log = Logger()


def power_kinds() -> dict[str, IPowerSwitchKind]:
    """The kinds of power switches there are, by name; of two with one name the first found counts."""
    found: dict[str, IPowerSwitchKind] = {}
    for kind in getPlugins(IPowerSwitchKind, sys.modules[__name__]):
        if found.setdefault(kind.name, kind) is not kind:
            _log.warn("two kinds of power switches are named {name}; {kind} is not used", name=kind.name, kind=kind)
    return found
