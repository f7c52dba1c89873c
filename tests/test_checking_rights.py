"""
What the kernel lets us do.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.checking.findings import Level
from piman.checking.ports import Port
from piman.checking.rights import (
    CAP_NET_ADMIN,
    CAP_NET_BIND_SERVICE,
    CAP_NET_RAW,
    Rights,
    judge_files,
    judge_rights,
    rights_of_this_process,
)

PORTS = [Port("dhcp.port", "udp", 67), Port("tftp.port", "udp", 69), Port("hello.port", "tcp", 3333)]
ALL = 1 << CAP_NET_BIND_SERVICE | 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW
ROOM = 8 * 1024 * 1024

STATUS = """\
Name:\tpython3
Uid:\t1000\t1000\t1000\t1000
CapInh:\t0000000000000000
CapPrm:\t0000000000002400
CapEff:\t0000000000002400
"""
"""Of ``/proc/self/status`` (Debian 12) of a program with ``cap_net_bind_service,cap_net_raw+ep``; some lines of it."""


def _rights(capabilities: int, *, is_root: bool = False, first_free_port: int = 1024, room: int = ROOM) -> Rights:
    return Rights(
        is_root=is_root,
        capabilities=capabilities,
        first_free_port=first_free_port,
        receive_bytes=room,
        python="/opt/piman/.venv/bin/python3",
    )


class JudgeTests(SynchronousTestCase):
    """Low ports, frames, receive buffers: a line each."""

    def levels(self, rights: Rights) -> list[Level]:
        """Of the three lines."""
        return [finding.level for finding in judge_rights(rights, PORTS)]

    def test_all(self) -> None:
        """With all rights all is fine, and the ports that need one are named."""
        found = judge_rights(_rights(ALL), PORTS)
        self.assertEqual([finding.level for finding in found], [Level.OK] * 3)
        self.assertIn("67, 69", found[0].text)

    def test_files(self) -> None:
        """Fewer files than the nodes take are a warning with the line for a unit."""
        few, enough, endless = judge_files(1024, 300), judge_files(1024, 200), judge_files(None, 300)
        self.assertEqual([one.level for one in (few, enough, endless)], [Level.WARN, Level.OK, Level.OK])
        self.assertIn("LimitNOFILE=65536", few.remedy)
        self.assertEqual(endless.text, "may have any number of files and connections at a time")

    def test_nobody(self) -> None:
        """A plain user is warned, with the line for a unit and the setcap command for this very Python."""
        ports, frames, buffers = judge_rights(_rights(0), PORTS)
        self.assertEqual([one.level for one in (ports, frames, buffers)], [Level.WARN, Level.WARN, Level.OK])
        self.assertIn("AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW", ports.remedy)
        self.assertIn("setcap cap_net_bind_service,cap_net_raw+ep /opt/piman/.venv/bin/python3", ports.remedy)
        self.assertEqual(frames.remedy, "The same.")
        _, alone, _ = judge_rights(_rights(1 << CAP_NET_BIND_SERVICE), PORTS)
        self.assertEqual(alone.remedy, ports.remedy)

    def test_root_without(self) -> None:
        """Root that was robbed of a right (a container) will not get far: a failure."""
        self.assertEqual(self.levels(_rights(1 << CAP_NET_RAW, is_root=True)), [Level.FAIL, Level.OK, Level.OK])

    def test_unprivileged_ports(self) -> None:
        """Where the kernel gives low ports to everybody (net.ipv4.ip_unprivileged_port_start), none is missed."""
        self.assertEqual(self.levels(_rights(1 << CAP_NET_RAW, first_free_port=0)), [Level.OK] * 3)

    def test_buffers(self) -> None:
        """Debian's 208 KiB are too little, unless CAP_NET_ADMIN goes beyond them."""
        (*_, poor) = judge_rights(_rights(0, room=212_992), PORTS)
        self.assertEqual((poor.level, "208 KiB of the 8 MiB" in poor.text), (Level.WARN, True))
        self.assertIn("sysctl -w net.core.rmem_max=8388608", poor.remedy)
        self.assertEqual(self.levels(_rights(ALL, room=212_992))[2], Level.OK)


class LookTests(SynchronousTestCase):
    """What the kernel tells."""

    def test_proc(self) -> None:
        """The effective capabilities and both limits come from /proc."""
        proc = Path(self.mktemp())
        for name, text in (
            ("self/status", STATUS),
            ("sys/net/ipv4/ip_unprivileged_port_start", "80\n"),
            ("sys/net/core/rmem_max", "4194304\n"),
        ):
            (proc / name).parent.mkdir(parents=True, exist_ok=True)
            (proc / name).write_text(text)
        rights = rights_of_this_process("python3", proc)
        self.assertEqual((rights.first_free_port, rights.receive_bytes), (80, 4_194_304))
        held = [rights.has(number) for number in (CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_NET_ADMIN)]
        self.assertEqual(held, [True, True, False])

    def test_hidden_limits(self) -> None:
        """A kernel that hides a limit has its usual one (rmem_max is not shown in a network namespace)."""
        proc = Path(self.mktemp())
        (proc / "self").mkdir(parents=True)
        (proc / "self/status").write_text(STATUS)
        rights = rights_of_this_process("python3", proc)
        self.assertEqual((rights.first_free_port, rights.receive_bytes), (1024, 212_992))

    def test_this_process(self) -> None:
        """The real /proc can be read."""
        self.assertGreater(rights_of_this_process("python3").receive_bytes, 0)
