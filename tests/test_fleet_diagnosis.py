"""
From evidence to a verdict: a table with an example of each fault, the borders of each phase's time, and totality.
"""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import diagnosis, events
from piman.fleet.diagnosis import JUDGES, Evidence, Fault, Verdict, verdict
from piman.fleet.events import Event, Recorded
from piman.fleet.model import MACAddress, Node, NodeStatus, Phase, PortPower, PowerBudget, Stage, SwitchPort
from piman.fleet.operations.following import PATIENCE
from piman.fleet.progress import advance
from piman.fleet.verdicts.boots import boots_of, restarts, vain
from piman.fleet.verdicts.case import duration
from piman.fleet.verdicts.complaints import CODES, fault_of
from piman.fleet.verdicts.needs import foreign_folder, needed, parts
from piman.fleet.verdicts.remedies import ADVICE
from piman.hosts import parse
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC, any_event, instances, values

ROOT = Path(diagnosis.__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "verdicts.md"
PORT = SwitchPort(IPv4Address("172.30.4.250"), 7)
NODE = Node(mac=MAC, address=ADDRESS, hostname="pi13", port=PORT)
BEGAN = 1_000_000.0
LONG = 10_000.0
"""Longer than any phase may last."""

POWERED = events.PowerCycled(mac=MAC, port=str(PORT), operation="1", dark_seconds=5.0)
REMOVED = events.PowerRemoved(mac=MAC, port=str(PORT), operation="1")
ROM_OFFER = events.AddressOffered(mac=MAC, address=ADDRESS, stage=Stage.ROM, model="3B")
OFFER = events.AddressOffered(mac=MAC, address=ADDRESS, stage=Stage.EEPROM, model="4B", serial="89eb9bb9")
LEASE = events.AddressLeased(mac=MAC, address=ADDRESS, stage=Stage.EEPROM, model="4B", expires=2e9)
KERNEL = events.AddressLeased(mac=MAC, address=ADDRESS, stage=Stage.KERNEL, expires=2e9)
SYSTEM = events.AddressLeased(mac=MAC, address=ADDRESS, stage=Stage.OS, expires=2e9)
LOADING = events.LoadingStarted(mac=MAC, name="89eb9bb9/start4.elf")
CALLED = events.InstallerConnected(mac=MAC, address=ADDRESS, version=2)
FORMAT = events.FormatOrdered(mac=MAC, intent="i", attempt=1, image="default", digest="ab" * 32)
FETCH = events.ImageStarted(mac=MAC, intent="i", door="http")
BOOT = events.BootOrdered(mac=MAC)
INSTALLED = events.Installed(mac=MAC, intent="i", digest="ab" * 32)
UP_BY_TIME = events.NodeUp(mac=MAC, evidence="time")
UP = events.NodeUp(mac=MAC, evidence="agent")
ALL_FILES = (
    "89eb9bb9/start4.elf",
    "89eb9bb9/config.txt",
    "89eb9bb9/fixup4.dat",
    "89eb9bb9/initramfs.gz",
    "89eb9bb9/bcm2711-rpi-4-b.dtb",
    "89eb9bb9/cmdline.txt",
    "89eb9bb9/kernel8.img",
)
PROBES = ("89eb9bb9/recovery.elf", "89eb9bb9/dt-blob.bin", "89eb9bb9/overlays/overlay_map.dtb", "89eb9bb9/bootcfg.txt")


def loaded(without: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> Event:
    """The report over a boot's files."""
    served = tuple(name for name in ALL_FILES if name.rpartition("/")[2] not in without)
    return events.BootFilesServed(
        mac=MAC, files=len(served), bytes=9, retransmits=0, missing=(*PROBES, *missing), seconds=4.0, served=served
    )


def aborted(**changes: Any) -> Event:
    """A transfer that ended early."""
    known: dict[str, Any] = {
        "name": "89eb9bb9/kernel8.img",
        "block": 57,
        "reason": "no answer for 15 seconds",
        "block_bytes": 1468,
        "size_bytes": 9_000_000,
    }
    return events.TransferAborted(mac=MAC, **{**known, **changes})


def failed(code: str, reason: str) -> Event:
    """The installer gave up."""
    return events.InstallerFailed(mac=MAC, code=code, reason=reason)


def story(*told: Event, every: float = 2.0) -> tuple[Recorded, ...]:
    """These events, one after the other."""
    return tuple(Recorded(id=n, time=BEGAN + n * every, event=event) for n, event in enumerate(told, start=1))


def evidence(*told: Event, after: float = LONG, every: float = 2.0, **known: Any) -> Evidence:
    """What there is so long after the last of these events, with the status that they lead to."""
    recorded = story(*told, every=every)
    status = NodeStatus(mac=MAC)
    for one in recorded:
        status = advance(status, one)
    last = recorded[-1].time if recorded else BEGAN
    return Evidence(**{"now": last + after, "status": status, "events": recorded, "node": NODE, **known})


def port(**changes: Any) -> PortPower:
    """A port that gives no power."""
    return PortPower(**{"port": 7, "admin_on": True, "delivering": False, "state": "searching", **changes})


WORKING = port(delivering=True, state="delivering", link_up=True)
UP_TO_LOADING = (POWERED, OFFER, LEASE, LOADING)
UP_TO_CALL = (*UP_TO_LOADING, loaded(), KERNEL, CALLED)
FLAPS = (OFFER, LEASE, LOADING, KERNEL)

EXAMPLES: dict[Fault, Evidence] = {
    Fault.POWER_OFF: evidence(POWERED, power=port(admin_on=False, state="disabled")),
    Fault.POWER_FAULT: evidence(POWERED, power=port(state="fault")),
    Fault.POWER_DENIED: evidence(POWERED, power=port(state="other fault")),
    Fault.POWER_BUDGET: evidence(
        POWERED, power=port(), budget=PowerBudget(total_watts=60.0, used_watts=58.0, state="on")
    ),
    Fault.POWER_SUPPLY: evidence(POWERED, power=port(), budget=PowerBudget(state="faulty")),
    Fault.NOTHING_DRAWS: evidence(POWERED, power=port()),
    Fault.NOT_SWITCHED: evidence(
        REMOVED,
        events.PowerCycleFailed(mac=MAC, port=str(PORT), operation="1", reason="172.30.4.250 did not answer in time."),
    ),
    Fault.FLAPPING: evidence(*FLAPS, *FLAPS, *FLAPS, *FLAPS, every=10.0, after=10.0),
    Fault.NO_LINK: evidence(POWERED, power=attrs.evolve(WORKING, link_up=False)),
    Fault.NO_DISCOVER: evidence(POWERED, power=WORKING, after=75.0),
    Fault.NEVER_SEEN: evidence(),
    Fault.STRANGER: evidence(events.StrangerSeen(mac=MAC, stage=Stage.EEPROM, model="4B"), node=None),
    Fault.OTHER_SERVER: evidence(
        POWERED, OFFER, events.OtherServerChosen(mac=MAC, server=IPv4Address("172.30.4.254")), OFFER
    ),
    Fault.ADDRESS_HELD: evidence(POWERED, events.AddressHeld(mac=MAC, address=ADDRESS, holder=OTHER_MAC)),
    Fault.ADDRESS_TAKEN: evidence(POWERED, OFFER, LEASE, events.AddressDeclined(mac=MAC, address=ADDRESS)),
    Fault.ADDRESS_REFUSED: evidence(
        POWERED, OFFER, events.AddressRefused(mac=MAC, address=ADDRESS, reason="172.30.4.13 is not for this board")
    ),
    Fault.POOL_EXHAUSTED: evidence(POWERED, events.PoolExhausted(mac=MAC, pool="172.30.4.100-172.30.4.199")),
    Fault.OFFER_IGNORED: evidence(POWERED, OFFER, OFFER, OFFER),
    Fault.NO_TFTP: evidence(POWERED, OFFER, LEASE),
    Fault.WRONG_PREFIX: evidence(
        *UP_TO_LOADING,
        events.BootFilesServed(
            mac=MAC,
            files=1,
            bytes=9,
            retransmits=0,
            missing=("oldrack/config.txt", "oldrack/fixup4.dat"),
            seconds=1.0,
            served=("oldrack/start4.elf",),
        ),
    ),
    Fault.FILE_MISSING: evidence(*UP_TO_LOADING, loaded(("fixup4.dat",), ("89eb9bb9/fixup4.dat",))),
    Fault.FILE_TOO_LARGE: evidence(*UP_TO_LOADING, aborted(block=65_535, size_bytes=100_000_000)),
    Fault.TFTP_STALLS: evidence(*UP_TO_LOADING, aborted()),
    Fault.KERNEL_SILENT: evidence(*UP_TO_LOADING, loaded()),
    Fault.INSTALLER_SILENT: evidence(*UP_TO_LOADING, loaded(), KERNEL, after=130.0),
    Fault.INSTALLER_UNKNOWN: evidence(
        *UP_TO_LOADING,
        loaded(),
        KERNEL,
        events.InstallerUnknown(
            mac=MAC, address=ADDRESS, reason=f"its address belongs to {MAC}, but {OTHER_MAC} is there"
        ),
    ),
    Fault.WRONG_BOARD: evidence(
        *UP_TO_CALL,
        events.IntentClosed(
            mac=MAC, intent="i", state="failed", reason="board 89eb9bb9 answers in the place of board 0e3fa912"
        ),
    ),
    Fault.NO_CARD: evidence(*UP_TO_CALL, failed("no-card", "there is no card at /dev/mmcblk0: is it in its slot")),
    Fault.WRONG_CARD: evidence(*UP_TO_CALL, failed("wrong-card", "/dev/mmcblk0 is not a whole disk")),
    Fault.CARD_TOO_SMALL: evidence(
        *UP_TO_CALL, failed("card-too-small", "the card at /dev/mmcblk0 holds only 67108864 bytes")
    ),
    Fault.CARD_BROKEN: evidence(*UP_TO_CALL, failed("card-broken", "cannot make a file system on /dev/mmcblk0p2")),
    Fault.NO_SYSTEM: evidence(*UP_TO_CALL, BOOT, failed("no-system", "the card holds no system that can start")),
    Fault.IMAGE_MISSING: evidence(*UP_TO_CALL, failed("image-missing", "there is no image bookworm")),
    Fault.IMAGE_BROKEN: evidence(
        *UP_TO_CALL, FORMAT, FETCH, failed("image-broken", "the image ended at byte 400000 of 900000")
    ),
    Fault.IMAGE_DAMAGED: evidence(
        *UP_TO_CALL, FORMAT, FETCH, failed("image-damaged", "the image is damaged: its SHA-256 is 12ab, not 34cd")
    ),
    Fault.IMAGE_UNUSABLE: evidence(*UP_TO_CALL, FORMAT, FETCH, failed("image-unusable", "the image is no gzip file")),
    Fault.INSTALL_STALLS: evidence(*UP_TO_CALL, FORMAT, after=1900.0),
    Fault.INSTALL_PAUSED: evidence(
        *UP_TO_CALL, failed("paused", "an installation of this node failed lately: it may ask again in 55 minutes")
    ),
    Fault.INSTALLER_FAILED: evidence(*UP_TO_CALL, failed("manager", "the manager could not decide: disk full")),
    Fault.NOT_UP: evidence(*UP_TO_CALL, BOOT, after=300.0),
    Fault.AGENT_SILENT: evidence(UP, events.NodeSilent(mac=MAC, misses=3, reason="no answer in time"), after=90.0),
}
"""One for each fault; the reference shows what is said of it."""


def row(fault: Fault, found: Verdict) -> str:
    """The row of a fault in the reference."""
    advice = ADVICE[fault]
    return f"| `{fault.value}` | {advice.cause} | {found.sentence} | {advice.remedy.replace('|', '')} |"


class TableTests(SynchronousTestCase):
    """Each fault."""

    def test_each_fault(self) -> None:
        """The evidence of each fault leads to it, in one line, with a remedy whose gaps are filled."""
        self.assertEqual(set(EXAMPLES), set(Fault))
        for fault, known in EXAMPLES.items():
            found = verdict(known)
            self.assertIs(found.fault, fault, found)
            self.assertTrue(found.remedy and "{" not in found.remedy, found)
            self.assertFalse(found.sentence.endswith(".") or "\n" in found.sentence, found)

    def test_not_before_its_time(self) -> None:
        """A second before the phase has had its time nothing is wrong, save with a stranger and with flapping power."""
        for fault, known in EXAMPLES.items():
            early = attrs.evolve(known, now=known.events[-1].time if known.events else 0.0)
            expected = fault if fault in (Fault.STRANGER, Fault.FLAPPING) else None
            self.assertIs(verdict(early).fault, expected, fault)

    def test_given_up(self) -> None:
        """An operation that has waited long enough gets the verdict at once."""
        for fault, known in EXAMPLES.items():
            given_up = attrs.evolve(known, now=known.events[-1].time if known.events else 0.0, is_given_up=True)
            self.assertIs(verdict(given_up).fault, fault)

    def test_every_fault_has_advice(self) -> None:
        """A cause and a remedy, each whole sentences."""
        self.assertEqual(set(ADVICE), set(Fault))
        for fault, advice in ADVICE.items():
            self.assertTrue(advice.cause.endswith("."), fault)
            self.assertTrue(advice.remedy.endswith((".", "{line}")), fault)

    def test_documented(self) -> None:
        """The reference has the row of each fault, as it is; a missing one is shown ready to paste."""
        rows = set(REFERENCE.read_text().splitlines())
        missing = [wanted for fault, known in EXAMPLES.items() if (wanted := row(fault, verdict(known))) not in rows]
        self.assertEqual(missing, [], f"rows missing in {REFERENCE}:\n" + "\n".join(missing))

    def test_nothing_stale(self) -> None:
        """The reference speaks of no fault that there is not."""
        named = {line.split("`")[1] for line in REFERENCE.read_text().splitlines() if line.startswith("| `")}
        self.assertEqual(named, {fault.value for fault in Fault})


class PatienceTests(SynchronousTestCase):
    """When a phase has had its time."""

    def test_on_its_way(self) -> None:
        """Until the last second it is on its way, with the time so far and at most."""
        before = verdict(evidence(POWERED, after=59.0))
        self.assertEqual(before, Verdict(None, "its power is on, and its firmware starts, 59 s so far of 60 s at most"))
        self.assertIs(verdict(evidence(POWERED, after=60.0)).fault, Fault.NO_DISCOVER)

    def test_firmware_that_begins_anew(self) -> None:
        """Firmware that loads in vain every 10 s is as late as one that hangs: new tries are no new time."""
        rounds = (OFFER, LEASE, LOADING, loaded(("fixup4.dat",), ("89eb9bb9/fixup4.dat",)))
        first_loading = BEGAN + 3 * 2.5
        known = evidence(*rounds * 12, every=2.5, after=0.0)
        self.assertIsNone(verdict(attrs.evolve(known, now=first_loading + PATIENCE[Phase.LOADING] - 1)).fault)
        late = verdict(attrs.evolve(known, now=first_loading + PATIENCE[Phase.LOADING]))
        self.assertIs(late.fault, Fault.FILE_MISSING)

    def test_orders_give_new_time(self) -> None:
        """A power cycle does: what was before is over."""
        rounds = (OFFER, LEASE, LOADING)
        self.assertIsNone(verdict(evidence(*rounds * 30, POWERED, *rounds, after=100.0)).fault)
        self.assertIsNone(verdict(evidence(*rounds * 30, POWERED, after=50.0)).fault)
        self.assertIs(verdict(evidence(POWERED, *rounds * 30, POWERED, after=70.0)).fault, Fault.NO_DISCOVER)

    def test_work_is_a_sign_of_life(self) -> None:
        """An installer that tells of its work has time from its last word on."""
        words = [events.InstallerReported(mac=MAC, text="unpack", fraction=0.1)] * 3
        known = evidence(*UP_TO_CALL, FORMAT, FETCH, *words, every=1000.0, after=1700.0)
        self.assertIsNone(verdict(known).fault)
        self.assertIs(verdict(attrs.evolve(known, now=known.now + 200.0)).fault, Fault.INSTALL_STALLS)

    def test_work_outlives_its_conversation(self) -> None:
        """A node that calls again while it works on its card has the time of the work, from its last word on."""
        known = evidence(*UP_TO_CALL, FORMAT, CALLED, after=1000.0)
        self.assertIsNone(verdict(known).fault)
        late = verdict(attrs.evolve(known, now=known.now + 1000.0))
        self.assertIs(late.fault, Fault.INSTALL_STALLS)
        self.assertIn("formatting its card", late.sentence)

    def test_a_call_after_a_failure(self) -> None:
        """One whose work has failed works no more: that it does not go on shows as early as at a first call."""
        complaint = failed("card-broken", "cannot make a file system on /dev/mmcblk0p2")
        known = evidence(*UP_TO_CALL, FORMAT, complaint, CALLED, after=PATIENCE[Phase.GREETING])
        self.assertIs(verdict(known).fault, Fault.CARD_BROKEN)

    def test_off_by_order(self) -> None:
        """What was switched off by an order is off, and no fault."""
        self.assertEqual(verdict(evidence(REMOVED)), Verdict(None, "it is switched off"))
        self.assertIsNone(verdict(evidence(REMOVED, power=port(admin_on=False))).fault)
        self.assertIs(verdict(evidence(REMOVED, power=WORKING)).fault, Fault.NO_DISCOVER)

    def test_a_call_that_is_turned_away(self) -> None:
        """The reason stands, although the node calls again and again and is told that it failed before."""
        again = (CALLED, failed("paused", "an installation of this node failed lately"))
        known = evidence(*UP_TO_CALL, FORMAT, failed("image-damaged", "the image is damaged"), *again * 20, after=1.0)
        self.assertIs(verdict(known).fault, Fault.IMAGE_DAMAGED)

    def test_a_success_makes_old_complaints_old(self) -> None:
        """After an installation nobody remembers an earlier failure."""
        known = evidence(*UP_TO_CALL, failed("no-card", "x"), FORMAT, INSTALLED, BOOT, UP, *UP_TO_CALL, after=200.0)
        self.assertIs(verdict(known).fault, Fault.INSTALLER_SILENT)


class JudgementTests(SynchronousTestCase):
    """Cases that lie close to each other."""

    def of(self, *told: Event, **known: Any) -> Verdict:
        """The verdict a long time after these events."""
        return verdict(evidence(*told, **known))

    def test_rom_takes_an_offer_without_a_word(self) -> None:
        """One OFFER to a boot ROM and then nothing: it took it; five: it did not."""
        self.assertIs(self.of(ROM_OFFER).fault, Fault.NO_TFTP)
        self.assertIs(self.of(*[ROM_OFFER] * 5).fault, Fault.OFFER_IGNORED)

    def test_a_file_that_came_at_last(self) -> None:
        """A transfer that was begun anew and came whole is not what stopped the boot."""
        self.assertIs(self.of(*UP_TO_LOADING, aborted(), loaded()).fault, Fault.KERNEL_SILENT)

    def test_large_file_that_stops_earlier(self) -> None:
        """A large file that stops before block 65,535 stops for another reason, and so does one that just fits."""
        self.assertIs(self.of(*UP_TO_LOADING, aborted(size_bytes=100_000_000)).fault, Fault.TFTP_STALLS)
        exact = aborted(block=65_535, size_bytes=65_535 * 1468)
        self.assertIs(self.of(*UP_TO_LOADING, exact).fault, Fault.TFTP_STALLS)

    def test_events_of_before(self) -> None:
        """Events written before there were sizes still make a verdict."""
        old = events.TransferAborted(mac=MAC, name="kernel8.img", block=3, reason="no answer for 15 seconds")
        self.assertIn("at block 3: no answer", self.of(*UP_TO_LOADING, old).sentence)

    def test_no_report(self) -> None:
        """Without events the phase alone still says something."""
        status = evidence(*UP_TO_LOADING).status
        found = verdict(Evidence(now=BEGAN + LONG, status=status, node=NODE))
        self.assertIs(found.fault, Fault.TFTP_STALLS)
        self.assertIn("did not come to an end", found.sentence)

    def test_initramfs_that_the_kernel_waits_for(self) -> None:
        """A kernel that runs, and no initramfs came: the file is the reason."""
        report = loaded(("initramfs.gz",), ("89eb9bb9/initramfs.gz",))
        self.assertIs(self.of(*UP_TO_LOADING, report, KERNEL).fault, Fault.FILE_MISSING)

    def test_power_goes_first(self) -> None:
        """Whatever was heard last: a port that gives no power now explains it."""
        dark = port(state="fault")
        for told in (UP_TO_LOADING, (*UP_TO_LOADING, KERNEL), UP_TO_CALL, (*UP_TO_CALL, BOOT), (*UP_TO_CALL, FORMAT)):
            self.assertIs(self.of(*told, power=dark).fault, Fault.POWER_FAULT)
        self.assertIs(self.of(UP, events.NodeSilent(mac=MAC, misses=3, reason=""), power=dark).fault, Fault.POWER_FAULT)

    def test_up_with_another_power_supply(self) -> None:
        """A node that is up needs no power from the switch."""
        self.assertEqual(self.of(UP, power=port()), Verdict(None, "it is up"))

    def test_up_by_guess(self) -> None:
        """That a node is up because it called no more is doubted after an installation, and told otherwise."""
        self.assertIs(self.of(*UP_TO_CALL, FORMAT, INSTALLED, BOOT, UP_BY_TIME).fault, Fault.NOT_UP)
        plain = self.of(*UP_TO_CALL, BOOT, UP_BY_TIME)
        self.assertEqual((plain.fault, "as far as one can tell" in plain.sentence), (None, True))
        seen = self.of(*UP_TO_CALL, FORMAT, INSTALLED, BOOT, UP_BY_TIME, SYSTEM, every=100.0)
        self.assertIsNone(seen.fault)

    def test_system_without_agent(self) -> None:
        """A system that has its address and whose agent should answer is not "not up"."""
        self.assertIs(self.of(*UP_TO_CALL, BOOT, SYSTEM).fault, Fault.AGENT_SILENT)

    def test_silent_because_it_went_elsewhere(self) -> None:
        """A node that fell silent after it took another server's address."""
        gone = (events.OtherServerChosen(mac=MAC, server=ADDRESS), events.NodeSilent(mac=MAC, misses=3, reason="x"))
        self.assertIs(self.of(*UP_TO_CALL, BOOT, SYSTEM, UP, *gone).fault, Fault.OTHER_SERVER)

    def test_stranger_with_a_place(self) -> None:
        """The line is one that hosts.csv takes, with the address that is expected at the port."""
        found = self.of(events.StrangerSeen(mac=MAC, stage=Stage.ROM), node=None, free_address=ADDRESS)
        [known] = parse(found.remedy.rpartition(": ")[2].encode()).rows
        self.assertEqual((known.mac, known.address), (MAC, ADDRESS))

    def test_a_stranger_that_has_become_a_node(self) -> None:
        """It is expected to ask again."""
        found = self.of(events.StrangerSeen(mac=MAC, stage=Stage.ROM), power=WORKING)
        self.assertIs(found.fault, Fault.NO_DISCOVER)

    def test_loops_of_the_system(self) -> None:
        """A node that starts anew each time when it was told to boot has a broken system, no broken power."""
        rounds = (OFFER, LEASE, LOADING, KERNEL, CALLED, BOOT)
        self.assertIs(verdict(evidence(*rounds * 4, OFFER, every=5.0, after=1.0)).fault, Fault.NOT_UP)

    def test_ordered_restarts(self) -> None:
        """Restarts that were ordered are no flapping, however many."""
        rounds = (POWERED, OFFER, LEASE, LOADING, KERNEL)
        self.assertIsNone(verdict(evidence(*rounds * 5, every=5.0, after=1.0)).fault)

    def test_an_order_ends_a_series(self) -> None:
        """A node that started anew again and again, and was then power-cycled, is on its way."""
        self.assertIsNone(verdict(evidence(*FLAPS * 4, POWERED, every=5.0, after=1.0)).fault)
        told = (*FLAPS * 4, POWERED, *FLAPS)
        self.assertIsNone(verdict(evidence(*told, every=5.0, after=1.0)).fault)
        self.assertIs(verdict(evidence(*told, *FLAPS * 3, every=5.0, after=1.0)).fault, Fault.FLAPPING)

    def test_flapping_ends(self) -> None:
        """Ten minutes after its last start a node that is up is well."""
        told = (*FLAPS * 4, CALLED, BOOT, UP)
        self.assertIs(verdict(evidence(*told, every=10.0, after=10.0)).fault, Fault.FLAPPING)
        self.assertIsNone(verdict(evidence(*told, every=10.0, after=700.0)).fault)

    def test_network_texts_are_harmless(self) -> None:
        """What came from the network cannot draw on the terminal."""
        found = self.of(*UP_TO_CALL, failed("x", "\x1b[2J" + "y" * 1000))
        self.assertTrue(found.sentence.isprintable())
        self.assertLess(len(found.sentence), 300)


class NeedsTests(SynchronousTestCase):
    """Boot files."""

    def test_parts(self) -> None:
        """Serial and MAC are no folders, a doubled slash means nothing, overlays are no prefix."""
        for name, expected in (
            ("89eb9bb9/start4.elf", ("", "start4.elf")),
            ("89eb9bb9//cmdline.txt", ("", "cmdline.txt")),
            ("dc-a6-32-01-36-c2/config.txt", ("", "config.txt")),
            ("oldrack/config.txt", ("oldrack", "config.txt")),
            ("89eb9bb9/overlays/x.dtbo", ("", "x.dtbo")),
            ("/kernel8.img", ("", "kernel8.img")),
            ("", ("", "")),
        ):
            self.assertEqual(parts(name), expected)

    def test_probes(self) -> None:
        """What is normally missing is not needed."""
        self.assertEqual(needed(ALL_FILES, PROBES), [])
        self.assertEqual(needed(ALL_FILES, ("89eb9bb9/kernel_2712.img", "recover4.elf", "armstub8-2712.bin")), [])

    def test_found_without_prefix(self) -> None:
        """A name that was missing with its prefix and came without it is there."""
        self.assertEqual(needed(("start4.elf", "kernel8.img"), ("mypi/start4.elf",)), [])

    def test_first_need(self) -> None:
        """Of several needs the first one of the boot counts."""
        self.assertEqual(needed(("start4.elf",), ("kernel8.img", "fixup4.dat")), ["fixup4.dat"])

    def test_named_in_config(self) -> None:
        """A file of a strange name must have been named by somebody."""
        self.assertEqual(needed(ALL_FILES, (*PROBES, "89eb9bb9/my-initramfs")), ["89eb9bb9/my-initramfs"])

    def test_foreign_folder(self) -> None:
        """A folder is foreign only if the board looked nowhere else."""
        self.assertEqual(foreign_folder(["old/fixup4.dat"], ["old/start4.elf", "old/fixup4.dat"]), "old")
        self.assertEqual(foreign_folder(["old/fixup4.dat"], ["old/fixup4.dat", "fixup4.dat"]), "")
        self.assertEqual(foreign_folder(["fixup4.dat"], ["fixup4.dat"]), "")


class ComplaintTests(SynchronousTestCase):
    """What the installer says."""

    def test_codes_of_the_installer(self) -> None:
        """Every code in the script and in the manager's own complaints is known."""
        script = (ROOT / "install" / "initram" / "hello_protocol.sh").read_text()
        said = {code for code in CODES if f"fail {code} " in script or f'"{code} ' in script}
        self.assertEqual(len(said), 10, said)
        documented = (ROOT / "docs" / "protocols" / "hello.md").read_text()
        self.assertEqual([code for code in CODES if f"`{code}`" not in documented], [])

    def test_words_of_older_installers(self) -> None:
        """An installer without codes is understood by what it says: the texts of its script, word for word."""
        for reason, fault in (
            ("there is no card at /dev/mmcblk0: is it in its slot", Fault.NO_CARD),
            ("/dev/sda is neither an SD card nor eMMC nor a removable disk: not touched", Fault.WRONG_CARD),
            ("the card at /dev/mmcblk0 holds only 50331648 bytes", Fault.CARD_TOO_SMALL),
            ("the image does not fit on the card", Fault.CARD_TOO_SMALL),
            ("cannot divide the card: sfdisk: failed", Fault.CARD_BROKEN),
            ("the partitions of /dev/mmcblk0 do not appear", Fault.CARD_BROKEN),
            ("the image is damaged: its SHA-256 is 12, not 34", Fault.IMAGE_DAMAGED),
            ("the image ended at byte 5 of 9: the manager sends no more", Fault.IMAGE_BROKEN),
            ("the manager refuses the image: HTTP 410", Fault.IMAGE_BROKEN),
            ("cannot unpack the image: tar: short read", Fault.IMAGE_UNUSABLE),
            ("the image holds no /sbin/init: no system can start", Fault.IMAGE_UNUSABLE),
            ("the card holds no system that can start: reinstall this node", Fault.NO_SYSTEM),
            ("something new", Fault.INSTALLER_FAILED),
        ):
            self.assertIs(fault_of("", reason), fault, reason)
            self.assertIs(fault_of("a-code-of-tomorrow", reason), fault, reason)


class BootsTests(SynchronousTestCase):
    """Boots told from events."""

    def test_told_apart(self) -> None:
        """Each DISCOVER of the firmware after another phase is a boot; the last one is the status's."""
        known = evidence(*FLAPS, *FLAPS, POWERED, *FLAPS, *FLAPS)
        boots = boots_of(known.status, known.events)
        self.assertEqual([boot.furthest for boot in boots], [Phase.STARTING] * 4)
        self.assertEqual([boot.was_ordered for boot in boots], [False, False, True, False])
        self.assertEqual(len(vain(boots)), 1)
        self.assertEqual([boot.began for boot in restarts(boots[:2], 0.0)], [boots[0].began])
        self.assertEqual([boot.began for boot in restarts(boots, 0.0)], [boots[2].began])
        self.assertEqual(restarts(boots, boots[3].began + 1), ())

    def test_without_events(self) -> None:
        """The status alone is a boot too."""
        status = evidence(*FLAPS).status
        self.assertEqual(len(boots_of(status, ())), 1)

    def test_durations(self) -> None:
        """As people say them."""
        for seconds, words in ((-5, "0 s"), (75, "75 s"), (300, "5 min"), (7200, "2 h"), (200_000, "2 days")):
            self.assertEqual(duration(seconds), words)


class TotalityTests(SynchronousTestCase):
    """Whatever is known."""

    @given(
        status=instances(NodeStatus, mac=st.just(MAC)),
        told=st.lists(any_event(mac=st.sampled_from([MAC, OTHER_MAC, None])), max_size=12),
        node=st.none() | instances(Node),
        power=st.none() | instances(PortPower),
        budget=st.none() | instances(PowerBudget),
        now=values(float),
        watched_since=values(float),
        is_given_up=st.booleans(),
    )
    def test_any_evidence(self, status: NodeStatus, told: list[Event], **known: Any) -> None:
        """Any evidence has a verdict: a sentence, and a remedy if there is a fault; nothing in it harms a terminal."""
        found = verdict(Evidence(status=status, events=story(*told), **known))
        self.assertTrue(found.sentence)
        self.assertEqual(bool(found.remedy), found.fault is not None)
        self.assertTrue((found.sentence + found.remedy).isprintable())

    def test_every_phase_has_a_judge(self) -> None:
        """None is forgotten."""
        self.assertEqual((set(JUDGES), set(diagnosis.WORK)), (set(Phase), set(Phase)))

    @given(st.lists(any_event(mac=st.just(MAC)), max_size=20), st.sampled_from([MACAddress(b"\2" * 6), MAC]))
    def test_any_story(self, told: list[Event], mac: MACAddress) -> None:
        """Any order of events leads to a status that has a verdict, long after and at once."""
        for after in (0.0, LONG):
            self.assertTrue(verdict(evidence(*told, after=after)).sentence)
