"""
Tests for :mod:`piman.web.metrics`.
"""

import gzip
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from piman.fleet import events
from piman.fleet.model import MACAddress, NodeStatus, Phase, Stage
from piman.fleet.nodes import NodeRegistry
from piman.switching.agent import Request, Target
from piman.switching.session import Community
from piman.web import metrics
from piman.web.metrics import sources
from piman.web.metrics.catalogue import CATALOGUE, Measure
from piman.web.metrics.exposition import MetricsResource, registry_of, takes_gzip
from piman.web.metrics.lag import LOOK_SECONDS, WINDOW_SECONDS, LoopLag
from piman.web.metrics.tally import BOOT_PHASES, Boots, model_label
from piman.wire.dhcp import MessageType
from tests.metrics_support import Counted
from tests.web_support import NODES, PI2, RACK, STRANGER

REFERENCE = Path(metrics.__file__).parents[3] / "docs" / "reference" / "metrics.md"


def documented(measure: Measure) -> str:
    """The row of a metric in the reference: made of the catalogue itself."""
    labels = ", ".join(f"`{label}`" for label in measure.labels) or "-"
    return f"| `{measure.name}` | {measure.kind} | {labels} | {measure.help} |"


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        """Parts at rest."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.counted = Counted(Path(folder.name))
        self.registry = registry_of(self.counted.sources)
        self.treq = StubTreq(self.root())

    def root(self) -> Resource:
        """A site with the metrics."""
        root = Resource()
        root.putChild(b"metrics", MetricsResource(self.registry))
        return root

    def value(self, name: str, **labels: str) -> float | None:
        """One sample."""
        return self.registry.get_sample_value(name, labels)

    def ask(self, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and raw body."""
        response = self.successResultOf(
            self.treq.request(method, "http://piman/metrics", headers=headers, unbuffered=False)
        )
        found = {name.decode().lower(): values[0].decode() for name, values in response.headers.getAllRawHeaders()}
        return response.code, found, self.successResultOf(response.content())


class CatalogueTests(_Case):
    """What every metric owes its readers."""

    def test_all_are_collected(self) -> None:
        """The sources tell each metric of the catalogue, once, with its kind and help, and no other."""
        told = [family for source in self.counted.sources for family in source()]
        suffix = {"counter": "_total"}
        names = [family.name + suffix.get(family.type, "") for family in told]
        self.assertEqual(sorted(names), sorted(measure.name for measure in CATALOGUE))
        self.assertGreater(len(names), 40)
        known = {measure.name: measure for measure in CATALOGUE}
        for name, family in zip(names, told, strict=True):
            self.assertEqual((family.type, family.documentation), (known[name].kind, known[name].help))

    def test_names(self) -> None:
        """Names begin with piman_ and are in base units; a help is a sentence."""
        for measure in CATALOGUE:
            self.assertTrue(measure.name.startswith("piman_"), measure.name)
            self.assertFalse(set(measure.name.split("_")) & {"ms", "milliseconds", "kb", "mb", "percent"}, measure.name)
            self.assertTrue(measure.help.endswith("."), measure.name)

    def test_documented(self) -> None:
        """The reference has the row of each metric, as it is now; a missing one is shown ready to paste."""
        rows = set(REFERENCE.read_text().splitlines())
        missing = [documented(measure) for measure in CATALOGUE if documented(measure) not in rows]
        self.assertEqual(missing, [], f"rows missing in {REFERENCE}:\n" + "\n".join(missing))

    def test_nothing_stale(self) -> None:
        """The reference speaks of no metric that there is not."""
        named = {line.split("`")[1] for line in REFERENCE.read_text().splitlines() if line.startswith("| `piman_")}
        self.assertEqual(named, {measure.name for measure in CATALOGUE})

    def test_labels_are_bounded(self) -> None:
        """However many boards and names there are, the number of series is the same."""
        before = self.series()
        for number in range(50):
            mac = MACAddress(bytes([2, 0, 0, 0, 0, number]))
            self.counted.half.log.emit(events.StrangerSeen(mac=mac, stage=Stage.ROM, model=f"model {number}"))
            self.counted.half.log.emit(events.TransferAborted(mac=mac, name=f"file {number}", block=1, reason="r"))
        self.assertEqual(self.series() - before, {"StrangerSeen", "TransferAborted"})

    def series(self) -> set[Any]:
        """All series; of those of events only the kind."""
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        return {
            each.labels["kind"] if "kind" in each.labels else (each.name, *each.labels.items())
            for each in samples
            if each.name.startswith("piman_")
        }


class CountingTests(_Case):
    """Events and counters become values."""

    def test_nodes(self) -> None:
        """Nodes are counted by phase, and every phase is there."""
        self.counted.half.log.emit(events.NodeUp(mac=PI2, evidence="agent"))
        self.assertEqual(self.value("piman_nodes", phase="up"), 1)
        self.assertEqual(self.value("piman_nodes", phase="unknown"), 1)
        self.assertEqual(self.value("piman_nodes", phase="stuck"), 0)
        self.assertEqual(self.value("piman_expected_nodes"), 1)

    def test_events(self) -> None:
        """What is finished is counted by its result, and each event by its class."""
        emit = self.counted.half.log.emit
        emit(events.Installed(mac=PI2, intent="i", digest="d"))
        emit(events.IntentClosed(mac=PI2, intent="i", state="expired", reason="r"))
        emit(events.ImageSent(mac=PI2, intent="i", door="http", bytes=7, seconds=12.5))
        emit(events.ImageInterrupted(mac=PI2, intent="i", door="tcp", sent_bytes=3, reason="r"))
        emit(events.PowerCycled(mac=PI2, port="p", operation="o", dark_seconds=5.0))
        emit(events.PowerCycleFailed(mac=PI2, port="p", operation="o", reason="r"))
        emit(events.OperationStarted(operation="o", action="restart", who="ada", source="s", targets=3))
        emit(events.OperationEnded(operation="o", action="restart", done=2, failed=1, cancelled=0))
        emit(events.InstallerFailed(mac=PI2, reason="no card"))
        for name, labels, expected in (
            ("piman_installs_total", {"result": "installed"}, 1),
            ("piman_installs_total", {"result": "expired"}, 1),
            ("piman_installs_total", {"result": "failed"}, 0),
            ("piman_images_total", {"door": "http", "result": "sent"}, 1),
            ("piman_images_total", {"door": "tcp", "result": "interrupted"}, 1),
            ("piman_image_seconds_sum", {"door": "http"}, 12.5),
            ("piman_power_cycles_total", {"result": "done"}, 1),
            ("piman_power_cycles_total", {"result": "failed"}, 1),
            ("piman_operations_total", {"action": "restart"}, 1),
            ("piman_operation_targets_total", {"action": "restart", "result": "done"}, 2),
            ("piman_operation_targets_total", {"action": "restart", "result": "failed"}, 1),
            ("piman_installer_failures_total", {}, 1),
            ("piman_events_total", {"kind": "Installed"}, 1),
        ):
            self.assertEqual(self.value(name, **labels), expected, (name, labels))

    def test_reload(self) -> None:
        """Files with mistakes are told until they are read without."""
        emit = self.counted.half.log.emit
        self.assertEqual(self.value("piman_config_last_reload_successful"), 1)
        emit(events.ConfigurationRejected(problems=("a",)))
        self.assertEqual(self.value("piman_config_last_reload_successful"), 0)
        emit(events.ConfigurationReloaded(nodes=2))
        self.assertEqual(self.value("piman_config_last_reload_successful"), 1)

    def test_dhcp(self) -> None:
        """Types that only servers send, and none, count as other."""
        protocol = self.counted.dhcp.protocol
        protocol.received.update({MessageType.DISCOVER: 3, MessageType.OFFER: 1, None: 2})
        protocol.answered[MessageType.ACK] += 4
        self.assertEqual(self.value("piman_dhcp_messages_total", type="discover"), 3)
        self.assertEqual(self.value("piman_dhcp_messages_total", type="other"), 3)
        self.assertEqual(self.value("piman_dhcp_answers_total", type="ack"), 4)
        self.assertEqual(self.value("piman_dhcp_silences_total", reason="no_address_free"), 0)

    def test_pool(self) -> None:
        """A pool without leases is free as a whole; one that there is not has no addresses."""
        self.counted.leases.bind(STRANGER, IPv4Address("172.30.4.100"), stage=Stage.OS)
        self.assertEqual(self.value("piman_dhcp_leases"), 1)
        self.assertEqual(self.value("piman_dhcp_pool_addresses"), 10)
        self.assertEqual(self.value("piman_dhcp_pool_free_addresses"), 9)
        self.counted.leases.replace_pool(None)
        self.assertEqual(self.value("piman_dhcp_pool_addresses"), 0)

    def test_switches(self) -> None:
        """SNMP is told by switch; a switch that leaves the files leaves the metrics."""
        asked = Target(RACK), Community("private"), Request(operation="get", oids=()), 1.0
        self.successResultOf(self.counted.traffic(*asked))
        self.assertEqual(self.value("piman_snmp_requests_total", switch=str(RACK)), 1)
        self.assertEqual(self.value("piman_snmp_failures_total", switch=str(RACK), reason="timeout"), 0)
        self.counted.switches = {}
        self.assertIs(self.value("piman_snmp_requests_total", switch=str(RACK)), None)

    def test_a_failing_source(self) -> None:
        """A source that fails is logged; the others are told all the same."""

        def failing() -> list[Any]:
            raise ZeroDivisionError

        registry = registry_of([failing, sources.of_version("9")])
        self.assertEqual(registry.get_sample_value("piman_info", {"version": "9"}), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class BootTests(SynchronousTestCase):
    """How long boots take."""

    def setUp(self) -> None:
        """A registry with two nodes, and who times them."""
        self.registry = NodeRegistry(NODES)
        self.boots = Boots(self.registry)
        self.registry.watchers.append(self.boots.watch)
        self.number = 0

    def at(self, time: float, event: events.Event) -> None:
        """It happens."""
        self.number += 1
        self.registry.observe(events.Recorded(id=self.number, time=time, event=event))

    def boot(self, mac: MACAddress, begin: float, **board: Any) -> None:
        """A boot from the firmware's question to the agent's answer, 40 s."""
        address = IPv4Address("172.30.4.2")
        self.at(begin, events.AddressOffered(mac=mac, address=address, stage=Stage.EEPROM, **board))
        self.at(begin + 1, events.AddressLeased(mac=mac, address=address, stage=Stage.EEPROM, expires=9e9, **board))
        self.at(begin + 2, events.LoadingStarted(mac=mac, name="start4.elf"))
        self.at(begin + 12, events.AddressLeased(mac=mac, address=address, stage=Stage.KERNEL, expires=9e9, **board))
        self.at(begin + 15, events.InstallerConnected(mac=mac, address=address, version=2))
        self.at(begin + 16, events.BootOrdered(mac=mac))
        self.at(begin + 40, events.NodeUp(mac=mac, evidence="agent"))

    def sums(self) -> dict[str, float]:
        """Seconds by phase."""
        return {phase.value: each.sum for (phase, _), each in self.boots.phases.items()}

    def test_whole_boot(self) -> None:
        """Each phase counts when the next one begins, and the boot as a whole when the node is up."""
        self.boot(PI2, 1000.0, model="4B")
        expected = {"offered": 1, "leased": 1, "loading": 10, "starting": 3, "greeting": 1, "booting": 24}
        self.assertEqual(self.sums(), expected)
        self.assertEqual({key: each.sum for key, each in self.boots.whole.items()}, {("4B", False): 40.0})
        self.assertEqual(self.boots.begun, 1)

    def test_power(self) -> None:
        """A boot for which power was given began then."""
        self.at(995.0, events.PowerGiven(mac=PI2, port="p", operation="o"))
        self.boot(PI2, 1000.0)
        self.assertEqual(self.sums()["powered"], 5)
        self.assertEqual(self.boots.whole["unknown", False].sum, 45.0)

    def test_installed(self) -> None:
        """A boot in which the card was written is told apart."""
        self.at(1000.0, events.InstallerConnected(mac=PI2, address=IPv4Address("172.30.4.2"), version=1))
        self.at(1001.0, events.FormatOrdered(mac=PI2, intent="i", attempt=1, image="default", digest="d"))
        self.at(1200.0, events.Installed(mac=PI2, intent="i", digest="d"))
        self.at(1230.0, events.NodeUp(mac=PI2, evidence="agent"))
        self.assertEqual({key: each.sum for key, each in self.boots.whole.items()}, {("unknown", True): 230.0})

    def test_what_is_no_boot(self) -> None:
        """What a node does once it is up, renewals, silence and recovery, counts nowhere."""
        self.boot(PI2, 1000.0)
        before = self.sums(), len(self.boots.whole), self.boots.begun
        self.at(2000.0, events.LeaseRenewed(mac=PI2, address=IPv4Address("172.30.4.2"), stage=Stage.OS, expires=9e9))
        self.at(3000.0, events.NodeSilent(mac=PI2, misses=3, reason="r"))
        self.at(4000.0, events.NodeRecovered(mac=PI2))
        self.assertEqual((self.sums(), len(self.boots.whole), self.boots.begun), before)
        self.assertEqual(self.boots.whole["unknown", False].total, 1)

    def test_cut_short(self) -> None:
        """A phase that a new boot cuts short is not counted: how long it would have taken nobody knows."""
        address = IPv4Address("172.30.4.2")
        self.at(1000.0, events.LoadingStarted(mac=PI2, name="start4.elf"))
        self.at(1200.0, events.AddressOffered(mac=PI2, address=address, stage=Stage.EEPROM))
        self.assertEqual((self.sums(), self.boots.begun), ({}, 2))

    def test_power_cut(self) -> None:
        """A phase that ends because the power went, or came anew, is not counted."""
        self.at(1000.0, events.LoadingStarted(mac=PI2, name="start4.elf"))
        self.at(1300.0, events.PowerRemoved(mac=PI2, port="p", operation="o"))
        self.at(1305.0, events.PowerGiven(mac=PI2, port="p", operation="o"))
        self.at(1400.0, events.PowerCycled(mac=PI2, port="p", operation="o", dark_seconds=5.0))
        self.assertEqual(self.sums(), {})

    def test_boot_from_the_card(self) -> None:
        """A node that boots from its card, without a question of its firmware, began when its power came."""
        address = IPv4Address("172.30.4.2")
        self.boot(PI2, 1000.0)
        self.at(90_000.0, events.PowerRemoved(mac=PI2, port="p", operation="o"))
        self.at(90_005.0, events.PowerGiven(mac=PI2, port="p", operation="o"))
        self.at(90_025.0, events.AddressLeased(mac=PI2, address=address, stage=Stage.OS, expires=9e9))
        self.at(90_030.0, events.NodeUp(mac=PI2, evidence="agent"))
        self.assertEqual((self.boots.whole["unknown", False].total, self.boots.whole["unknown", False].sum), (2, 65.0))

    def test_before(self) -> None:
        """What was seen before the manager started is not counted when something else happens to the node."""
        self.boot(PI2, 1000.0)
        boots = Boots(self.registry)
        boots.begin(self.registry.statuses())
        self.registry.watchers[:] = [boots.watch]
        self.at(2000.0, events.LeaseRenewed(mac=PI2, address=IPv4Address("172.30.4.2"), stage=Stage.OS, expires=9e9))
        self.assertEqual((boots.phases, boots.whole, boots.begun), ({}, {}, 0))
        self.boot(PI2, 5000.0)
        self.assertEqual((boots.whole["unknown", False].sum, boots.begun), (40.0, 1))

    def test_strangers(self) -> None:
        """Boards that no file names are not timed."""
        self.boot(STRANGER, 1000.0)
        self.assertEqual((self.boots.phases, self.boots.begun), ({}, 0))

    def test_models(self) -> None:
        """What a board says of itself becomes no label unless there is such a model."""
        self.assertEqual(
            [model_label(each) for each in ("4B", "3B+", None, 'x"} 1')], ["4B", "3B+", "unknown", "other"]
        )

    def test_phases(self) -> None:
        """Where a node is up, or off, or lost, it is not on its way."""
        resting = {Phase.UNKNOWN, Phase.OFF, Phase.UP, Phase.SILENT, Phase.STUCK}
        self.assertEqual(set(BOOT_PHASES), set(Phase) - resting)

    def test_memory_is_of_the_files(self) -> None:
        """A status of a node that left the files is forgotten."""
        self.boots.watch(NodeStatus(mac=PI2, since=1.0, phase=Phase.OFFERED, attempt=1))
        self.registry.replace_nodes((), ())
        self.boots.watch(NodeStatus(mac=PI2, since=2.0, phase=Phase.LEASED, attempt=1))
        self.assertEqual(self.boots.begun, 1)


class SlowClock(Clock):
    """A clock whose timers come late: the loop was busy."""

    late = 0.0

    def callLater(self, delay: float, *what: Any, **named: Any) -> Any:
        """Come later."""
        return super().callLater(delay + self.late, *what, **named)


class LagTests(SynchronousTestCase):
    """How late timers are."""

    def setUp(self) -> None:
        """It looks."""
        self.clock = SlowClock()
        self.lag = LoopLag(self.clock)

    def test_on_time(self) -> None:
        """Timers that come in time are not late, and are looked at four times a second."""
        self.lag.startService()
        self.clock.pump([LOOK_SECONDS] * 8)
        self.assertEqual((self.lag.seconds.total, self.lag.seconds.sum, self.lag.greatest), (8, 0.0, 0.0))
        self.lag.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """A block of a second is seen as it is, and remembered for one to two windows."""
        self.clock.late = 1.0
        self.lag.startService()
        self.clock.late = 0.0
        self.clock.advance(LOOK_SECONDS + 1.0)
        self.assertEqual((self.lag.seconds.sum, self.lag.greatest), (1.0, 1.0))
        self.pass_time(WINDOW_SECONDS)
        self.assertEqual(self.lag.greatest, 1.0)
        self.pass_time(WINDOW_SECONDS)
        self.assertEqual(self.lag.greatest, 0.0)
        self.lag.stopService()

    def pass_time(self, seconds: float) -> None:
        """Nothing is late any more."""
        self.clock.pump([LOOK_SECONDS] * int(seconds / LOOK_SECONDS))


class ExpositionTests(_Case):
    """What Prometheus gets."""

    def test_text(self) -> None:
        """Without a wish it is Prometheus' text, which its parser reads, with process and Python."""
        code, headers, body = self.ask()
        self.assertEqual(code, 200)
        self.assertTrue(headers["content-type"].startswith("text/plain; version="), headers)
        families = {family.name: family for family in text_string_to_metric_families(body.decode())}
        self.assertLessEqual({"piman_nodes", "process_cpu_seconds", "python_info"}, set(families))
        self.assertEqual(len(families["piman_nodes"].samples), len(Phase))

    def test_openmetrics(self) -> None:
        """Whoever asks for OpenMetrics gets it."""
        wish = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        code, headers, body = self.ask(accept=wish)
        self.assertEqual((code, headers["content-type"].split(";")[0]), (200, "application/openmetrics-text"))
        self.assertTrue(body.endswith(b"# EOF\n"))

    def test_gzip(self) -> None:
        """Whoever takes gzip gets it, and the same when it is unpacked."""
        for accepted, packed in ((b"gzip", True), (b"br", False)):
            request = DummyRequest([b"metrics"])  # type: ignore[no-untyped-call,unused-ignore]
            request.requestHeaders.setRawHeaders(b"accept-encoding", [accepted])
            body = MetricsResource(self.registry).render_GET(request)
            self.assertIs(request.responseHeaders.hasHeader(b"content-encoding"), packed)
            self.assertIn(b"# TYPE piman_nodes gauge", gzip.decompress(body) if packed else body)

    def test_takes_gzip(self) -> None:
        """RFC 9110, section 12.5.3: quality 0 means no; a star means everything that is not named."""
        for header, expected in (
            ("gzip", True),
            ("gzip, deflate, br", True),
            ("GZIP;q=0.5", True),
            ("*", True),
            ("gzip;q=0", False),
            ("*;q=1, gzip;q=0", False),
            ("br", False),
            ("", False),
            ("gzip;q=x", False),
        ):
            self.assertIs(takes_gzip(header), expected, header)

    def test_only_questions(self) -> None:
        """HEAD is answered without a body; nothing can be posted."""
        code, _, body = self.ask("HEAD")
        self.assertEqual((code, body), (200, b""))
        self.assertEqual(self.ask("POST")[0], 405)

    def test_promtool(self) -> None:
        """promtool finds nothing wrong with the real text."""
        if shutil.which("promtool") is None:
            raise SkipTest("promtool of Debian's prometheus is not installed")
        self.counted.half.log.emit(events.NodeUp(mac=PI2, evidence="agent"))
        self.counted.boots.watch(
            NodeStatus(mac=PI2, since=9.0, phase=Phase.LEASED, timeline=((Phase.OFFERED, 5.0), (Phase.LEASED, 9.0)))
        )
        _, _, body = self.ask()
        own = b"".join(line for line in body.splitlines(keepends=True) if b"piman_" in line)
        self.assertIn(b"piman_boot_phase_seconds_bucket", own)
        found = subprocess.run(
            ["promtool", "check", "metrics"], input=own, capture_output=True, timeout=60, check=False
        )
        self.assertEqual((found.returncode, found.stdout + found.stderr), (0, b""))
