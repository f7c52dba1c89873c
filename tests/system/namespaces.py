"""
A small LAN that is not there: a manager and clients, each in a network namespace of its own.

The manager's ``lan0`` is a bridge (172.30.4.1/24); each client's ``eth0`` is plugged into it.  Needs root and ``ip``;
:func:`unavailable` says what is missing.  A test uses it so::

    class SomeTests(TestCase):
        skip = namespaces.unavailable("udhcpc")

        def setUp(self) -> None:
            self.lab = Lab(clients=2)
            self.addCleanup(self.lab.close)

Programs run in a namespace with :meth:`Namespace.run` (and wait), :meth:`Namespace.start` (and are ended by
:meth:`Lab.close`) or :meth:`Namespace.command` (for ``reactor.spawnProcess``); sockets of this very process are made
there within ``with namespace.entered():``, and stay there.
"""

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

MANAGER_INTERFACE = "lan0"
CLIENT_INTERFACE = "eth0"
CLONE_NEWNET = 0x40000000

_numbers = itertools.count(1)


class CommandFailed(Exception):
    """A command of the lab itself failed."""


def unavailable(*programs: str) -> str | None:
    """Why a test that needs a lab and these programs must be skipped; None when it need not."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", *programs) if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return _refusal()


@cache
def _refusal() -> str | None:
    """Whether the kernel, or the container we are in, gives no namespace with a bridge and a pair of veths."""
    try:
        Lab(clients=1).close()
    except CommandFailed as reason:
        return f"no network namespaces here: {reason}"
    return None


def _ip(*arguments: str) -> None:
    """One ``ip`` command."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Namespace:
    """
    One network namespace.

    :ivar interface: the name of its network interface.
    :ivar mac: the hardware address of that, lower-case with colons.
    :ivar address: its address, None until it is given one.
    """

    def __init__(self, name: str, interface: str, mac: str) -> None:
        self.name = name
        self.interface = interface
        self.mac = mac
        self.address: IPv4Address | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        _ip("netns", "add", name)

    def ip(self, *arguments: str) -> None:
        """An ``ip`` command in here."""
        _ip("-n", self.name, *arguments)

    def assign(self, address: IPv4Interface) -> None:
        """Give the interface an address."""
        self.ip("address", "add", str(address), "broadcast", "+", "dev", self.interface)
        self.address = address.ip

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a program in here."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str, timeout: float = 30.0) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end; standard error goes to standard output."""
        return subprocess.run(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str, output: int | None = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        """Start a program that :meth:`close` ends."""
        process = subprocess.Popen(
            self.command(*arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        self._started.append(process)
        return process

    def entered(self) -> AbstractContextManager[None]:
        """This thread is in here; sockets made meanwhile belong here for ever."""
        return entered(self.name)

    def close(self) -> None:
        """End what was started in here and delete the namespace with its interfaces."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _ip("netns", "delete", self.name)


@contextmanager
def entered(name: str) -> Iterator[None]:
    """This thread is in the namespace of this name; sockets made meanwhile belong there for ever."""
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    inside = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _set_namespace(inside)
        try:
            yield
        finally:
            _set_namespace(outside)
    finally:
        os.close(inside)
        os.close(outside)


def _set_namespace(descriptor: int) -> None:
    """``setns``, which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Lab:
    """
    A manager and clients on one Ethernet.

    :param interface: what the manager's is called.
    :ivar manager: 172.30.4.1/24 on ``lan0``.
    :ivar clients: ``eth0`` with the hardware addresses b8:27:eb:00:00:01 and so on; when ``addressed``,
        172.30.4.101/24 and so on.
    """

    NETWORK = IPv4Interface("172.30.4.1/24")

    def __init__(self, clients: int = 1, *, addressed: bool = True, interface: str = MANAGER_INTERFACE) -> None:
        self._prefix = f"piman-{os.getpid()}-{next(_numbers)}"
        self._interface = interface
        self._namespaces: list[Namespace] = []
        try:
            self.manager = self._manager()
            self.clients = [self._client(number, addressed) for number in range(1, clients + 1)]
        except BaseException:
            self.close()
            raise

    def _namespace(self, name: str, interface: str, mac: str) -> Namespace:
        namespace = Namespace(f"{self._prefix}-{name}", interface, mac)
        self._namespaces.append(namespace)
        self._quiet(namespace)
        namespace.ip("link", "set", "lo", "up")
        return namespace

    @staticmethod
    def _quiet(namespace: Namespace) -> None:
        """No IPv6: its own datagrams would only be noise in captures."""
        with namespace.entered():
            switch = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")  # that of the namespace we are in
            if switch.exists():
                switch.write_text("1")

    def _manager(self) -> Namespace:
        manager = self._namespace("manager", self._interface, "02:00:00:00:00:01")
        manager.ip("link", "add", self._interface, "address", manager.mac, "type", "bridge", "forward_delay", "0")
        manager.ip("link", "set", self._interface, "up")
        manager.assign(self.NETWORK)
        return manager

    def _client(self, number: int, addressed: bool) -> Namespace:
        client = self._namespace(f"client{number}", CLIENT_INTERFACE, f"b8:27:eb:00:00:{number:02x}")
        port = f"port{number}"
        self.manager.ip(
            *("link", "add", port, "type", "veth"),
            *("peer", "name", CLIENT_INTERFACE, "address", client.mac, "netns", client.name),
        )
        self.manager.ip("link", "set", port, "master", self._interface, "up")
        client.ip("link", "set", CLIENT_INTERFACE, "up")
        if addressed:
            network = self.NETWORK.network
            client.assign(IPv4Interface((network.network_address + 100 + number, network.prefixlen)))
        return client

    def close(self) -> None:
        """Delete all of it; harmless twice."""
        while self._namespaces:
            self._namespaces.pop().close()
