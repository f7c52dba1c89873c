"""
From events to statuses: every boot as it should look, and every order of events survived.
"""

from ipaddress import IPv4Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet import events
from piman.fleet.events import CATALOGUE, Event, Recorded
from piman.fleet.model import MACAddress, Node, NodeStatus, Phase, Slot, Stage, SwitchPort
from piman.fleet.nodes import STRANGERS, NodeRegistry
from piman.fleet.progress import BOOTCODE_SECONDS, FOLDS, OFFER_RETRY_SECONDS, TIMELINE_LENGTH, advance
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC, any_event, instances

SERIAL = "89eb9bb9"


def told(*happened: tuple[float, Event], status: NodeStatus | None = None) -> NodeStatus:
    """The status after these events at these times."""
    status = status or NodeStatus(mac=MAC)
    for time, event in happened:
        status = advance(status, Recorded(id=status.last_event_id + 1, time=time, event=event))
    return status


def at(phase: Phase, since: float = 0.0) -> NodeStatus:
    """A status in this phase."""
    return NodeStatus(mac=MAC, phase=phase, since=since, last_seen=since, attempt=1)


def offered(stage: Stage = Stage.EEPROM, **more: Any) -> Event:
    """An OFFER."""
    return events.AddressOffered(mac=MAC, address=ADDRESS, stage=stage, **more)


def leased(stage: Stage = Stage.EEPROM, **more: Any) -> Event:
    """An ACK."""
    return events.AddressLeased(mac=MAC, address=ADDRESS, stage=stage, expires=600.0, **more)


LOADING = events.LoadingStarted(mac=MAC, name="config.txt")
LOADED = events.BootFilesServed(mac=MAC, files=5, bytes=9_000_000, retransmits=0, missing=(), seconds=4.0)
CONNECTED = events.InstallerConnected(mac=MAC, address=ADDRESS, version=2)
FORMAT = events.FormatOrdered(mac=MAC, intent="1", attempt=1, image="default", digest="d")
IMAGE = events.ImageStarted(mac=MAC, intent="1", door="http")
IMAGE_SENT = events.ImageSent(mac=MAC, intent="1", door="http", bytes=1, seconds=1.0)
INSTALLED = events.Installed(mac=MAC, intent="1", digest="d")
BOOT = events.BootOrdered(mac=MAC)
UP = events.NodeUp(mac=MAC, evidence="agent")
SILENT = events.NodeSilent(mac=MAC, misses=3, reason="timeout")
RECOVERED = events.NodeRecovered(mac=MAC)
RENEWED = events.LeaseRenewed(mac=MAC, address=ADDRESS, stage=Stage.OS, expires=1200.0)


class BootTests(SynchronousTestCase):
    """Boots as they are."""

    def test_installation(self) -> None:
        """A Pi 4 that is installed passes through every phase, each with its time."""
        status = told(
            (1, offered()), (2, leased()), (3, LOADING), (7, LOADED), (9, leased(Stage.KERNEL)), (12, CONNECTED),
            (13, FORMAT), (20, IMAGE), (60, IMAGE_SENT), (90, INSTALLED), (120, leased(Stage.OS)), (130, UP),
        )  # fmt: skip
        self.assertEqual(
            status.timeline,
            (
                (Phase.OFFERED, 1),
                (Phase.LEASED, 2),
                (Phase.LOADING, 3),
                (Phase.STARTING, 9),
                (Phase.GREETING, 12),
                (Phase.FORMATTING, 13),
                (Phase.IMAGING, 20),
                (Phase.BOOTING, 90),
                (Phase.UP, 130),
            ),
        )
        self.assertEqual((status.phase, status.since, status.attempt, status.boot_started), (Phase.UP, 130, 1, 1))
        self.assertEqual(status.detail, "is up: its agent answers")

    def test_what_is_on_the_card(self) -> None:
        """Installed: that image; while it is formatted: none; a node that names another digest is believed."""
        image = events.Installed(mac=MAC, intent="1", digest="ab" * 32, image="lite")
        installed = told((1, CONNECTED), (2, FORMAT), (9, image), (10, BOOT))
        self.assertEqual((installed.digest, installed.image, installed.installed), ("ab" * 32, "lite", 9))
        same = told((20, events.BootOrdered(mac=MAC, digest="ab" * 32)), (30, BOOT), status=installed)
        self.assertEqual((same.digest, same.image, same.installed), ("ab" * 32, "lite", 9))
        other = told((20, events.BootOrdered(mac=MAC, digest="cd" * 32)), status=installed)
        self.assertEqual((other.phase, other.digest, other.image, other.installed), (Phase.BOOTING, "cd" * 32, "", 0))
        formatted = told((20, FORMAT), status=installed)
        self.assertEqual((formatted.digest, formatted.image, formatted.installed), (None, "", 0))

    def test_rom_boot(self) -> None:
        """A ROM-family board never requests and asks again after bootcode.bin: one boot all the same."""
        status = told(
            (1, offered(Stage.ROM)), (2, LOADING), (4, offered(Stage.ROM)), (9, leased(Stage.KERNEL)), (12, CONNECTED)
        )
        self.assertEqual([phase.value for phase, _ in status.timeline], ["offered", "loading", "starting", "greeting"])
        self.assertEqual((status.attempt, status.boot_started), (1, 1))

    def test_rom_reboots_later(self) -> None:
        """A ROM-family board that asks again long after it began to load begins a new boot."""
        status = told((1, offered(Stage.ROM)), (2, LOADING), (2.1 + BOOTCODE_SECONDS, offered(Stage.ROM)))
        self.assertEqual((status.phase, status.attempt), (Phase.OFFERED, 2))

    def test_offer_retries(self) -> None:
        """Firmware that asks every few seconds is at one and the same boot."""
        status = told(*((second, offered()) for second in range(0, 600, 45)))
        self.assertEqual((status.attempt, status.since, status.timeline), (1, 0, ((Phase.OFFERED, 0),)))

    def test_offer_after_a_pause(self) -> None:
        """Firmware that asks again after a long silence has been switched off in between."""
        status = told((0, offered()), (OFFER_RETRY_SECONDS + 1, offered()))
        self.assertEqual((status.attempt, status.boot_started), (2, OFFER_RETRY_SECONDS + 1))

    def test_firmware_begins_a_boot(self) -> None:
        """A firmware DISCOVER in any later phase begins a new boot with an empty timeline."""
        for phase in Phase:
            if phase is Phase.OFFERED:
                continue
            status = told((500, offered()), status=at(phase))
            self.assertEqual(
                (status.phase, status.attempt, status.boot_started - status.timeline[0][1]), (Phase.OFFERED, 2, 0)
            )

    def test_power_begins_the_boot(self) -> None:
        """When the power was switched on for it, a boot began then, and the timeline says so."""
        status = told((5, offered()), status=at(Phase.POWERED, since=2))
        self.assertEqual((status.boot_started, status.timeline), (2, ((Phase.POWERED, 2), (Phase.OFFERED, 5))))

    def test_unseen_discover(self) -> None:
        """A boot whose first packets the manager missed begins with the first thing it sees."""
        for event, phase in ((leased(), Phase.LEASED), (LOADING, Phase.LOADING), (CONNECTED, Phase.GREETING)):
            for resting in (Phase.UNKNOWN, Phase.OFF, Phase.UP, Phase.SILENT, Phase.STUCK):
                status = told((50, event), status=at(resting))
                self.assertEqual((status.phase, status.attempt, status.boot_started), (phase, 2, 50))

    def test_reinstall_within_a_boot(self) -> None:
        """A node that calls again after a broken image is still at the same boot."""
        interrupted = events.ImageInterrupted(mac=MAC, intent="1", door="tcp", sent_bytes=10_000_000, reason="reset")
        status = told(
            (1, offered()), (2, CONNECTED), (3, FORMAT), (4, IMAGE), (5, interrupted), (6, CONNECTED), (7, FORMAT)
        )
        self.assertEqual((status.phase, status.attempt), (Phase.FORMATTING, 1))

    def test_late_duplicates(self) -> None:
        """An ACK repeated while the board loads already does not lead back."""
        status = told((1, offered()), (2, leased()), (3, LOADING), (3, leased()))
        self.assertEqual((status.phase, status.attempt), (Phase.LOADING, 1))

    def test_timeline_is_bounded(self) -> None:
        """A node that goes round for ever does not fill the memory."""
        status = told((0, offered()), *((second, (CONNECTED, FORMAT)[second % 2]) for second in range(500)))
        self.assertEqual((len(status.timeline), status.boot_started), (TIMELINE_LENGTH, 0))
        self.assertEqual(status.timeline[-1], (Phase.FORMATTING, 499))


class PhaseTests(SynchronousTestCase):
    """Single events whose effect on the phase is easily got wrong."""

    def test_renewal(self) -> None:
        """A renewal changes no phase, and shows that the node lives."""
        for phase in Phase:
            status = told((50, RENEWED), status=at(phase))
            self.assertEqual((status.phase, status.last_seen, status.address), (phase, 50, ADDRESS))

    def test_os_lease(self) -> None:
        """The installed system asking for an address means booting, except where the node is watched already."""
        for phase in Phase:
            expected = phase if phase in (Phase.UP, Phase.SILENT) else Phase.BOOTING
            self.assertEqual(told((50, leased(Stage.OS)), status=at(phase)).phase, expected)

    def test_kernel_lease(self) -> None:
        """The kernel asking for an address means starting, whatever was before."""
        for phase in Phase:
            self.assertEqual(told((50, leased(Stage.KERNEL)), status=at(phase)).phase, Phase.STARTING)

    def test_initramfs_lease(self) -> None:
        """The initramfs may ask for an address in the middle of its work."""
        for phase in (Phase.GREETING, Phase.FORMATTING, Phase.IMAGING, Phase.BOOTING):
            self.assertIs(told((50, leased(Stage.INITRAMFS)), status=at(phase)).phase, phase)
        self.assertIs(told((50, leased(Stage.INITRAMFS)), status=at(Phase.LOADING)).phase, Phase.STARTING)

    def test_other_boot_loaders(self) -> None:
        """U-Boot and its like move a dark board on, and never one that is further."""
        self.assertIs(told((1, offered(Stage.OTHER))).phase, Phase.OFFERED)
        self.assertIs(told((1, offered(Stage.OTHER)), (2, leased(Stage.OTHER))).phase, Phase.LEASED)
        for phase in (Phase.LOADING, Phase.FORMATTING, Phase.UP):
            for event in (offered(Stage.OTHER), leased(Stage.OTHER), offered(Stage.OS), offered(Stage.KERNEL)):
                self.assertIs(told((1, event), status=at(phase)).phase, phase)

    def test_silent(self) -> None:
        """A node that was up falls silent; one that is on its way through a boot does not."""
        self.assertIs(told((9, SILENT), status=at(Phase.UP)).phase, Phase.SILENT)
        self.assertIs(told((9, SILENT), status=at(Phase.LOADING)).phase, Phase.LOADING)
        self.assertEqual(told((9, SILENT), status=at(Phase.UP, since=5)).last_seen, 5)

    def test_recovered(self) -> None:
        """A silent node that answers is up, within the same boot."""
        status = told((9, SILENT), (12, RECOVERED), status=at(Phase.UP))
        self.assertEqual((status.phase, status.attempt), (Phase.UP, 1))

    def test_installer_gave_up(self) -> None:
        """A node whose installer cannot go on is stuck, in its own words."""
        status = told((1, events.InstallerFailed(mac=MAC, reason="no card")), status=at(Phase.FORMATTING))
        self.assertEqual((status.phase, status.detail), (Phase.STUCK, "its installer cannot go on: no card"))

    def test_stranger(self) -> None:
        """Of a board that no file names nothing is claimed but what it said."""
        status = told((1, events.StrangerSeen(mac=MAC, stage=Stage.ROM, serial=SERIAL, model="3B")))
        self.assertEqual((status.phase, status.serial, status.model, status.attempt), (Phase.UNKNOWN, SERIAL, "3B", 0))

    def test_address_lost(self) -> None:
        """Declined, released, or another server's: the address is not the node's any more."""
        for event in (
            events.AddressDeclined(mac=MAC, address=ADDRESS),
            events.AddressReleased(mac=MAC, address=ADDRESS),
            events.OtherServerChosen(mac=MAC, server=IPv4Address("172.30.4.99")),
        ):
            self.assertIsNone(told((1, leased()), (2, event)).address)
        released = events.AddressReleased(mac=MAC, address=IPv4Address("172.30.4.99"))
        self.assertEqual(told((1, leased()), (2, released)).address, ADDRESS)

    def test_identity_stays(self) -> None:
        """What a later stage does not say of the board is not forgotten."""
        status = told((1, offered(serial=SERIAL, model="4B")), (9, leased(Stage.KERNEL)))
        self.assertEqual((status.serial, status.model, status.stage), (SERIAL, "4B", Stage.KERNEL))

    def test_boot_by_time_is_no_sighting(self) -> None:
        """Taking a node to be up because time passed does not claim that it was seen."""
        status = told((1, BOOT), (61, events.NodeUp(mac=MAC, evidence="time")))
        self.assertEqual((status.phase, status.last_seen), (Phase.UP, 1))

    def test_agent(self) -> None:
        """A node whose agent has answered has one until it is installed anew."""
        by_address = events.NodeUp(mac=MAC, evidence="address")
        for story, has_agent in (
            ([by_address], False),
            ([UP], True),
            ([UP, SILENT, RECOVERED, offered(), BOOT, by_address], True),
            ([UP, INSTALLED, by_address], False),
        ):
            self.assertIs(told(*enumerate(story)).has_agent, has_agent)

    def test_late_summary(self) -> None:
        """The summary of the boot files does not hide what was told after them."""
        failed = events.InstallerReported(mac=MAC, text="no card")
        self.assertEqual(told((1, CONNECTED), (2, failed), (3, LOADED)).detail, "installer: no card")
        self.assertIn("loaded 5 boot files", told((1, LOADING), (3, LOADED)).detail)


class TotalTests(SynchronousTestCase):
    """No event is impossible."""

    def test_every_class_is_decided(self) -> None:
        """Each class of the catalogue is folded or ignored on purpose, and nothing else is in the table."""
        self.assertEqual(set(FOLDS), set(CATALOGUE))

    def test_ignored(self) -> None:
        """What is ignored is about the manager and not about a node."""
        ignored = {kind.__name__ for kind, fold in FOLDS.items() if fold is None}
        manager = {"ManagerStarted", "ClockStepped", "ConfigurationReloaded", "ConfigurationRejected"}
        manager |= {"ConfigurationEdited", "StoreReplaced", "RecordsRejected", "LoggedIn", "LoginRefused"}
        operations = {"OperationStarted", "OperationCancelled", "OperationEnded", "RecoveryHeldBack"}
        images = {"ImageChosen", "ImageChoiceWithdrawn"}  # what is wanted, not what was seen
        self.assertEqual(ignored, manager | operations | images | {"AddressOccupied"})

    @given(st.sampled_from(Phase), any_event(mac=st.just(MAC)), st.floats(min_value=0, max_value=2e9))
    def test_total(self, phase: Phase, event: Event, time: float) -> None:
        """Any event in any phase gives a status."""
        before = at(phase, since=5.0)
        after = advance(before, Recorded(id=1, time=time, event=event))
        self.assertIsInstance(after.phase, Phase)
        self.assertLessEqual(len(after.detail), 1000)
        self.assertEqual(after.last_event_id, 0 if FOLDS[type(event)] is None else 1)

    @given(
        st.lists(st.tuples(any_event(mac=st.sampled_from([MAC, OTHER_MAC, None])), st.integers(0, 300)), max_size=30)
    )
    def test_idempotent(self, story: list[tuple[Event, int]]) -> None:
        """Replaying any part of any story, in any mixture of duplicates, changes nothing."""
        recorded = []
        time = 0.0
        for number, (event, pause) in enumerate(story, start=1):
            time += pause
            recorded.append(Recorded(id=number, time=time, event=event))
        status = NodeStatus(mac=MAC)
        doubled = NodeStatus(mac=MAC)
        for place, item in enumerate(recorded):
            status = advance(status, item)
            for repeated in (item, item, *recorded[: place + 1]):
                doubled = advance(doubled, repeated)
        self.assertEqual(status, doubled)
        for item in recorded:
            self.assertIs(advance(status, item), status)

    @given(st.lists(any_event(mac=st.just(MAC)), max_size=30))
    def test_consistent(self, story: list[Event]) -> None:
        """After any story the timeline ends in the phase, and the phase began when the timeline says."""
        status = told(*enumerate(story))
        if status.timeline:
            self.assertEqual(status.timeline[-1], (status.phase, status.since))
            self.assertLessEqual(status.boot_started, status.since)
        else:
            self.assertIs(status.phase, Phase.UNKNOWN)

    @given(any_event(mac=st.just(OTHER_MAC)))
    def test_another_node(self, event: Event) -> None:
        """An event of another node changes nothing."""
        status = at(Phase.UP)
        self.assertIs(advance(status, Recorded(id=9, time=9.0, event=event)), status)

    def test_foreign_class(self) -> None:
        """An event of a class that a plugin made changes nothing."""

        class PluginEvent(Event):
            pass

        status = at(Phase.UP)
        self.assertIs(advance(status, Recorded(id=9, time=9.0, event=PluginEvent(mac=MAC))), status)


NODE = Node(mac=MAC, address=ADDRESS, hostname="pi13")
OTHER = Node(mac=OTHER_MAC, address=IPv4Address("172.30.4.14"))
SLOT = Slot(address=IPv4Address("172.30.4.15"), port=SwitchPort(IPv4Address("172.30.4.254"), 15))


class RegistryTests(SynchronousTestCase):
    """Who is there and what was seen."""

    def setUp(self) -> None:
        """Two nodes and a slot."""
        self.registry = NodeRegistry([NODE, OTHER], [SLOT])
        self.last_id = 0

    def happen(self, event: Event, time: float = 1.0) -> None:
        """Tell the registry."""
        self.last_id += 1
        self.registry.observe(Recorded(id=self.last_id, time=time, event=event))

    def test_counts(self) -> None:
        """Each of the operator's nodes is counted in its phase, strangers are not, and all phases are there."""
        self.happen(offered())
        self.happen(UP)
        self.happen(events.NodeUp(mac=MACAddress.parse("b8:27:eb:00:00:99"), evidence="agent"))
        counts = self.registry.counts()
        self.assertEqual({phase: count for phase, count in counts.items() if count}, {Phase.UP: 1, Phase.UNKNOWN: 1})
        self.assertEqual(set(counts), set(Phase))

    def test_serial_clash(self) -> None:
        """A serial that two nodes show leads to neither."""
        self.happen(offered(serial=SERIAL))
        self.assertEqual(self.registry.with_serial(SERIAL), NODE)
        self.happen(events.AddressOffered(mac=OTHER_MAC, address=ADDRESS, stage=Stage.ROM, serial=SERIAL))
        self.assertIsNone(self.registry.with_serial(SERIAL))
        self.happen(events.AddressOffered(mac=OTHER_MAC, address=ADDRESS, stage=Stage.ROM, serial="00000001"))
        self.assertEqual(self.registry.with_serial(SERIAL), NODE)
        self.assertEqual(self.registry.with_serial("00000001"), OTHER)

    def test_serial_of_a_stranger(self) -> None:
        """A stranger's serial leads to no node, and takes nothing from the node that has it."""
        stranger = MACAddress.parse("b8:27:eb:00:00:99")
        self.happen(events.StrangerSeen(mac=stranger, stage=Stage.ROM, serial=SERIAL))
        self.assertIsNone(self.registry.with_serial(SERIAL))
        self.happen(offered(serial=SERIAL))
        self.assertEqual(self.registry.with_serial(SERIAL), NODE)

    def test_reload(self) -> None:
        """New files change who is known; what was seen stays."""
        self.happen(offered(serial=SERIAL))
        self.registry.replace_nodes([OTHER], [])
        self.assertIsNone(self.registry.node(MAC))
        self.assertIsNone(self.registry.reserved_by(ADDRESS))
        self.assertIsNone(self.registry.with_serial(SERIAL))
        self.assertEqual((self.registry.slots(), self.registry.counts()[Phase.OFFERED]), ((), 0))
        self.assertEqual([status.mac for status in self.registry.strangers()], [MAC])
        self.registry.replace_nodes([NODE, OTHER], [SLOT])
        self.assertEqual(self.registry.with_serial(SERIAL), NODE)
        self.assertEqual((self.registry.slots(), self.registry.counts()[Phase.OFFERED]), ((SLOT,), 1))
        self.assertEqual(self.registry.strangers(), [])
        self.assertIs(self.registry.status(MAC).phase, Phase.OFFERED)

    def test_double_entries(self) -> None:
        """Of two entries for one board or one address the first counts."""
        registry = NodeRegistry([NODE, Node(mac=MAC, hostname="later"), Node(mac=OTHER_MAC, address=ADDRESS)])
        self.assertEqual(registry.node(MAC), NODE)
        self.assertEqual(registry.reserved_by(ADDRESS), NODE)

    def test_restore(self) -> None:
        """What an earlier process saw is taken, except where this one knows better."""
        self.happen(offered())
        self.registry.restore([at(Phase.SILENT), NodeStatus(mac=OTHER_MAC, phase=Phase.UP, last_event_id=5)])
        self.assertIs(self.registry.status(MAC).phase, Phase.OFFERED)
        self.assertIs(self.registry.status(OTHER_MAC).phase, Phase.UP)
        self.assertEqual(self.registry.counts()[Phase.UP], 1)

    def test_strangers_are_bounded(self) -> None:
        """However many boards ask, only so many strangers are kept: the one unseen for longest goes."""
        macs = [MACAddress((0x020000000000 + number).to_bytes(6, "big")) for number in range(STRANGERS)]
        for mac in macs:
            self.happen(events.StrangerSeen(mac=mac, stage=Stage.ROM, serial=str(mac)[-8:]))
        self.happen(events.StrangerSeen(mac=macs[0], stage=Stage.ROM))
        self.happen(events.StrangerSeen(mac=MACAddress(b"newest"), stage=Stage.ROM))
        kept = [status.mac for status in self.registry.strangers()]
        self.assertEqual((len(kept), kept[-2:]), (STRANGERS, [macs[0], MACAddress(b"newest")]))
        self.assertNotIn(macs[1], kept)
        self.assertEqual(self.registry.status(macs[1]), NodeStatus(mac=macs[1]))

    def test_no_node(self) -> None:
        """An event about no node, or one that is ignored, changes nothing and tells nobody."""
        seen: list[NodeStatus] = []
        self.registry.watchers.append(seen.append)
        self.happen(events.ManagerStarted(version="2"))
        self.happen(events.ManagerStarted(mac=MAC, version="2"))
        self.assertEqual((seen, self.registry.statuses()), ([], []))

    def test_watchers(self) -> None:
        """Who watches is told each changed status; one that fails costs the others nothing."""

        def broken(status: NodeStatus) -> None:
            raise RuntimeError("broken watcher")

        seen: list[NodeStatus] = []
        self.registry.watchers.extend([broken, seen.append])
        self.happen(offered())
        self.assertEqual([(status.mac, status.phase) for status in seen], [(MAC, Phase.OFFERED)])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_take_changed(self) -> None:
        """What a snapshot has to write is every status that changed since the last one, once."""
        self.happen(offered())
        self.happen(leased())
        self.assertEqual(self.registry.take_changed(), [self.registry.status(MAC)])
        self.assertEqual(self.registry.take_changed(), [])

    def test_return_changed(self) -> None:
        """What could not be written comes again, as it is by then."""
        self.happen(offered())
        unwritten = self.registry.take_changed()
        self.happen(leased())
        self.registry.take_changed()
        self.registry.return_changed(unwritten)
        self.assertEqual(self.registry.take_changed(), [self.registry.status(MAC)])

    @given(st.lists(any_event(mac=st.sampled_from([MAC, OTHER_MAC, MACAddress(b"strang")])), max_size=30))
    def test_counts_agree(self, story: list[Event]) -> None:
        """After any story the counts are what counting gives."""
        registry = NodeRegistry([NODE, OTHER])
        for number, event in enumerate(story, start=1):
            registry.observe(Recorded(id=number, time=float(number), event=event))
        for phase, count in registry.counts().items():
            self.assertEqual(count, sum(registry.status(node.mac).phase is phase for node in registry.nodes()))

    @given(
        st.lists(
            instances(
                events.AddressOffered, mac=st.sampled_from([MAC, OTHER_MAC]), serial=st.sampled_from([None, "1", "2"])
            )
        )
    )
    def test_serials_agree(self, story: list[Event]) -> None:
        """After any story the index finds exactly what a search finds."""
        registry = NodeRegistry([NODE, OTHER])
        for number, event in enumerate(story, start=1):
            registry.observe(Recorded(id=number, time=0.0, event=event))
        for serial in ("1", "2"):
            found = [node for node in registry.nodes() if registry.status(node.mac).serial == serial]
            self.assertEqual(registry.with_serial(serial), found[0] if len(found) == 1 else None)
