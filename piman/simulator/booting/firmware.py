# -*- test-case-name: tests.test_simulator_booting_firmware -*-
"""
The boot loaders: from the first DISCOVER to a kernel in memory.

The order of files follows server logs of real boards; most requests are probes that end early, or names that are
normally missing.  A board that lacks something it must have hangs (boot ROM family) or begins anew (EEPROM family).
"""

from collections.abc import Iterable

import attrs

from piman.simulator.booting.boards import Family
from piman.simulator.booting.bootconfig import BootConfig, CommandLine, boot_config
from piman.simulator.booting.dhcp_client import Lease, eeprom_lease, rom_lease
from piman.simulator.booting.journal import Step
from piman.simulator.booting.machine import Machine, Program
from piman.simulator.booting.tftp_client import EEPROM, ROM, START_ELF, Fetched, Habits, Outcome, fetch

BOOTCODE_ROUNDS = 2
"""How often bootcode.bin makes its five tries: packets were seen for about a minute."""
BOOTCODE_PAUSE_SECONDS = 5.0
RETRY_PAUSE_SECONDS = 5.0
"""Between two tries of an EEPROM's NETWORK mode."""
OTHER_MODES_SECONDS = 2.0
"""What an EEPROM spends on its other boot modes, with nothing there."""


class Hung(Exception):
    """Nothing but a power cycle helps; the text says what went wrong."""


class _Failed(Exception):
    """This try of the boot mode is over."""


@attrs.frozen(kw_only=True)
class Loaded:
    """What the boot loader hands to the kernel."""

    lease: Lease
    command_line: CommandLine
    has_initramfs: bool


class Loader:
    """Asks for files in the name of one stage; knows the prefix."""

    def __init__(self, machine: Machine, lease: Lease, habits: Habits, prefix: str = "") -> None:
        self.machine = machine
        self.lease = lease
        self.prefix = prefix
        self._habits = habits

    def _fetch(self, name: str, *, only_size: bool) -> Program[Fetched]:
        full = name.lstrip("/") if name.startswith("/") else self.prefix + name
        fetched = yield from fetch(
            self.machine, self.lease.address, self.lease.boot_server, full, self._habits, only_size=only_size
        )
        if fetched.outcome is Outcome.READ:
            self.machine.journal.loaded(name, fetched.content)
        elif fetched.outcome is Outcome.MISSING:
            self.machine.journal.missing.append(full)
        elif not fetched.is_there:
            self.machine.journal.trouble = f"{full}: {fetched.outcome.value}"
        return fetched

    def _counts(self, fetched: Fetched) -> bool:
        """Without an OACK, start.elf takes every file for missing, a Pi 4 takes its config.txt for empty."""
        return fetched.is_there and fetched.agreed

    def read(self, name: str) -> Program[bytes | None]:
        """The content; None when it is missing or did not come."""
        fetched = yield from self._fetch(name, only_size=False)
        return fetched.content if self._counts(fetched) else None

    def probe(self, name: str) -> Program[bool]:
        """Whether it is there."""
        fetched = yield from self._fetch(name, only_size=True)
        return self._counts(fetched)

    def ask(self, *names: str) -> Program[None]:
        """Files that need not be there."""
        for name in names:
            yield from self.read(name)

    def must(self, name: str) -> Program[bytes]:
        """
        A file without which the boot ends.

        :raises _Failed: when it does not come.
        """
        content = yield from self.read(name)
        if content is None:
            raise _Failed(f"no {self.prefix}{name}")
        return content

    def must_first(self, names: Iterable[str]) -> Program[str]:
        """The first of these that is there, probed and then read; its name."""
        for name in names:
            if (yield from self.probe(name)):
                yield from self.must(name)
                return name
        raise _Failed(f"none of {', '.join(names)}")

    def choose_prefix(self) -> Program[None]:
        """Names have a prefix if one of the probe files is there with it."""
        self.prefix = self.machine.prefix
        for name in self.machine.board.kind.probes:
            if (yield from self.probe(name)):
                return
        self.prefix = ""


def boot(machine: Machine) -> Program[Loaded]:
    """
    From a board that has link to a kernel in memory.

    :raises Hung: when only a power cycle helps.
    """
    if machine.board.kind.family is Family.ROM:
        return (yield from _boot_rom(machine))
    return (yield from _boot_eeprom(machine))


# The ROM family


def _boot_rom(machine: Machine) -> Program[Loaded]:
    try:
        machine.journal.enter(Step.ADDRESS, machine.now())
        first = yield from rom_lease(machine, is_first_stage=True)
        if first is None:
            raise _Failed("no usable OFFER in five tries")
        machine.journal.enter(Step.LOADING, machine.now())
        rom = Loader(machine, first, ROM)
        yield from rom.must("bootcode.bin")
        yield from rom.ask("bootsig.bin")
        lease = yield from _bootcode_lease(machine)
        machine.journal.enter(Step.LOADING, machine.now())
        return (yield from _start_elf(machine, lease))
    except _Failed as reason:
        raise Hung(str(reason)) from None


def _bootcode_lease(machine: Machine) -> Program[Lease]:
    """bootcode.bin asks for an address of its own."""
    machine.journal.enter(Step.ADDRESS, machine.now())
    for _ in range(BOOTCODE_ROUNDS):
        lease = yield from rom_lease(machine, is_first_stage=False)
        if lease is not None:
            return lease
        yield from machine.wait(BOOTCODE_PAUSE_SECONDS)
    raise _Failed("bootcode.bin got no usable OFFER")


def _start_elf(machine: Machine, lease: Lease) -> Program[Loaded]:
    kind = machine.board.kind
    loader = Loader(machine, lease, START_ELF)
    yield from loader.choose_prefix()
    yield from loader.ask("autoboot.txt", "config.txt", "recovery.elf")
    yield from loader.must(kind.start_files[0])
    yield from loader.must(kind.fixup_file)
    yield from machine.pause(machine.between(1.0, 2.0))
    return (yield from _system(loader, first=("recovery.elf",)))


# The EEPROM family


def _boot_eeprom(machine: Machine) -> Program[Loaded]:
    """Again and again, as with the letter f in BOOT_ORDER."""
    while True:
        machine.journal.enter(Step.ADDRESS, machine.now())
        lease = yield from eeprom_lease(machine)
        try:
            if lease is None:
                raise _Failed("no lease within 45 s")
            machine.journal.enter(Step.LOADING, machine.now())
            return (yield from _load_eeprom(machine, lease))
        except _Failed as reason:
            machine.journal.trouble = str(reason)
        machine.journal.retries += 1
        yield from machine.wait(RETRY_PAUSE_SECONDS)
        yield from machine.pause(OTHER_MODES_SECONDS)


def _load_eeprom(machine: Machine, lease: Lease) -> Program[Loaded]:
    kind = machine.board.kind
    machine.restart_ports()
    loader = Loader(machine, lease, EEPROM)
    yield from loader.choose_prefix()
    if not kind.start_files:
        yield from loader.must("config.txt")
        return (yield from _system(loader, first=("pieeprom.sig",)))
    yield from loader.ask("config.txt", "pieeprom.sig", "recover4.elf", "recovery.elf")
    yield from loader.must_first(kind.start_files)
    yield from loader.must(kind.fixup_file)
    yield from machine.pause(machine.between(1.0, 2.0))
    return (yield from _system(loader, first=("recovery.elf",)))


# Kernel, device tree, initramfs: the last stage of all


def _system(loader: Loader, first: tuple[str, ...]) -> Program[Loaded]:
    machine = loader.machine
    yield from loader.ask(*first)
    text = yield from loader.read("config.txt")
    config = yield from _with_known_prefix(loader, boot_config((text or b"").decode("utf-8", "replace"), machine.board))
    initramfs = []
    for name in config.initramfs:
        initramfs.append((yield from loader.read(config.under_prefix(name))))
    yield from loader.must_first([config.under_prefix(config.device_tree)])
    yield from loader.ask("overlays/overlay_map.dtb")
    command_line = yield from _command_line(loader, config)
    yield from loader.ask(*machine.board.kind.normally_missing)
    yield from loader.must_first([config.under_prefix(name) for name in config.kernels])
    return Loaded(
        lease=loader.lease,
        command_line=CommandLine.parse(command_line),
        has_initramfs=bool(initramfs) and None not in initramfs,
    )


def _with_known_prefix(loader: Loader, config: BootConfig) -> Program[BootConfig]:
    """``os_prefix`` counts only if kernel and device tree lie there."""
    if not config.os_prefix:
        return config
    for names in (config.kernels, (config.device_tree,)):
        found = False
        for name in names:
            found = found or (yield from loader.probe(config.under_prefix(name)))
        if not found:
            return attrs.evolve(config, os_prefix="")
    return config


def _command_line(loader: Loader, config: BootConfig) -> Program[bytes]:
    """A Pi 5 doubles the slash after its prefix."""
    slash = "/" if loader.prefix and not loader.machine.board.kind.start_files else ""
    name = config.under_prefix(config.cmdline)
    if slash and not name.startswith("/"):
        content = yield from Loader(
            loader.machine, loader.lease, EEPROM, prefix=loader.prefix + slash
        ).read(name)
    else:
        content = yield from loader.read(name)
    return content or b""
