# -*- test-case-name: tests.test_ctl_options -*-
"""
What the words that speak with a manager have in common on the command line.

Options may stand anywhere among the names: ``reinstall rack-a 2 --image lab`` is what people write.
"""

import getopt
from pathlib import Path
from typing import Any, ClassVar

from twisted.python import usage

from piman.config import Config, ConfigError
from piman.ctl.client import ManagerClient
from piman.power import load
from piman.words import Words, expecting

ONE_LINE_OF_FORM = (
    "NODES: names, addresses or MACs (pi2), or a switch and its ports (rack-a 2 3 4, 172.30.4.254 2-4), or all."
)


class BadConfiguration(Exception):
    """``piman.yaml`` has mistakes; the text is all of them."""


def _count(text: str) -> int:
    if not text.isdigit() or int(text) > 10**9:
        raise ValueError
    return int(text)


def _seconds(text: str) -> float:
    found = float(text)
    if not 0 < found < float("inf"):
        raise ValueError
    return found


def count(name: str, default: int, text: str) -> list[Any]:
    """A row of optParameters with a whole number from 0 on."""
    return [name, None, default, text, expecting(f"--{name}", "a whole number from 0 on, like 4", _count)]


def seconds(name: str, text: str) -> list[Any]:
    """A row of optParameters with a duration; unset: None."""
    return [name, None, None, text, expecting(f"--{name}", "seconds above 0, like 300", _seconds)]


class AnyOrder(usage.Options):
    """Options may follow names."""

    def parseOptions(self, options: "list[str] | None" = None) -> None:
        """
        Parse.

        :raises UsageError: for a mistake.
        """
        super().parseOptions(self._options_first(list(options or [])))

    def _options_first(self, options: list[str]) -> list[str]:
        try:
            found, names = getopt.gnu_getopt(options, self.shortOpt, self.longOpt)
        except getopt.error as mistake:
            raise usage.UsageError(str(mistake)) from mistake
        first = [word for name, value in found for word in ((name, value) if self._takes_value(name) else (name,))]
        return [*first, "--", *names]

    def _takes_value(self, name: str) -> bool:
        return f"{name[2:]}=" in self.longOpt if name[1] == "-" else f"{name[1]}:" in self.shortOpt


class Asking(Words, AnyOrder):
    """Options of a word that asks a manager."""

    optParameters: ClassVar = [
        ["config", "c", "piman.yaml", "The configuration file, which says where the manager's socket is"],
        ["socket", "s", None, "The manager's socket itself; piman.yaml is not read then"],
    ]
    optFlags: ClassVar = [["json", None, "JSON for programs"]]

    def configuration(self) -> Config:
        """
        The configuration.

        :raises BadConfiguration: when it has mistakes.
        """
        try:
            return load(Path(self["config"]).absolute())
        except ConfigError as mistakes:
            raise BadConfiguration(str(mistakes)) from mistakes

    def client(self, reactor: Any) -> ManagerClient:
        """
        The manager.

        :raises BadConfiguration: as :meth:`socket_path`.
        :raises NoManager: when the folder of its socket is not there.
        """
        return ManagerClient(reactor, self.socket_path())

    def socket_path(self) -> Path:
        """
        Where the manager answers.

        :raises BadConfiguration: when piman.yaml, which says so, has mistakes.
        """
        if self["socket"]:
            return Path(self["socket"]).absolute()
        return self.configuration().control.socket


class Ordering(Asking):
    """Options of a word that orders something of nodes."""

    synopsis = "[options] NODES"
    optFlags: ClassVar = [
        ["dry-run", None, "Only print the plan"],
        ["wait", None, "Follow the nodes until all is done (the default)"],
        ["no-wait", None, "Do not follow the nodes: the manager goes on with it"],
        ["yes", "y", "Yes, also more nodes than max_blast"],
    ]
    optParameters: ClassVar = [
        seconds("timeout", "Follow for so many seconds at most; the manager goes on with it"),
        count("at-most", 0, "So many nodes at a time (0: as many as is good)"),
        count("stop-after", 0, "Begin with no more nodes after so many failures (0: go on)"),
    ]

    def parseArgs(self, *names: str) -> None:
        """Take the names of nodes."""
        if not names:
            raise usage.UsageError(f"no nodes are named; {ONE_LINE_OF_FORM}")
        self["nodes"] = names

    def postOptions(self) -> None:
        """Both cannot be."""
        if self["wait"] and self["no-wait"]:
            raise usage.UsageError("--wait and --no-wait: found both, expected one of them")
