# -*- test-case-name: tests.test_checking_rights -*-
"""
What the kernel lets us do: ports below 1024, frames of our own, large receive buffers.

1. capabilities(7), packet(7), socket(7): SO_RCVBUFFORCE; proc(5): CapEff; ip-sysctl: ip_unprivileged_port_start
"""

import os
from collections.abc import Sequence
from pathlib import Path

import attrs

from piman.checking.findings import Finding, fail, fine, warn
from piman.checking.ports import Port
from piman.host.limits import MOST_FILES, shortage
from piman.host.sockets import RECEIVE_BUFFER_BYTES

SUBJECT = "rights"

CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

UNIT_LINE = "AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW"
REMEDY = (
    f"Run the manager as root; or as a service with {UNIT_LINE} (install/systemd/piman.service has it); "
    "or, for all programs of this Python: setcap cap_net_bind_service,cap_net_raw+ep {python}"
)
BUFFER_REMEDY = f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}, and the same in /etc/sysctl.d/piman.conf."
FILES_REMEDY = f"LimitNOFILE={MOST_FILES} in the unit, or * hard nofile {MOST_FILES} in /etc/security/limits.conf."


@attrs.frozen(kw_only=True)
class Rights:
    """
    What a process may do.

    :ivar capabilities: the effective ones, a bit mask.
    :ivar first_free_port: ports below it need CAP_NET_BIND_SERVICE.
    :ivar receive_bytes: ``net.core.rmem_max``.
    """

    is_root: bool
    capabilities: int
    first_free_port: int = 1024
    receive_bytes: int
    python: str = "python3"

    def has(self, capability: int) -> bool:
        """Whether it has this capability."""
        return bool(self.capabilities >> capability & 1)


def judge_rights(rights: Rights, ports: Sequence[Port]) -> list[Finding]:
    """Who is not root may still check: the manager may run as somebody else, so what is missing here is a warning."""
    low, frames = _low_ports(rights, ports), _frames(rights)
    if frames.remedy and frames.remedy == low.remedy:
        frames = attrs.evolve(frames, remedy="The same.")
    return [low, frames, _buffers(rights)]


def _missing(rights: Rights, text: str) -> Finding:
    remedy = REMEDY.format(python=rights.python)
    if rights.is_root:
        return fail(SUBJECT, f"root {text}", f"A container or a unit took it away; give it back: {UNIT_LINE}")
    return warn(SUBJECT, f"this user {text}", remedy)


def _low_ports(rights: Rights, ports: Sequence[Port]) -> Finding:
    low = sorted({port.number for port in ports if port.number < rights.first_free_port})
    if not low:
        return fine(SUBJECT, f"no port below {rights.first_free_port} is needed")
    listed = ", ".join(map(str, low))
    if rights.has(CAP_NET_BIND_SERVICE):
        return fine(SUBJECT, f"may use ports below {rights.first_free_port}: {listed}")
    return _missing(rights, f"may not use ports below {rights.first_free_port} ({listed}): no CAP_NET_BIND_SERVICE")


def _frames(rights: Rights) -> Finding:
    if rights.has(CAP_NET_RAW):
        return fine(SUBJECT, "may answer boards without an address in frames of their own (AF_PACKET)")
    text = "may not send frames (no CAP_NET_RAW): DHCP answers are broadcast, and a Pi 3 may take another board's"
    return _missing(rights, text)


def _buffers(rights: Rights) -> Finding:
    wanted = f"{RECEIVE_BUFFER_BYTES >> 20} MiB"
    if rights.receive_bytes >= RECEIVE_BUFFER_BYTES:
        return fine(SUBJECT, f"receive buffers may have {wanted}")
    if rights.has(CAP_NET_ADMIN):
        return fine(SUBJECT, f"receive buffers get {wanted}, thanks to CAP_NET_ADMIN")
    given = f"{rights.receive_bytes >> 10} KiB of the {wanted} wanted"
    return warn(SUBJECT, f"receive buffers get {given}: a whole rack that starts at once may be dropped", BUFFER_REMEDY)


def judge_files(limit: int | None, nodes: int) -> Finding:
    """Whether the manager may have enough files and connections; it takes as many as it may."""
    missing = shortage(limit, nodes)
    if missing:
        return warn(SUBJECT, missing, FILES_REMEDY)
    return fine(SUBJECT, f"may have {'any number of' if limit is None else limit} files and connections at a time")


# Looking


def rights_of_this_process(python: str, proc: Path = Path("/proc")) -> Rights:
    """
    What we may do.

    :raises OSError: when /proc does not tell.
    """
    status = dict(line.split(":", 1) for line in (proc / "self/status").read_text().splitlines() if ":" in line)
    return Rights(
        is_root=os.geteuid() == 0,
        capabilities=int(status["CapEff"].strip(), 16),
        first_free_port=_number(proc / "sys/net/ipv4/ip_unprivileged_port_start", 1024),
        receive_bytes=_number(proc / "sys/net/core/rmem_max", 212_992),
        python=python,
    )


def _number(path: Path, default: int) -> int:
    """A kernel's number; some are not shown inside a network namespace."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return default
