# -*- test-case-name: tests.test_control -*-
"""
The operator's hand: ``twistd piman-ctl WORD ...``, and the console script ``piman`` with the same words.

Standard output carries the answer, standard error the rest.  Exit status: 0 all done, 1 something failed,
2 usage or configuration, 130 interrupted.
"""

from piman.reactor import install

install()

import sys
from pathlib import Path
from typing import Any, NoReturn, cast

from twisted.application.service import IService
from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorCore
from twisted.python import usage
from twisted.python.failure import Failure

from piman.config import Config, ConfigError, load
from piman.simulator.pi import MODELS
from piman.simulator.rack import RackOptions, simulate

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("a number from 1 on is expected")
    return number


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise ValueError("a share from 0 to below 1 is expected, like 0.02 for 2 %")
    return share


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError("a number above 0 is expected")
    return number


MOST_PIS = 10_000
"""What piman is made for."""


def _check_directory(path: Path) -> None:
    """A rack writes a piman.yaml and a hosts.csv of its own: never over somebody's."""
    try:
        if path.exists() and any(path.iterdir()):
            raise usage.UsageError(f"--directory: {path} is not empty; name a new or empty folder")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise usage.UsageError(f"--directory: {path} cannot be used: {reason.strerror}") from reason


class SimulateOptions(usage.Options):
    """``piman-ctl simulate``: a virtual rack with a manager of its own."""

    synopsis = "[options]"
    longdesc = (
        "Starts a manager and a rack of virtual Raspberry Pis on 127.77.0.0/16, without root and without hardware, "
        "and shows every node on its way from dark to up.  Example: piman simulate --pis 40 --loss 0.02"
    )
    optParameters = [
        ["pis", "n", 8, "How many virtual Pis", _whole_number],
        ["models", "m", ",".join(MODELS), "Which boards, in turn"],
        ["loss", None, 0.0, "Share of datagrams lost, each way", _share],
        ["duplicate", None, 0.0, "Share of datagrams that arrive twice", _share],
        ["reorder", None, 0.0, "Share of datagrams that overtake their successor", _share],
        ["speed", None, 10.0, "Waits that nobody on the wire can see pass this many times faster", _positive],
        ["seed", None, 1, "The same seed makes the same faults", int],
        ["timeout", "t", 600.0, "Give up after this many seconds", _positive],
        ["directory", "d", None, "Keep the rack's files here (default: a temporary folder)"],
    ]
    optFlags = [
        ["plain", None, "Plain lines instead of a live table"],
        ["kill-manager", None, "Kill the manager half-way with SIGKILL, start it again and compare"],
    ]

    def postOptions(self) -> None:
        """Check what no single parameter can check."""
        self["models"] = tuple(name.strip() for name in self["models"].split(","))
        for name in self["models"]:
            if name not in MODELS:
                raise usage.UsageError(f"--models: {name!r} is no board that can be simulated; use {', '.join(MODELS)}")
        if self["pis"] > MOST_PIS:
            raise usage.UsageError(f"--pis: {self['pis']} do not fit into the rack's subnet; at most {MOST_PIS}")
        if self["directory"] is not None:
            _check_directory(Path(self["directory"]))


class CheckOptions(usage.Options):
    """``piman-ctl check``: are the files right?"""

    synopsis = "[options]"
    optParameters = [["config", "c", "piman.yaml", "The configuration file"]]


class Options(usage.Options):
    """The words of piman-ctl."""

    synopsis = "WORD [options]"
    subCommands = [
        ["simulate", None, SimulateOptions, "A virtual rack with a manager of its own"],
        ["check", None, CheckOptions, "Read the configuration and say what is wrong with it"],
    ]

    def parseOptions(self, options: "list[str] | None" = None) -> None:
        """Parse; a mistake is said on standard error and costs exit status 2 (twistd would print help, and 1)."""
        try:
            super().parseOptions(options)
        except usage.UsageError as mistake:
            _fail(f"{mistake} (see --help)")

    def postOptions(self) -> None:
        """Keep out of the way of a manager that runs in the same folder."""
        if self.parent is not None:
            self.parent["pidfile"] = ""
        if self.subCommand is None:
            raise usage.UsageError(f"a word is missing: {', '.join(_COMMANDS)}")


def _fail(text: str) -> NoReturn:
    print(f"piman: {text}", file=sys.stderr)
    sys.exit(EXIT_USAGE)


def _simulate(reactor: IReactorCore, options: SimulateOptions) -> "Deferred[int]":
    return simulate(
        reactor,
        RackOptions(
            count=options["pis"],
            models=options["models"],
            loss=options["loss"],
            duplicate=options["duplicate"],
            reorder=options["reorder"],
            speed=options["speed"],
            seed=options["seed"],
            timeout_seconds=options["timeout"],
            directory=Path(options["directory"]) if options["directory"] else None,
            plain=bool(options["plain"]) or not sys.stdout.isatty(),
            kill_manager=bool(options["kill-manager"]),
        ),
    )


def _missing_files(config: Config) -> list[str]:
    """What a node will miss when it boots."""
    found = []
    if not config.boot_dir.is_dir():
        found.append(f"boot_dir: there is no folder {config.boot_dir}; put firmware, kernel and initramfs.gz there")
    for name, path in config.images.items():
        if not path.is_file():
            found.append(f"images.{name}: there is no file {path}; no node can be installed with it")
    if not Path("/sys/class/net", config.interface).exists():
        found.append(f"interface: this machine has no {config.interface} (see: ip link)")
    return found


def _check(reactor: IReactorCore, options: CheckOptions) -> "Deferred[int]":
    try:
        config = load(Path(options["config"]))
    except ConfigError as mistakes:
        print(mistakes, file=sys.stderr)
        return succeed(EXIT_USAGE)
    for warning in (*config.warnings, *_missing_files(config)):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{options['config']}: no mistakes; {len(config.nodes)} nodes, {len(config.switches)} switches")
    return succeed(EXIT_DONE)


_COMMANDS = {"simulate": _simulate, "check": _check}


def main(reactor: IReactorCore, options: Options) -> "Deferred[None]":
    """Run the chosen word; its exit status becomes ours.  Ctrl-C ends the word and waits until it has tidied up."""
    command: Any = _COMMANDS[cast(str, options.subCommand)]
    done: Deferred[int] = command(reactor, options.subOptions)
    over: Deferred[None] = Deferred()

    def interrupt() -> "Deferred[None] | None":
        if over.called:
            return None
        print("piman: interrupted", file=sys.stderr)
        done.cancel()
        return over

    def finish(outcome: int | Failure) -> None:
        over.callback(None)
        if isinstance(outcome, Failure):
            outcome.trap(CancelledError)
            raise SystemExit(EXIT_INTERRUPTED)
        if outcome:
            raise SystemExit(outcome)

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    return done.addBoth(finish)


def makeService(options: Options) -> IService:
    """twistd's entry: runs the word to its end and exits, never daemonizes."""
    task.react(main, (options,))
    raise AssertionError("react() exits")


def console() -> None:
    """The console script: ``piman server ...`` is ``twistd -n piman ...``, the rest are piman-ctl's words."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["server"]:
        from twisted.scripts.twistd import run

        sys.argv = ["twistd", "-n", "piman", *arguments[1:]]
        run()
        return
    options = Options()
    options.parseOptions(arguments)
    task.react(main, (options,))
