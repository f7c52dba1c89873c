# -*- test-case-name: tests.test_checking_ports -*-
"""
The ports that the manager needs: free, ours, or somebody else's.

1. bind(2), socket(7): a socket without a device is in the way of one with a device, and the other way round
"""

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path, PurePath

import attrs
import psutil
from twisted.internet.error import CannotListenError

from piman.checking.findings import Finding, fail, fine, warn
from piman.config import Config
from piman.host.sockets import SocketSettings, open_socket

SUBJECT = "ports"


@attrs.frozen
class Port:
    """A port that ``piman.yaml`` gives to a service."""

    key: str
    """Where the configuration names it: ``dhcp.port``."""
    transport: str
    """``udp`` or ``tcp``."""
    number: int
    address: str = "0.0.0.0"
    interface: str | None = None

    def __str__(self) -> str:
        return f"{self.number}/{self.transport}"


@attrs.frozen
class Holder:
    """A program that has a port."""

    pid: int | None
    """None: of another user, and we may not know."""
    name: str = ""
    is_piman: bool = False

    def __str__(self) -> str:
        return f"{self.name or 'a program'} (pid {self.pid})" if self.pid else "a program of another user"


def ports_of(config: Config) -> list[Port]:
    """All ports, in the order of the boot."""
    return list(_ports(config))


def _ports(config: Config) -> Iterator[Port]:
    server, interface = str(config.server_address), config.interface
    if config.dhcp.enabled:
        yield Port("dhcp.port", "udp", config.dhcp.port)
    if config.tftp.enabled:
        yield Port("tftp.port", "udp", config.tftp.port, server, interface)
        if config.tftp.data_ports is not None:
            first, last = config.tftp.data_ports
            yield from (Port("tftp.data_ports", "udp", number, server, interface) for number in range(first, last + 1))
    if config.ntp.enabled:
        yield Port("ntp.port", "udp", config.ntp.port, interface=interface)
    if config.hello.enabled:
        for key in ("port", "image_port", "http_port"):
            yield Port(f"hello.{key}", "tcp", getattr(config.hello, key))
    if config.web.enabled and not config.web.endpoint:
        yield Port("web.port", "tcp", config.web.port, str(config.web.address))
    if config.grafana.enabled and config.grafana.port is not None:
        yield Port("grafana.port", "tcp", config.grafana.port, str(config.web.address))


# Judging


@attrs.frozen
class PortState:
    """What was seen of a port."""

    port: Port
    holders: tuple[Holder, ...] = ()
    can_bind: bool | None = None
    """Whether we could have it just now; None: that was not tried, or cannot be told without root."""


def judge_ports(states: Sequence[PortState], manager: str = "") -> list[Finding]:
    """
    One line for those that are free, one for those that are the manager's, one for each other.

    :param manager: how it is known that a manager runs; empty: it is not.
    """
    free = [state.port for state in states if _is_free(state)]
    ours = [state for state in states if not _is_free(state) and _is_ours(state, manager)]
    others = [state for state in states if not _is_free(state) and not _is_ours(state, manager)]
    found = [_taken(state) for state in others]
    if ours:
        found.insert(0, fine(SUBJECT, f"the manager has {_list(state.port for state in ours)} ({_how(ours, manager)})"))
    if free:
        found.insert(0, fine(SUBJECT, f"free: {_list(free)}"))
    return found


def _is_free(state: PortState) -> bool:
    return state.can_bind is True or (not state.holders and state.can_bind is not False)


def _is_ours(state: PortState, manager: str) -> bool:
    if any(holder.is_piman for holder in state.holders):
        return True
    return bool(manager) and all(holder.pid is None for holder in state.holders)


def _how(ours: Sequence[PortState], manager: str) -> str:
    pids = sorted({holder.pid for state in ours for holder in state.holders if holder.is_piman and holder.pid})
    return ", ".join(f"pid {pid} is a piman" for pid in pids) or manager


def _list(ports: Iterable[Port]) -> str:
    """Ports with what they are for; a range as its ends."""
    return ", ".join(_range(key, list(some)) for key, some in groupby(ports, lambda port: port.key))


def _range(key: str, ports: Sequence[Port]) -> str:
    first, last = ports[0], ports[-1]
    numbers = str(first) if first == last else f"{first.number}-{last}"
    return f"{numbers} {key.partition('.')[0]}"


def _taken(state: PortState) -> Finding:
    port, (*holders,) = state.port, state.holders
    who = " and ".join(dict.fromkeys(map(str, holders))) or "somebody"
    text = f"{port}, which {port.key} names, is taken by {who}"
    if holders and all(holder.pid is None for holder in holders):
        show = "ss -ulpn" if port.transport == "udp" else "ss -tlpn"
        return warn(SUBJECT, f"{text}; it may be the manager", f"Look as root: {show} 'sport = :{port.number}'.")
    return fail(SUBJECT, text, f"Stop that program, or change {port.key}.")


# Looking


def port_states(ports: Sequence[Port]) -> list[PortState]:
    """What this machine says of them."""
    listed = _listed()
    return [_state(port, _holders(port, listed)) for port in ports]


def _state(port: Port, holders: tuple[Holder, ...]) -> PortState:
    """A free port is not tried: a manager that starts this very moment would find it taken."""
    is_doubtful = bool(holders) and not any(holder.is_piman for holder in holders)
    return PortState(port, holders, can_bind(port) if is_doubtful else None)


Listed = tuple[str, str, int, int | None]
"""Transport, local address, local port, pid."""


def _listed() -> list[Listed]:
    """All sockets that wait for somebody."""
    found: list[Listed] = []
    for transport in ("udp", "tcp"):
        for one in psutil.net_connections(transport):
            if one.laddr and (transport == "udp" or one.status == psutil.CONN_LISTEN):
                found.append((transport, one.laddr.ip, one.laddr.port, one.pid))
    return found


_EVERYWHERE = ("0.0.0.0", "::")


def in_the_way(port: Port, listed: Sequence[Listed]) -> list[int | None]:
    """The pids of the sockets that a socket on this port would meet."""
    return [
        pid
        for transport, address, number, pid in listed
        if (transport, number) == (port.transport, port.number)
        and (address in _EVERYWHERE or port.address in (address, *_EVERYWHERE))
        and (":" not in address or address == "::" or address.startswith("::ffff:"))
    ]


def _holders(port: Port, listed: Sequence[Listed]) -> tuple[Holder, ...]:
    return tuple(dict.fromkeys(holder(pid) for pid in in_the_way(port, listed)))


def holder(pid: int | None) -> Holder:
    """The program behind a pid."""
    if pid is None:
        return Holder(None)
    try:
        process = psutil.Process(pid)
        return Holder(pid, process.name(), is_piman(process.cmdline()))
    except psutil.Error:
        return Holder(pid)


def is_piman(command: Sequence[str]) -> bool:
    """Whether a command line is that of a manager: ``twistd -n piman ...`` or ``piman server ...``."""
    names = [PurePath(word).name for word in command]
    for at, name in enumerate(names[:3]):  # the interpreter and its options may come first
        if name == "twistd":
            return "piman" in names[at + 1 :]
        if name == "piman":
            return "server" in names[at + 1 :]
        if name == "-c" and "twisted.scripts.twistd" in "".join(command[at + 1 : at + 2]):  # a rack's manager
            return "piman" in names[at + 2 :]
    return False


def can_bind(port: Port) -> bool | None:
    """Whether the manager's socket could be had; it is closed again at once."""
    try:
        (_bind_udp if port.transport == "udp" else _bind_tcp)(port)
    except CannotListenError as reason:
        return _verdict(reason.__cause__)
    except OSError as reason:
        return _verdict(reason)
    return True


def _verdict(reason: BaseException | None) -> bool | None:
    """Only a port that is taken is taken; a missing right, address or interface is another check's."""
    return False if isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE else None


def _bind_udp(port: Port) -> None:
    open_socket(SocketSettings(port=port.number, address=port.address, interface=port.interface)).close()


def _bind_tcp(port: Port) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the reactor does
        sock.bind((port.address, port.number))


def answering(path: Path) -> str:
    """How it is known that a manager runs: somebody answers at its control socket; else empty."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(os.fspath(path))
        except OSError:
            return ""
    return f"a manager answers at {path}"
