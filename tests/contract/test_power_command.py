"""
Power by programs keeps the contract of every power switch.
"""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from piman.plugins.command import CommandKind
from piman.testing.power_contract import PowerSwitchMixin
from tests.power_support import SCRIPT, context


class CommandPowerSwitchTests(PowerSwitchMixin, TestCase):
    """A real program that switches files."""

    timeout = 60

    def make(self) -> Any:
        """Eight relays, all on."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        return self.of(f"{SCRIPT} {folder}")

    def of(self, program: str, **settings: Any) -> Any:
        """A switch of this program."""
        kind = CommandKind()
        words = {word: f"{program} {word} {{port}}" for word in ("on", "off", "status")}
        return kind.make(kind.parse({"ports": 8, **words, **settings}), context(reactor))

    def unreachable(self) -> Any:
        """A program that does not end."""
        return self.of("sh -c 'sleep 60'", timeout_seconds=0.2)
