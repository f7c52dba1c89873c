"""
Each fault in virtual time: this fault, this verdict, when its phase has had its time, and nothing else; and healthy
boots, of which no verdict but "on its way" and "up" is ever heard.
"""

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from piman.fleet.diagnosis import Fault, Verdict
from piman.fleet.events import PowerGiven, StrangerSeen
from piman.fleet.model import MACAddress, Phase, SwitchPort
from piman.fleet.operations.following import PATIENCE
from piman.hosts import parse
from piman.simulator.booting.card import Card
from piman.simulator.pi import MODELS, Pi
from piman.simulator.wiring.faults import Defects, Faults
from piman.testing.power import MemoryPowerSwitch
from piman.testing.scenario import Scenario
from piman.testing.virtual_host import VirtualHost
from tests.scenario.support import ScenarioTestCase
from tests.scenario.test_faults import ROUTER, OtherServer
from tests.scenario.voice import said_of

SWITCH = IPv4Address("172.30.4.250")
LOOK_SECONDS = 1.0
NOTHING = Verdict(None, "")
ALL = MODELS
EEPROM = ("4B", "5")


@attrs.define
class Watch:
    """What was said of one board, second by second."""

    mac: MACAddress
    phases: dict[Phase, float] = attrs.Factory(dict)
    """When each was seen first."""
    faults: dict[Fault, float] = attrs.Factory(dict)
    """When each was named first."""
    last: Verdict = NOTHING


class VerdictTestCase(ScenarioTestCase):
    """Boards with a defect, watched by a casebook."""

    def watched(
        self,
        seconds: float,
        *kinds: str,
        defects: Defects | None = None,
        prepare: Callable[[Scenario], object] = lambda scenario: None,
        **options: Any,
    ) -> list[Watch]:
        """Power these boards on, let time pass, and listen to what is said of each; nobody cycles its power."""
        scenario = self.rack(*kinds, defects=defects or Defects(), **options)
        prepare(scenario)
        watches = [Watch(MACAddress(pi.board.mac)) for pi in scenario.pis]
        for pi in scenario.pis:
            pi.journal.watch = lambda journal: None
            self.power(pi)
        self.look_on(watches, seconds)
        for pi in scenario.pis:
            self.assertEqual(pi.journal.mistakes, 0)
        return watches

    def power(self, pi: Pi) -> None:
        """Give power, as an operation would."""
        assert self.scenario.manager is not None
        given = PowerGiven(mac=MACAddress(pi.board.mac), port=f"{SWITCH} port 1", operation="test")
        self.scenario.manager.events.emit(given)
        pi.power_on()

    def look_on(self, watches: Iterable[Watch], seconds: float, every: float = LOOK_SECONDS) -> None:
        """Let time pass, and listen."""
        assert self.scenario.manager is not None
        casebook, registry = self.scenario.manager.casebook, self.scenario.manager.registry
        end = self.scenario.clock.seconds() + seconds
        while self.scenario.clock.seconds() < end:
            self.scenario.pass_time(every)
            now = self.scenario.clock.seconds()
            for watch in watches:
                watch.phases.setdefault(registry.status(watch.mac).phase, now)
                watch.last = casebook.why(watch.mac)
                if watch.last.fault is not None:
                    watch.faults.setdefault(watch.last.fault, now)

    def assert_named(
        self, watches: Iterable[Watch], fault: Fault, phase: Phase | None, patience: float | None = None
    ) -> None:
        """
        This fault was named, no other, when the phase had lasted its time, and it still is; ``piman why`` prints it.

        :param phase: None: it is not the time of a phase that counts.
        :param patience: of another phase than this.
        """
        for watch in watches:
            self.assertEqual(list(watch.faults), [fault], (watch.last, watch.phases))
            self.assertIs(watch.last.fault, fault)
            self.assertTrue(watch.last.sentence and watch.last.remedy)
            self.assert_printed(watch)
            if phase is None:
                continue
            expected = PATIENCE[phase] if patience is None else patience
            waited = watch.faults[fault] - watch.phases[phase]
            self.assertTrue(expected - 1.5 <= waited <= expected + 1.5, (waited, expected, watch))

    def assert_printed(self, watch: Watch) -> None:
        """``piman why`` ends well and prints where the board is, the sentence, and in another line the remedy."""
        status, out = said_of(self.scenario, watch.mac)
        head, *rest = out.splitlines()
        assert self.scenario.manager is not None
        phase = self.scenario.manager.registry.status(watch.mac).phase
        self.assertEqual(status, 0)
        self.assertRegex(head, rf"^[^ ]+ \({phase.value}[^)]*\): {re.escape(watch.last.sentence)}$")
        self.assertEqual(rest, [watch.last.remedy] if watch.last.remedy else [])


class AddressTests(VerdictTestCase):
    """Before a board has an address."""

    def test_no_netboot(self) -> None:
        """A board that is not told to boot from the network does not ask for an address."""
        watches = self.watched(200, *ALL, defects=Defects(no_netboot=True))
        self.assert_named(watches, Fault.NO_DISCOVER, Phase.POWERED)

    def test_wrong_vlan(self) -> None:
        """A board in another VLAN is not heard."""
        watches = self.watched(200, *ALL, defects=Defects(wrong_vlan=True))
        self.assert_named(watches, Fault.NO_DISCOVER, Phase.POWERED)

    def test_spanning_tree(self) -> None:
        """A board of the ROM family gives up before a port that waits for spanning tree is open."""
        watches = self.watched(200, "3B", "3B+", defects=Defects(blocked_seconds=50.0))
        self.assert_named(watches, Fault.NO_DISCOVER, Phase.POWERED)

    def test_never_seen(self) -> None:
        """A node that is in the configuration and nowhere else."""
        scenario = self.rack("4B")
        watch = Watch(MACAddress(scenario.pis[0].board.mac))
        self.look_on([watch], 700)
        self.assert_named([watch], Fault.NEVER_SEEN, Phase.UNKNOWN, patience=600.0)

    def test_stranger(self) -> None:
        """The line for hosts.csv makes it a node."""

        def nobody(scenario: Scenario) -> None:
            assert scenario.manager is not None
            scenario.manager.registry.replace_nodes((), ())

        watches = self.watched(200, *ALL, prepare=nobody)
        self.assert_named(watches, Fault.STRANGER, None)
        for watch in watches:
            heard = next(one.time for one in self.scenario.recorded if isinstance(one.event, StrangerSeen))
            self.assertLessEqual(watch.faults[Fault.STRANGER] - heard, 10.0)
            line = watch.last.remedy.rpartition(": ")[2]
            self.assertEqual([row.mac for row in parse(line.encode()).rows], [watch.mac])

    def test_other_server(self) -> None:
        """A board that takes the offer of another server: which."""

        def beside(scenario: Scenario) -> None:
            scenario.kill_manager()
            host = VirtualHost(scenario.lan, ROUTER)
            host.listenUDP(67, OtherServer(host, 0.0))
            scenario.start_manager()

        watches = self.watched(300, *ALL, prepare=beside)
        for watch in watches:  # some load our files all the same
            phase = Phase.LOADING if Phase.LOADING in watch.phases else Phase.OFFERED
            self.assert_named([watch], Fault.OTHER_SERVER, phase)
            self.assertIn(str(ROUTER), watch.last.sentence)

    def test_offer_ignored(self) -> None:
        """A board that asks again and again."""
        watches = self.watched(300, *ALL, defects=Defects(ignores_offer=True))
        self.assert_named(watches, Fault.OFFER_IGNORED, Phase.OFFERED)

    def test_address_held(self) -> None:
        """Two rows were exchanged while their boards run: each waits for the other's address."""
        first, second = self.watched(120, "4B", "4B")
        scenario = self.scenario
        assert scenario.manager is not None
        nodes = scenario.nodes
        exchanged = [attrs.evolve(one, address=other.address) for one, other in zip(nodes, nodes[::-1], strict=True)]
        scenario.manager.registry.replace_nodes(exchanged, ())
        scenario.manager.leases.nodes_changed()
        scenario.pis[0].power_off()
        scenario.pass_time(1)
        self.power(scenario.pis[0])
        watch = Watch(first.mac)
        self.look_on([watch], 120)
        self.assert_named([watch], Fault.ADDRESS_HELD, Phase.POWERED)
        self.assertIn(str(second.mac), watch.last.sentence)


class LoadingTests(VerdictTestCase):
    """Boot files."""

    def test_no_tftp_eeprom(self) -> None:
        """A board that has its address and whose requests do not arrive."""
        watches = self.watched(400, *EEPROM, defects=Defects(no_tftp=True))
        self.assert_named(watches, Fault.NO_TFTP, Phase.LEASED)

    def test_no_tftp_rom(self) -> None:
        """The same of the ROM family, to which the OFFER is the lease."""
        watches = self.watched(400, "3B", "3B+", defects=Defects(no_tftp=True))
        self.assert_named(watches, Fault.NO_TFTP, Phase.OFFERED)

    def test_wrong_prefix(self) -> None:
        """A folder that holds only the file by which the firmware decides that it is the right one."""

        def half(scenario: Scenario) -> None:
            folder = scenario.boot_dir / "oldrack"
            folder.mkdir()
            for name in ("start.elf", "start4.elf", "config.txt"):
                (folder / name).write_bytes((scenario.boot_dir / name).read_bytes())

        watches = self.watched(500, *ALL, defects=Defects(prefix="oldrack/"), prepare=half)
        self.assert_named(watches, Fault.WRONG_PREFIX, Phase.LOADING)
        self.assertIn("oldrack", watches[0].last.sentence)

    def missing(self, *kinds: str, names: Iterable[str]) -> list[Watch]:
        """Boards that do not find these files."""

        def remove(scenario: Scenario) -> None:
            for name in names:
                (scenario.boot_dir / name).unlink()

        watches = self.watched(500, *kinds, prepare=remove)
        self.assert_named(watches, Fault.FILE_MISSING, Phase.LOADING)
        return watches

    def test_missing_files(self) -> None:
        """Each file that a model cannot do without, by its name."""
        for kind, name in (
            ("3B", "bootcode.bin"),
            ("3B", "start.elf"),
            ("3B+", "fixup.dat"),
            ("3B+", "bcm2710-rpi-3-b-plus.dtb"),
            ("4B", "fixup4.dat"),
            ("4B", "bcm2711-rpi-4-b.dtb"),
            ("5", "config.txt"),
            ("5", "bcm2712-rpi-5-b.dtb"),
            ("4B", "initramfs.gz"),
        ):
            [watch] = self.missing(kind, names=[name])
            self.assertIn(name, watch.last.sentence)

    def test_missing_of_several(self) -> None:
        """Where another file would do, both are named."""
        [watch] = self.missing("4B", names=["start4.elf", "start.elf"])
        self.assertIn("lack start4.elf or start.elf, without which a Pi 4B", watch.last.sentence)
        [watch] = self.missing("4B", names=["kernel8.img"])
        self.assertIn("kernel8.img or kernel7l.img or kernel7.img or kernel.img", watch.last.sentence)
        [watch] = self.missing("5", names=["kernel8.img", "kernel_2712.img"])
        self.assertIn("kernel_2712.img or kernel8.img", watch.last.sentence)

    def test_file_too_large(self) -> None:
        """A kernel of more than 65,535 blocks of 512 bytes is too much for a Pi 3."""

        def grow(scenario: Scenario) -> None:
            with (scenario.boot_dir / "kernel8.img").open("r+b") as kernel:
                kernel.truncate(65_536 * 512 + 100)

        watches = self.watched(250, "3B+", prepare=grow)
        self.assert_named(watches, Fault.FILE_TOO_LARGE, Phase.LOADING)
        self.assertIn("kernel8.img", watches[0].last.sentence)

    def test_stalls(self) -> None:
        """A file that stops at a block: at which."""
        watches = self.watched(500, *ALL, defects=Defects(stalls_at_block=2))
        self.assert_named(watches, Fault.TFTP_STALLS, Phase.LOADING)
        self.assertIn("bootcode.bin at block 2 of 6", watches[0].last.sentence)

    def test_kernel_silent(self) -> None:
        """A kernel that stands still."""
        watches = self.watched(500, *ALL, defects=Defects(kernel_silent=True))
        self.assert_named(watches, Fault.KERNEL_SILENT, Phase.LOADING)


class InstallerTests(VerdictTestCase):
    """The installer and its card."""

    def test_installer_silent(self) -> None:
        """An initramfs that calls nobody."""
        watches = self.watched(500, *ALL, defects=Defects(installer_silent=True))
        self.assert_named(watches, Fault.INSTALLER_SILENT, Phase.STARTING)

    def test_wrong_card(self) -> None:
        """Something that must not be written to."""
        watches = self.watched(1500, *ALL, defects=Defects(wrong_card=True))
        self.assert_named(watches, Fault.WRONG_CARD, Phase.STUCK)

    def test_small_card(self) -> None:
        """A card that does not hold the system."""

        def exchange(scenario: Scenario) -> None:
            for pi in scenario.pis:
                pi.card = Card(size_bytes=64 << 20)

        watches = self.watched(500, *ALL, prepare=exchange)
        self.assert_named(watches, Fault.CARD_TOO_SMALL, Phase.STUCK)

    def test_corrupt_image(self) -> None:
        """A board that reads something else than it was sent, three times."""
        watches = self.watched(900, *ALL, defects=Defects(corrupt_image=True))
        self.assert_named(watches, Fault.IMAGE_DAMAGED, None)

    def test_stream_breaks(self) -> None:
        """An image that always ends at the same byte."""
        watches = self.watched(2400, *EEPROM, defects=Defects(stream_ends_at=100_000))
        self.assert_named(watches, Fault.IMAGE_BROKEN, None)


class SystemTests(VerdictTestCase):
    """After the boot."""

    def test_never_up(self) -> None:
        """A system that was installed and does not start."""
        watches = self.watched(700, *ALL, defects=Defects(never_up=True))
        self.assert_named(watches, Fault.NOT_UP, Phase.BOOTING)

    def test_agent_dies(self) -> None:
        """A system whose agent has answered and answers no more."""
        watches = self.watched(900, *ALL, defects=Defects(dies_after=200.0), has_agents=True)
        self.assert_named(watches, Fault.AGENT_SILENT, Phase.SILENT)

    def test_flapping(self) -> None:
        """Power that breaks down again and again, while the card is formatted."""
        watches = self.watched(500, *EEPROM, defects=Defects(flaps_after=(25.0, 35.0)))
        self.assert_named(watches, Fault.FLAPPING, None)
        for watch in watches:
            self.assertLess(watch.faults[Fault.FLAPPING] - watch.phases[Phase.POWERED], 200.0)


class PowerTests(VerdictTestCase):
    """What the switch says of the port."""

    def on_switch(self, spoil: Callable[[MemoryPowerSwitch], object]) -> Watch:
        """A board on port 3 of a switch that gives it no power, or no link."""

        def plug_in(scenario: Scenario) -> None:
            switch = MemoryPowerSwitch()
            spoil(switch)
            scenario.switches[SWITCH] = switch
            assert scenario.manager is not None
            port = SwitchPort(SWITCH, 3)
            scenario.manager.registry.replace_nodes([attrs.evolve(scenario.nodes[0], port=port)], ())

        [watch] = self.watched(50, "4B", defects=Defects(no_netboot=True), prepare=plug_in)
        assert self.scenario.manager is not None
        for _ in range(100):
            self.scenario.pass_time(1)
            found = self.successResultOf(_asked(self.scenario, watch.mac))
            if found.fault is not None:
                watch.faults.setdefault(found.fault, self.scenario.clock.seconds())
            watch.last = found
        return watch

    def test_fault(self) -> None:
        """An electrical fault."""
        watch = self.on_switch(lambda switch: switch.faults.update({3: "fault"}))
        self.assert_named([watch], Fault.POWER_FAULT, Phase.POWERED)
        self.assertIn("172.30.4.250 port 3", watch.last.sentence)

    def test_denied(self) -> None:
        """A port that refuses."""
        watch = self.on_switch(lambda switch: switch.faults.update({3: "other fault"}))
        self.assert_named([watch], Fault.POWER_DENIED, Phase.POWERED)

    def test_budget(self) -> None:
        """A switch that has given all its power."""

        def spend(switch: MemoryPowerSwitch) -> None:
            switch.faults[3] = "other fault"
            switch.total_watts = 30.0

        watch = self.on_switch(spend)
        self.assert_named([watch], Fault.POWER_BUDGET, Phase.POWERED)
        self.assertIn("28.0 of 30.0 W", watch.last.sentence)

    def test_nothing_draws(self) -> None:
        """A port on which nothing asks for power."""
        watch = self.on_switch(lambda switch: switch.faults.update({3: "searching"}))
        self.assert_named([watch], Fault.NOTHING_DRAWS, Phase.POWERED)

    def test_switched_off(self) -> None:
        """A port that somebody else has switched off."""
        watch = self.on_switch(lambda switch: switch.on.update({3: False}))
        self.assert_named([watch], Fault.POWER_OFF, Phase.POWERED)

    def test_no_link(self) -> None:
        """A board that draws power and has no link."""
        watch = self.on_switch(lambda switch: switch.unlinked.add(3))
        self.assert_named([watch], Fault.NO_LINK, Phase.POWERED)

    def test_no_discover(self) -> None:
        """A port where all is well: then it is the board."""
        watch = self.on_switch(lambda switch: None)
        self.assert_named([watch], Fault.NO_DISCOVER, Phase.POWERED)
        self.assertIn("its link is up", watch.last.sentence)


def _asked(scenario: Scenario, mac: MACAddress) -> Any:
    assert scenario.manager is not None
    return Deferred.fromCoroutine(scenario.manager.casebook.look(mac))


class HealthyTests(VerdictTestCase):
    """Boards that are well."""

    def test_each_kind(self) -> None:
        """From power to an hour later: on its way, up, nothing else."""
        for options in ({}, {"has_agents": True}, {"version": 1}, {"pooled": True}):
            watches = self.watched(900, *ALL, **options)
            self.assertEqual([watch.faults for watch in watches], [{}] * len(watches), watches)
            self.assertEqual({watch.last.sentence for watch in watches}, {"it is up"})
            for watch in watches:
                self.assert_printed(watch)

    def test_second_boot(self) -> None:
        """A restart that was ordered is no fault either."""
        watches = self.watched(200, *ALL)
        for pi in self.scenario.pis:
            pi.power_off()
            self.power(pi)
        self.look_on(watches, 300)
        self.assertEqual([watch.faults for watch in watches], [{}] * len(watches), watches)

    def test_manager_restarts(self) -> None:
        """A manager that starts anew in the middle of the boots names no fault."""
        for moment in range(5, 100, 10):
            self.watched(moment, *ALL)
            self.scenario.kill_manager()
            self.scenario.start_manager()
            watches = [Watch(MACAddress(pi.board.mac)) for pi in self.scenario.pis]
            self.look_on(watches, 700)
            self.assertEqual([watch.faults for watch in watches], [{}] * len(watches), (moment, watches))

    def test_bad_lines(self) -> None:
        """Boots that get on although datagrams are lost and streams break have no verdict either."""
        for seed in range(6):
            watches = self.watched(0, *EEPROM, seed=seed, faults=Faults(loss=0.02, cut=0.02, duplicate=0.05))
            self.look_on(watches, 400, every=5.0)
            self.assertEqual([watch.faults for watch in watches], [{}] * len(watches), watches)

    def test_thousand_boots(self) -> None:
        """A thousand boots, a hundred boards at a time: none has any verdict but on its way, and up in the end."""
        for seed in range(10):
            watches = self.watched(0, *(MODELS * 25), seed=seed)
            self.look_on(watches, 150, every=10.0)
            self.assertEqual([watch for watch in watches if watch.faults], [])
            self.assertEqual({watch.last.sentence for watch in watches}, {"it is up"})
