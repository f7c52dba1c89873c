# -*- test-case-name: tests.scenario.test_boot -*-
"""
A virtual Raspberry Pi: power on, firmware, kernel, installer, system.

It knows no sockets: what it is plugged into is given to it (:mod:`piman.simulator.wiring.surroundings`).  Its card
keeps what was written when the power goes.
"""

from ipaddress import IPv4Address
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from piman.simulator.booting import dhcp_client
from piman.simulator.booting.boards import KINDS, Board
from piman.simulator.booting.card import Card
from piman.simulator.booting.dhcp_client import Lease, kernel_client, renew, system_client, udhcpc_client
from piman.simulator.booting.firmware import Hung, Loaded, boot
from piman.simulator.booting.installer import install
from piman.simulator.booting.journal import Journal, Step
from piman.simulator.booting.machine import Machine, Program
from piman.simulator.wiring.faults import NO_DEFECTS, Defects, FaultyNetwork
from piman.simulator.wiring.surroundings import Network

MODELS: tuple[str, ...] = tuple(KINDS)
"""The boards that can be simulated."""

KERNEL_SECONDS = (4.0, 6.0)
"""From the last boot file to Linux' first DISCOVER."""
SYSTEM_SECONDS = (10.0, 20.0)
"""From the kernel's switch of root to the installed system's first DISCOVER."""
BREAK_DOWN_SECONDS = 1.0
RENEW_AGAIN_SECONDS = 60.0
"""RFC 2131, 4.4.5: a client waits at least so long before it asks again."""


class Pi:
    """
    One virtual Pi with its card.

    :ivar journal: what it has experienced.
    :param version: of the hello protocol that its initramfs speaks.
    :param defects: what is wrong with it for good; those of its line are for its network.
    """

    def __init__(
        self,
        board: Board,
        *,
        clock: IReactorTime,
        network: Network,
        journal: Journal,
        random: Random,
        speed: float = 1.0,
        card: Card | None = None,
        version: int = 2,
        defects: Defects = NO_DEFECTS,
    ) -> None:
        self.board = board
        self.journal = journal
        self.card = card or Card()
        self._clock = clock
        self._version = version
        self._network = network
        self._defects = defects
        self._flap: IDelayedCall | None = None
        self._machine = Machine(
            board, clock=clock, network=network, journal=journal, random=random, speed=speed, prefix=defects.prefix
        )

    @property
    def is_up(self) -> bool:
        """Whether its installed system runs."""
        return self.journal.step is Step.UP

    @property
    def address(self) -> IPv4Address | None:
        """The address that it uses."""
        return self.journal.address if self._machine.is_running else None

    def power_on(self) -> None:
        """Begin a boot; harmless while it has power and works."""
        if not self._machine.is_running:
            self.journal.boots += 1
            if isinstance(self._network, FaultyNetwork):
                self._network.powered_at = self._clock.seconds()
            self._machine.start(self._life())
            if self._defects.flaps_after is not None:
                self._flap = self._clock.callLater(self._machine.between(*self._defects.flaps_after), self._break_down)

    def _break_down(self) -> None:
        self.power_off()
        self._flap = self._clock.callLater(BREAK_DOWN_SECONDS, self.power_on)

    def power_off(self) -> None:
        """Cut the power at once."""
        if self._flap is not None and self._flap.active():
            self._flap.cancel()
        self._machine.stop()
        self.journal.enter(Step.DARK, self._clock.seconds())

    def _life(self) -> Program[None]:
        """From power on for ever, or until it hangs."""
        try:
            yield from self._boot()
            yield from self._system()
        except Hung as reason:
            self.journal.trouble = str(reason)
            self.journal.hangs.append(str(reason))
            self.journal.enter(Step.HUNG, self._clock.seconds())

    def _boot(self) -> Program[None]:
        """Until the installed system starts; a restart of the initramfs begins anew."""
        machine = self._machine
        while True:
            self.journal.enter(Step.FIRMWARE, machine.now())
            yield from machine.pause(machine.between(*self.board.kind.firmware_seconds))
            if self.card.starts_alone:
                return
            if self._defects.no_netboot:
                raise Hung("its firmware is not told to boot from the network")
            loaded = yield from boot(machine)
            self.journal.enter(Step.KERNEL, machine.now())
            if self._defects.kernel_silent:
                raise Hung("its kernel stands still")
            yield from machine.pause(machine.between(*KERNEL_SECONDS))
            if not loaded.has_initramfs:
                raise Hung("the kernel finds no root file system: the boot loader got no initramfs")
            if (yield from self._installer(loaded)):
                return
            self.journal.retries += 1

    def _installer(self, loaded: Loaded) -> Program[bool]:
        """The kernel's or the initramfs' own address, then the manager."""
        lease: Lease | None = None
        if loaded.command_line.wants_dhcp:
            lease = yield from dhcp_client.lease(self._machine, kernel_client(self._machine))
        if lease is None:
            lease = yield from dhcp_client.lease(self._machine, udhcpc_client(self._machine))
        if lease is None:
            self.journal.trouble = "no DHCP server answers the initramfs"
            return False
        if self._defects.installer_silent:
            raise Hung("its initramfs calls nobody")
        manager = _manager(loaded.command_line.value("master"), lease)
        return (yield from install(self._machine, self.card, lease, manager, self._version, self._defects))

    def _system(self) -> Program[None]:
        """The installed system: an address, the agent, renewals."""
        machine = self._machine
        client = system_client(machine)
        self.journal.enter(Step.BOOTING, machine.now())
        if self._defects.never_up:
            raise Hung("its installed system does not start")
        yield from machine.pause(machine.between(*SYSTEM_SECONDS))
        while True:
            held = yield from dhcp_client.lease(machine, client)
            if held is None:
                continue
            self.journal.enter(Step.UP, machine.now())
            if self._defects.dies_after is not None:
                yield from machine.wait(self._defects.dies_after)
                raise Hung("its system has crashed")
            yield from self._keep(held)

    def _keep(self, held: Lease) -> Program[None]:
        """Renew until the lease is lost."""
        machine = self._machine
        expires = machine.now() + held.seconds
        while machine.now() < expires:
            yield from machine.wait(min(max((expires - machine.now()) / 2, RENEW_AGAIN_SECONDS), held.seconds))
            renewed = yield from renew(machine, system_client(machine), held)
            if renewed is not None:
                held, expires = renewed, machine.now() + renewed.seconds


def _manager(word: str, lease: Lease) -> IPv4Address:
    """``master=`` of the command line, unless the server left the word MASTER in it; else who gave the address."""
    try:
        return IPv4Address(word)
    except ValueError:
        return lease.boot_server if int(lease.boot_server) else lease.server
