"""
The interface, the clock, the disks.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.checking.findings import Finding, Level
from piman.checking.machine import (
    LITTLE_BYTES,
    NOTHING_BYTES,
    Folder,
    Interface,
    folder_at,
    interfaces,
    judge_clock,
    judge_folders,
    judge_interface,
)
from piman.host.clock import KernelClock, clock_source
from piman.wire.ntp import Leap

SERVER, SUBNET = IPv4Address("172.30.4.1"), IPv4Network("172.30.4.0/24")
GOOD = KernelClock(leap=Leap.NONE, largest_error_seconds=0.25, read_at=1000.0)
ADRIFT = KernelClock(leap=Leap.UNSYNCHRONISED, largest_error_seconds=16.0, read_at=1000.0)


class InterfaceTests(SynchronousTestCase):
    """eth0, which must carry 172.30.4.1/24."""

    def judge(self, *addresses: str, is_up: bool = True, name: str = "eth0") -> Finding:
        """One finding."""
        there = Interface(name=name, is_up=is_up, addresses=tuple(map(IPv4Interface, addresses)))
        (found,) = judge_interface("eth0", SERVER, SUBNET, {name: there})
        return found

    def test_fine(self) -> None:
        """Up, with the address among others."""
        self.assertEqual(self.judge("10.0.0.5/8", "172.30.4.1/24").level, Level.OK)

    def test_absent(self) -> None:
        """A name that is not there is answered with those that are."""
        found = self.judge("172.30.4.1/24", name="enp3s0")
        self.assertEqual((found.level, "it has enp3s0" in found.text), (Level.FAIL, True))

    def test_down(self) -> None:
        """Down, or without a cable."""
        self.assertEqual(self.judge("172.30.4.1/24", is_up=False).level, Level.FAIL)

    def test_address(self) -> None:
        """Without the address the remedy is the command that gives it."""
        found = self.judge("172.30.4.2/24")
        self.assertEqual(found.level, Level.FAIL)
        self.assertIn("ip address add 172.30.4.1/24 dev eth0", found.remedy)

    def test_mask(self) -> None:
        """Another mask than the configuration's is a failure of its own: boards would be unreachable."""
        found = self.judge("172.30.4.1/16")
        self.assertEqual((found.level, "mask" in found.text), (Level.FAIL, True))

    def test_loopback(self) -> None:
        """All of 127.0.0.0/8 is local, as a virtual rack uses it."""
        there = Interface(name="lo", is_up=True, addresses=(IPv4Interface("127.0.0.1/8"),))
        (found,) = judge_interface("lo", IPv4Address("127.77.0.1"), IPv4Network("127.77.0.0/16"), {"lo": there})
        self.assertEqual(found.level, Level.OK)

    def test_this_host(self) -> None:
        """The real loopback interface is seen with its address."""
        self.assertIn(IPv4Interface("127.0.0.1/8"), interfaces()["lo"].addresses)


class ClockTests(SynchronousTestCase):
    """What the nodes get."""

    def test_levels(self) -> None:
        """Synchronised is fine; adrift, or the nodes' only authority, is a warning, unless nobody asks us."""
        cases = ((GOOD, None, True), (ADRIFT, None, True), (ADRIFT, 10, True), (ADRIFT, None, False))
        levels = [
            judge_clock(clock_source(kernel, None, local), serves=serves).level for kernel, local, serves in cases
        ]
        self.assertEqual(levels, [Level.OK, Level.WARN, Level.WARN, Level.OK])

    def test_remedy(self) -> None:
        """The remedy stands apart from what is wrong."""
        found = judge_clock(clock_source(ADRIFT, None, None), serves=True)
        self.assertNotIn("chronyd", found.text)
        self.assertEqual(found.remedy, "Run chronyd or systemd-timesyncd here, or set ntp.local_stratum.")


class DiskTests(SynchronousTestCase):
    """Space, and the right to use it."""

    def folder(self, key: str = "state_dir", **knobs: object) -> Folder:
        """A folder with plenty of everything."""
        given: dict[str, object] = {"device": 1, "free_bytes": 10**12, "free_files": 10**6, **knobs}
        return Folder(key=key, path=Path("/srv") / key, **given)  # type: ignore[arg-type]

    def levels(self, *folders: Folder) -> list[Level]:
        """Of all findings."""
        return [finding.level for finding in judge_folders(folders)]

    def test_once_each(self) -> None:
        """Each file system takes one line, which names what lies there."""
        one, other = judge_folders([self.folder(), self.folder("log_dir"), self.folder("images", device=2)])
        self.assertIn("state_dir, log_dir", one.text)
        self.assertIn("images", other.text)

    def test_space(self) -> None:
        """Little is a warning, nothing is a failure; where we only read, a full disk is no failure."""
        self.assertEqual(self.levels(self.folder(free_bytes=LITTLE_BYTES)), [Level.OK])
        self.assertEqual(self.levels(self.folder(free_bytes=LITTLE_BYTES - 1)), [Level.WARN])
        self.assertEqual(self.levels(self.folder(free_bytes=NOTHING_BYTES - 1)), [Level.FAIL])
        self.assertEqual(self.levels(self.folder("images", free_bytes=0, is_written=False)), [Level.WARN])

    def test_inodes(self) -> None:
        """A disk with space and no inodes is full."""
        self.assertEqual(self.levels(self.folder(free_files=0)), [Level.FAIL])

    def test_not_writable(self) -> None:
        """A folder that this user may not write to is a warning: the manager may be another user."""
        found = judge_folders(
            [self.folder(is_writable=False), self.folder("images", is_written=False, is_writable=False)]
        )
        self.assertEqual([finding.level for finding in found], [Level.OK, Level.WARN])

    def test_look(self) -> None:
        """A folder that is not there yet is looked for where it will be made."""
        above = Path(self.mktemp()).absolute()
        above.mkdir()
        found = folder_at("state_dir", above / "not/yet")
        self.assertEqual(found.path, above)
        self.assertGreater(found.free_bytes, 0)
