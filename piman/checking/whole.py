# -*- test-case-name: tests.test_checking_whole -*-
"""
``piman check`` from end to end: read the configuration, run every check, say what was found.
"""

import os
import secrets
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from piman.boot.images import ImageLibrary
from piman.checking.boot_tree import SUBJECT as BOOT_FILES
from piman.checking.boot_tree import Tree, boards_present, files_named, judge_tree, tree_in
from piman.checking.findings import Check, Finding, exit_status, fail, findings, fine, warn
from piman.checking.images import SUBJECT as IMAGES
from piman.checking.images import judge_choices, judge_image, uses
from piman.checking.initramfs import SUBJECT as INITRAMFS
from piman.checking.initramfs import judge_initramfs
from piman.checking.machine import CLOCK, DISK, INTERFACE, folder_at, interfaces, judge_clock, judge_folders
from piman.checking.machine import judge_interface as judge_own_interface
from piman.checking.ports import SUBJECT as PORTS
from piman.checking.ports import answering, judge_ports, port_states, ports_of
from piman.checking.probe import LISTEN_SECONDS, ILink, PacketLink, ProbeUnavailable, ask
from piman.checking.report import as_json, as_text
from piman.checking.rights import SUBJECT as RIGHTS
from piman.checking.rights import judge_files, judge_rights, rights_of_this_process
from piman.checking.rivals import SUBJECT as RIVALS
from piman.checking.rivals import judge_offers, question, random_mac
from piman.checking.switches import SUBJECT as SWITCH
from piman.checking.switches import check_switch
from piman.config import Config, ConfigError, load
from piman.fleet.assignment import Choices, assigned
from piman.fleet.interfaces import IPowerSwitch, StoreFailed
from piman.fleet.state.history import statuses_in
from piman.fleet.state.store import read_image_choices
from piman.host.clock import Tracking, ask_chrony, clock_source, read_clock
from piman.host.limits import hard_file_limit
from piman.settings.tags import tag_images

EXIT_MISTAKES = 2
CONFIGURATION = "configuration"

DISK_SECONDS = 60.0
"""For a large boot tree on a slow disk."""
IMAGE_SECONDS = 900.0
"""For hashing a few large images that nobody has hashed yet."""
SWITCH_SECONDS = 30.0

LOOPBACK = "lo"

Result = TypeVar("Result")
PowerSwitches = Callable[[Config], Mapping[str, IPowerSwitch]]
"""The power switches of a configuration, by label; those that are missing are not asked."""


def no_switches(config: Config) -> Mapping[str, IPowerSwitch]:
    """None of them."""
    return {}


def in_own_thread(reactor: Any) -> Callable[[Callable[[], Any]], "Deferred[Any]"]:
    """
    Do blocking work in a thread of its own that the end of the program does not wait for.

    The reactor's pool is waited for: a dead network folder would keep ``piman check`` from ending.
    """

    def run(work: Callable[[], Any]) -> "Deferred[Any]":
        done: Deferred[Any] = Deferred()

        def thread() -> None:
            try:
                result = work()
            except BaseException:
                result = Failure()
            reactor.callFromThread(done.callback, result)

        threading.Thread(target=thread, daemon=True, name="check").start()
        return done

    return run


@attrs.frozen(kw_only=True)
class Looks:
    """
    How the checks look at the world; tests look at another.

    :ivar run: does blocking work where it blocks nobody.
    :ivar switches: the power switches of a configuration.
    :ivar open_link: the interface to ask for other DHCP servers on.
    :ivar random: so many octets that nobody can foresee.
    :ivar tracking: what chronyd says.
    """

    reactor: Any
    run: Callable[[Callable[[], Any]], "Deferred[Any]"]
    switches: PowerSwitches = no_switches
    open_link: Callable[[str], ILink] = PacketLink
    random: Callable[[int], bytes] = secrets.token_bytes
    tracking: Callable[[Any], Awaitable[Tracking | None]] = ask_chrony


class _Checks:
    """Every check, for one configuration."""

    def __init__(self, config: Config, looks: Looks, name: str) -> None:
        self._config = config
        self._looks = looks
        self._name = name

    def all(self) -> list[Check]:
        """In the order of the report."""
        power = self._looks.switches(self._config)
        return [
            Check(CONFIGURATION, self._configuration),
            Check(INTERFACE, self._interface),
            Check(PORTS, self._ports),
            Check(RIGHTS, self._rights),
            Check(RIVALS, self._rivals),
            Check(BOOT_FILES, self._boot_files, DISK_SECONDS),
            Check(INITRAMFS, self._initramfs, DISK_SECONDS),
            Check(IMAGES, self._images, IMAGE_SECONDS),
            *(
                Check(
                    f"{SWITCH} {switch.label}",
                    partial(check_switch, self._config, switch, power.get(switch.label)),
                    SWITCH_SECONDS,
                )
                for switch in self._config.switches
            ),
            Check(CLOCK, self._clock),
            Check(DISK, self._disk),
        ]

    async def _configuration(self) -> list[Finding]:
        nodes, switches = len(self._config.nodes), len(self._config.switches)
        found = fine(CONFIGURATION, f"{self._name}: no mistakes; {nodes} nodes, {switches} switches")
        return [found, *(warn(CONFIGURATION, text) for text in self._config.warnings)]

    async def _interface(self) -> list[Finding]:
        config = self._config
        return judge_own_interface(config.interface, config.server_address, config.subnet, interfaces())

    async def _ports(self) -> list[Finding]:
        def look() -> list[Finding]:
            manager = answering(self._config.control.socket) if self._config.control.enabled else ""
            return judge_ports(port_states(ports_of(self._config)), manager)

        return await self._in_thread(look)

    async def _rights(self) -> list[Finding]:
        rights = rights_of_this_process(os.path.realpath(sys.executable))
        files = judge_files(hard_file_limit(), len(self._config.nodes))
        return [*judge_rights(rights, ports_of(self._config)), files]

    async def _rivals(self) -> list[Finding]:
        if self._config.interface == LOOPBACK:
            return [fine(RIVALS, f"not looked for on {LOOPBACK}: there is nobody else")]
        asked = question(
            int.from_bytes(self._looks.random(4), "big"),
            random_mac(self._looks.random(6)),
        )
        try:
            offers = await ask(self._looks.reactor, asked, lambda: self._looks.open_link(self._config.interface))
        except ProbeUnavailable as reason:
            return [warn(RIVALS, f"not looked for: {reason}", "Run piman check as root, with the interface up.")]
        return judge_offers(
            offers, self._config.server_address, serves=self._config.dhcp.enabled, seconds=LISTEN_SECONDS
        )

    # Boot files

    async def _tree(self) -> Tree | None:
        try:
            return await self._in_thread(lambda: tree_in(self._config.boot_dir))
        except OSError:
            return None

    async def _models(self) -> list[str | None]:
        """Of the boards that were seen and are to be served."""
        statuses = await self._in_thread(lambda: statuses_in(self._config.state_dir / "history.db"))
        known = {node.mac for node in self._config.nodes}
        everybody = self._config.dhcp.unknown_hosts == "allow"
        return [status.model for status in statuses if everybody or status.mac in known]

    async def _boot_files(self) -> list[Finding]:
        tree = await self._tree()
        if tree is None:
            remedy = "Make it, and put firmware, kernel and initramfs.gz there: docs/how-to/boot-files.md."
            return [fail(BOOT_FILES, f"boot_dir {self._config.boot_dir} is no folder that can be read", remedy)]
        return judge_tree(tree, await self._models())

    async def _initramfs(self) -> list[Finding]:
        tree = await self._tree()
        if tree is None or not tree.config:
            return []  # said of the boot files
        named = [files_named(tree, board.family) for board in boards_present(await self._models(), tree)]
        paths = dict.fromkeys(files.under_prefix(name) for files in named for name in files.initramfs)
        if named and not paths:
            text = "config.txt names none: nodes boot, but cannot be installed"
            return [warn(INITRAMFS, text, "Write into config.txt: initramfs initramfs.gz followkernel")]
        return [
            await self._in_thread(partial(judge_initramfs, tree.path / path, path))
            for path in paths
            if tree.sizes.get(path, -1) > 0
        ]

    async def _images(self) -> list[Finding]:
        state = self._config.state_dir
        library = ImageLibrary(
            {name: str(path) for name, path in self._config.images.items()},
            run=self._looks.run,
            cache=state / "images.json" if state.is_dir() else None,
        )
        found, choices = await self._choices()
        nodes = assigned(self._config.nodes, tag_images(self._config.tags), choices)
        of = uses(nodes, choices)
        run = self._looks.run
        judged = [
            await judge_image(name, path, library, run, of.get(name, ""))
            for name, path in self._config.images.items()
        ]
        return [*judged, *found, *judge_choices(choices, self._config.images)]

    async def _choices(self) -> tuple[list[Finding], Choices]:
        """What was chosen by command, and whether that can be told."""
        try:
            written = await self._in_thread(lambda: read_image_choices(self._config.state_dir / "state.db"))
        except StoreFailed as reason:
            text = f"which images were chosen by command cannot be told: {reason}"
            return [warn(IMAGES, text, "Run it as the manager's user, or as root.")], {}
        return [], {choice.key: choice for choice in written}

    # The host

    async def _clock(self) -> list[Finding]:
        kernel = read_clock(self._looks.reactor.seconds())
        tracking = await self._looks.tracking(self._looks.reactor)
        source = clock_source(kernel, tracking, self._config.ntp.local_stratum)
        return [judge_clock(source, serves=self._config.ntp.enabled)]

    async def _disk(self) -> list[Finding]:
        config = self._config
        folders = dict.fromkeys(path.parent for path in config.images.values())

        def look() -> list[Finding]:
            return judge_folders(
                [
                    folder_at("state_dir", config.state_dir),
                    folder_at("log_dir", config.log_dir),
                    *(folder_at("images", folder, is_written=False) for folder in folders),
                ]
            )

        return await self._in_thread(look)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        found: Result = await self._looks.run(work)
        return found


# The one entry


def check(
    reactor: Any,
    path: Path,
    *,
    as_json_text: bool = False,
    read: Callable[[Path], Config] = load,
    switches: PowerSwitches = no_switches,
    output: TextIO | None = None,
    width: int = 80,
    looks: Looks | None = None,
) -> "Deferred[int]":
    """
    Check everything, print the report, and fire with the exit status: 0 fine or warnings only, 1 something failed,
    2 the configuration has mistakes.

    :param reactor: provides time, threads, processes and readers.
    :param read: reads ``piman.yaml``.
    :param switches: the power switches of a configuration, by what people call them.
    :param output: where the report goes; standard output unless given.
    :param width: columns of the terminal.
    """
    out = output or sys.stdout
    try:
        config = read(path)
    except ConfigError as mistakes:
        return succeed(_say_mistakes(mistakes, path, as_json_text, out))
    used = looks or Looks(reactor=reactor, run=in_own_thread(reactor), switches=switches)
    checked = findings(_Checks(config, used, path.name).all(), reactor)
    return checked.addCallback(_say, path, as_json_text, out, width)


def _say(found: Iterable[Finding], path: Path, as_json_text: bool, out: TextIO, width: int) -> int:
    listed = list(found)
    status = exit_status(listed)
    print(as_json(listed, str(path), status) if as_json_text else as_text(listed, width), file=out)
    return status


def _say_mistakes(mistakes: ConfigError, path: Path, as_json_text: bool, out: TextIO) -> int:
    """Nothing else can be checked: all checks begin with the configuration."""
    if as_json_text:
        found = [fail(CONFIGURATION, str(problem), f"Mend {path.name}.") for problem in mistakes.problems]
        print(as_json(found, str(path), EXIT_MISTAKES), file=out)
    else:
        print(mistakes, file=sys.stderr)
    return EXIT_MISTAKES
