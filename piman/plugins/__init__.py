"""
Drop-ins of others: power switches, alert channels.  What lies in a ``piman/plugins`` folder on the path is found.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
