# -*- test-case-name: tests.test_control -*-
"""
The operator's hand: ``twistd piman-ctl WORD ...``, and the console scripts ``piman`` and ``piman-ctl`` with
the same words.

Standard output carries the answer, standard error the rest.  Exit status: 0 all done, 1 something failed, 2 usage,
configuration, or an order that was refused, 3 no manager, 130 interrupted.  The words that speak with a manager are in
:mod:`piman.ctl`.
"""

from piman.reactor import WrongReactor, install

try:
    install()
except WrongReactor as reason:
    raise SystemExit(f"piman: {reason}") from None

import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, ClassVar, TextIO, cast

from rich.console import Console
from twisted.application.service import IService
from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorCore
from twisted.python import usage
from twisted.python.failure import Failure

from piman.checking.report import UNBROKEN
from piman.checking.whole import check
from piman.config import Config
from piman.ctl import completion, configuring, images, imports, orders, passwords, questions
from piman.ctl.client import NoManager, NotAllowed, Refused, WentAway
from piman.ctl.options import BadConfiguration
from piman.fleet.interfaces import IPowerSwitch
from piman.power import load, power_switches
from piman.simulator.pi import MODELS
from piman.simulator.rack import RackOptions, simulate
from piman.simulator.running.plan import MOST_SWITCHES
from piman.simulator.switch import PORTS
from piman.words import EXIT_UNREAD, EXIT_USAGE, Answer, Words, expecting

EXIT_DONE, EXIT_FAILED, EXIT_NO_MANAGER, EXIT_INTERRUPTED = 0, 1, 3, 130


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("below 1")
    return number


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise ValueError("no share")
    return share


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError("not above 0")
    return number


WHOLE_NUMBER = "a whole number from 1 on, like 40", _whole_number
SHARE = "a share from 0 to below 1, like 0.02 for 2 %", _share
POSITIVE = "a number above 0, like 2.5", _positive
ANY_NUMBER = "a whole number, like 7", int


def _parameter(name: str, short: str | None, default: object, text: str, kind: tuple[str, Any]) -> list[object]:
    """A row of optParameters."""
    return [name, short, default, text, expecting(f"--{name}", *kind)]


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


class SimulateOptions(Words):
    """``piman simulate``: a virtual rack with a manager of its own."""

    command = "piman simulate"
    longdesc = (
        "Starts a manager and a rack of virtual Raspberry Pis on 127.77.0.0/16, without root and without hardware, "
        "and shows every node on its way from dark to up."
    )
    examples = (
        "  piman simulate                            eight boards, a live table\n"
        "  piman simulate --pis 200 --loss 0.02      more of them, on bad lines\n"
        "  piman simulate --pis 40 --kill-manager    the manager dies half-way and comes back\n"
        "  piman simulate --pis 40 --switches 2 --stay --directory rack\n"
        "                                            a rack to operate: piman restart --config rack/piman.yaml pi7\n"
        "  piman simulate --plain > rack.txt         a line for each step\n"
    )
    optParameters: ClassVar = [
        _parameter("pis", "n", 8, "How many virtual Pis", WHOLE_NUMBER),
        _parameter("switches", None, 0, f"Hang them on so many virtual PoE switches of {PORTS} ports", WHOLE_NUMBER),
        ["models", "m", ",".join(MODELS), "Which boards, in turn"],
        _parameter("loss", None, 0.0, "Share of datagrams lost, each way", SHARE),
        _parameter("duplicate", None, 0.0, "Share of datagrams that arrive twice", SHARE),
        _parameter("reorder", None, 0.0, "Share of datagrams that overtake their successor", SHARE),
        _parameter("speed", None, 10.0, "Waits that nobody on the wire can see pass so many times faster", POSITIVE),
        _parameter("seed", None, 1, "The same seed makes the same faults", ANY_NUMBER),
        _parameter("timeout", "t", 600.0, "Give up after this many seconds", POSITIVE),
        ["directory", "d", None, "Keep the rack's files here (default: a temporary folder)"],
    ]
    optFlags: ClassVar = [
        ["plain", None, "Plain lines instead of a live table"],
        ["stay", None, "Go on when all boards are up, until Ctrl-C: a rack to operate"],
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
        self._check_switches()
        if self["directory"] is not None:
            _check_directory(Path(self["directory"]))


    def _check_switches(self) -> None:
        """Enough ports, and not more switches than addresses."""
        wanted = -(-self["pis"] // PORTS)
        if self["switches"] > MOST_SWITCHES:
            raise usage.UsageError(f"--switches: {self['switches']} have no addresses; at most {MOST_SWITCHES}")
        if 0 < self["switches"] < wanted:
            raise usage.UsageError(
                f"--switches: {self['switches']} have {self['switches'] * PORTS} ports for {self['pis']} boards; "
                f"use {wanted} or more"
            )


class CheckOptions(Words):
    """``piman check``: is everything ready for the boards?"""

    command = "piman check"
    longdesc = (
        "Looks at the configuration, ports, rights, boot files, images, switches, clock and disks, and for other DHCP "
        "servers, and says what to do about what it finds.  Changes nothing.  As root it sees more."
    )
    examples = (
        "  piman check\n"
        "  piman check --config /etc/piman/piman.yaml\n"
        "  piman check --json | jq '.findings[] | select(.level == \"fail\")'\n"
    )
    optParameters: ClassVar = [["config", "c", "piman.yaml", "The configuration file"]]
    optFlags: ClassVar = [["json", None, "JSON instead of lines"]]


class ServerOptions(Words):
    """``piman server`` where it cannot be had: it takes the process over, so twistd itself must begin with it."""

    command = "piman server"

    def parseOptions(self, options: "list[str] | None" = None) -> None:
        """Refuse, with the remedy."""
        raise usage.UsageError("piman-ctl does not run the manager; say: twistd -n --pidfile= piman")


class Options(Words):
    """The words of ``piman``, and of ``twistd piman-ctl``."""

    synopsis = "WORD [options]"
    longdesc = "Network boot and management for a fleet of Raspberry Pis.  piman WORD --help tells a word's options."
    examples = (
        "  piman simulate --pis 40                       a manager and 40 boards that are not there: try it\n"
        "  piman check                                   is everything ready for the boards?\n"
        "  piman config Dubai piman.yaml hosts.csv       fill in the two files in a browser\n"
        "  piman server                                  run the manager (as root)\n"
        "  piman status                                  where is every node?\n"
        "  piman restart rack-a 2 3 4                    ports of a switch, followed until their nodes are up\n"
        "  piman why pi2                                 what is wrong with it, and what to do\n"
        "  twistd piman-ctl restart 172.30.4.254 2 3 4   the same words, from twistd\n"
    )
    subCommands: ClassVar[list[list[Any]]] = [
        ["status", None, questions.StatusOptions, "Where nodes are on their way from dark to up"],
        ["why", None, questions.WhyOptions, "Why a node is where it is, and what to do"],
        ["restart", None, orders.RestartOptions, "Power-cycle nodes and follow them until they are up"],
        ["reinstall", None, orders.ReinstallOptions, "Have nodes install their system anew"],
        ["power", None, orders.PowerOptions, "Give power to nodes, or take it away"],
        ["operations", None, orders.OperationsOptions, "What was ordered, and what became of it"],
        ["cancel", None, orders.CancelOptions, "Begin with nothing more of an operation"],
        ["events", None, questions.EventsOptions, "What happened, and what happens"],
        ["find-port", None, questions.FindPortOptions, "On which port a board hangs"],
        ["map", None, questions.MapOptions, "Which board hangs on which port; lines for hosts.csv"],
        ["images", None, images.ImagesOptions, "Images, the nodes that have each, and those that get it"],
        ["image", None, images.ImageOptions, "Say which image nodes get: set-default, assign, unassign"],
        ["config", None, configuring.ConfigOptions, "Pages for piman.yaml and hosts.csv alone, without a manager"],
        ["import-image", None, imports.ImportImageOptions, "Make a downloaded image one that nodes can be given"],
        ["passwd", None, passwords.PasswdOptions, "Lines for piman.yaml: a user, or a token, of the web site"],
        ["simulate", None, SimulateOptions, "A virtual rack with a manager of its own"],
        ["check", None, CheckOptions, "Is everything ready for the boards?  What is not, and what to do"],
        ["server", None, ServerOptions, "Run the manager in the foreground, as twistd -n --pidfile= piman does"],
        ["completion", None, completion.CompletionOptions, "A script for Tab in bash or zsh"],
    ]

    def parseArgs(self, *extra: str) -> None:
        """Without a word there is nothing to do."""
        raise usage.UsageError(f"a word is missing: {_words()}")

    def postOptions(self) -> None:
        """Keep out of the way of a manager that runs in the same folder."""
        if self.parent is not None:
            self.parent["pidfile"] = ""

    def explain(self, mistake: str) -> str:
        """Which words there are."""
        head, _, word = mistake.partition("Unknown command: ")
        return mistake if head or not word else f"there is no word {word!r}; use {_words()}"


def _words() -> str:
    *others, last = (row[0] for row in Options.subCommands)
    return f"{', '.join(others)} or {last}"


def _simulate(reactor: IReactorCore, options: SimulateOptions, answer: Answer) -> "Deferred[int]":
    return simulate(
        reactor,
        RackOptions(
            count=options["pis"],
            switches=options["switches"],
            stay=bool(options["stay"]),
            models=options["models"],
            loss=options["loss"],
            duplicate=options["duplicate"],
            reorder=options["reorder"],
            speed=options["speed"],
            seed=options["seed"],
            timeout_seconds=options["timeout"],
            directory=Path(options["directory"]) if options["directory"] else None,
            plain=bool(options["plain"]) or not answer.isatty(),
            kill_manager=bool(options["kill-manager"]),
        ),
        Console(file=cast(TextIO, answer)),
    )


def _check(reactor: IReactorCore, options: CheckOptions, answer: Answer) -> "Deferred[int]":
    closers: list[Callable[[], None]] = []

    def switches(config: Config) -> Mapping[str, IPowerSwitch]:
        made = power_switches(reactor, config)
        closers.append(made.close)
        return {switch.label: made.by_address[switch.address] for switch in config.switches}

    def close(status: Any) -> Any:
        for each in closers:
            each()
        return status

    checked = check(
        reactor,
        Path(options["config"]),
        as_json_text=bool(options["json"]),
        read=load,
        switches=switches,
        output=cast(TextIO, answer),
        width=get_terminal_size().columns if answer.isatty() else UNBROKEN,
    )
    return checked.addBoth(close)


def _complete(reactor: IReactorCore, options: completion.CompletionOptions, answer: Answer) -> "Deferred[int]":
    answer.write(completion.script(options["shell"], Options.subCommands))
    return succeed(EXIT_DONE)


_COMMANDS: Mapping[str, Any] = {
    "status": questions.status,
    "why": questions.why,
    "restart": orders.restart,
    "reinstall": orders.reinstall,
    "power": orders.power,
    "operations": orders.operations,
    "cancel": orders.cancel,
    "events": questions.events,
    "find-port": questions.find_port,
    "map": questions.map_ports,
    "images": images.images,
    "image": images.image,
    "config": configuring.configure,
    "import-image": imports.import_word,
    "passwd": passwords.passwd,
    "simulate": _simulate,
    "check": _check,
    "completion": _complete,
}


def main(reactor: Any, options: Options) -> "Deferred[None]":
    """
    Run the chosen word; its exit status becomes ours.

    Ctrl-C, a terminal that is closed, and a reader who has gone end the word and wait until it has tidied up.
    """

    def hung_up() -> None:
        reactor.callLater(0, lambda: done.cancel())  # noqa: PLW0108  (it may be called before there is a "done")

    answer = Answer(sys.stdout, hung_up)
    word = cast(str, options.subCommand)
    done: Deferred[int] = maybeDeferred(_COMMANDS[word], reactor, options.subOptions, answer)
    done.addErrback(_excuse, word)
    over: Deferred[None] = Deferred()

    def interrupt() -> "Deferred[None] | None":
        if over.called:
            return None
        done.cancel()
        with suppress(OSError):  # nobody may listen any more
            print("piman: interrupted", file=sys.stderr)
        return over

    def finish(outcome: int | Failure) -> None:
        over.callback(None)
        answer.flush()
        raise SystemExit(_status(outcome, answer))

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reactor.stop))
    return done.addBoth(finish)


def _excuse(failure: Failure, word: str) -> int:
    """What keeps a word from being done, as one line and an exit status; what is our own mistake passes."""
    reason = failure.value
    match reason:
        case BadConfiguration():
            print(reason, file=sys.stderr)
            return EXIT_USAGE
        case NoManager():
            print(f"piman {word}: {reason}; start it with: twistd -n piman", file=sys.stderr)
            return EXIT_NO_MANAGER
        case NotAllowed():
            print(f"piman {word}: {reason}", file=sys.stderr)
            return EXIT_NO_MANAGER
        case WentAway():
            print(f"piman {word}: {reason}; piman operations shows what was ordered", file=sys.stderr)
            return EXIT_NO_MANAGER
        case Refused():
            print(f"piman {word}: {reason}", file=sys.stderr)
            return EXIT_USAGE if reason.status < 500 else EXIT_FAILED
        case _:
            failure.raiseException()
            raise AssertionError("it raises")


def _status(outcome: int | Failure, answer: Answer) -> int:
    """The exit status, unless the word has failed in a way that is our mistake."""
    if isinstance(outcome, int):
        return outcome if answer.has_reader else EXIT_UNREAD
    if outcome.check(BrokenPipeError) is not None:  # standard error had the same reader
        return EXIT_UNREAD
    outcome.trap(CancelledError, ConnectingCancelledError)
    return EXIT_INTERRUPTED if answer.has_reader else EXIT_UNREAD


def makeService(options: Options) -> IService:
    """twistd's entry: runs the word to its end and exits, never daemonizes."""
    task.react(main, (options,))
    raise AssertionError("react() exits")


def console() -> None:
    """Console script: ``piman server ...`` is ``twistd -n --pidfile= piman ...``, the rest are piman-ctl's words."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["server"]:
        from twisted.scripts.twistd import run

        sys.argv = ["twistd", "-n", "--pidfile=", "piman", *arguments[1:]]
        run()
        return
    options = Options()
    options.parseOptions(arguments)
    task.react(main, (options,))
