"""
Tests for :mod:`piman.settings.monitoring_config` and :mod:`piman.settings.monitoring`.
"""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from piman.config import Config, ConfigError, differences, load
from piman.fleet.limits import Limit
from piman.settings.monitoring_config import NAMES, MonitoringConfig, read
from piman.settings.yamlfile import Report

BASE = "server_address: 172.30.4.1\nsubnet_mask: 255.255.255.0\ninterface: ens4\nswitches: []\n"

ORIGINAL = """[DEFAULT]
slack =
discord =
timeout = 300
cpu_threshold = 50.0
mem_threshold = 70.0
disk_threshold = 50.0
pids_threshold = 100
"""
"""The keys and values of the original's README, "Monitoring"; ``temperature_threshold`` came later."""

SLACK = "https://hooks.slack.com/services/T0/B0/x%2Fy"


class _Case(SynchronousTestCase):
    """A folder with a piman.yaml, and perhaps a monitoring.config."""

    def setUp(self) -> None:
        """An empty folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, text: str, name: str = "monitoring.config") -> Path:
        """A file."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def problems(self, text: str) -> list[str]:
        """What is wrong with a monitoring.config, without the path in front."""
        path = self.write(text)
        report = Report(str(path))
        read(path, report)
        return [str(problem).removeprefix(str(path)) for problem in report.problems]

    def load(self, yaml: str = "") -> Config:
        """The configuration of piman.yaml."""
        return load(self.write(BASE + yaml, "piman.yaml"), resolver_files=())


class ReadTests(_Case):
    """The file itself."""

    def read(self, text: str) -> MonitoringConfig:
        """A file without mistakes."""
        report = Report("monitoring.config")
        found = read(self.write(text), report)
        self.assertEqual(report.problems, [])
        return found

    def test_original(self) -> None:
        """The original's own file: the pause, thresholds that count at once, and no channel, since both are empty."""
        found = self.read(ORIGINAL)
        self.assertEqual(found.interval_seconds, 300.0)
        self.assertEqual(
            found.thresholds,
            {
                "cpu_percent": Limit.of(50.0, for_seconds=0.0),
                "memory_percent": Limit.of(70.0, for_seconds=0.0),
                "disk_percent": Limit.of(50.0, for_seconds=0.0),
                "num_pids": Limit.of(100.0, for_seconds=0.0),
            },
        )
        self.assertEqual(found.channels, ())

    def test_later_key(self) -> None:
        """Later files know the temperature."""
        found = self.read(ORIGINAL + "temperature_threshold = 85.0\n")
        self.assertEqual(found.thresholds["temp"].above, 85.0)

    def test_percent_signs(self) -> None:
        """A % behind a number, and one in an address, survive."""
        found = self.read(f"[DEFAULT]\ncpu_threshold = 50.0%\nmem_threshold: 70 %\nslack = {SLACK}\n")
        self.assertEqual([limit.above for limit in found.thresholds.values()], [50.0, 70.0])
        self.assertEqual(found.channels, ({"kind": "slack", "url": SLACK},))

    def test_missing(self) -> None:
        """Missing and empty keys are left to piman.yaml."""
        self.assertEqual(self.read("[DEFAULT]\n"), MonitoringConfig())
        self.assertEqual(self.read(""), MonitoringConfig())
        self.assertEqual(self.read("[DEFAULT]\ntimeout =\ncpu_threshold=\n# a comment\n"), MonitoringConfig())

    def test_secrets(self) -> None:
        """The addresses of channels are in no representation."""
        self.assertNotIn("hooks.slack.com", repr(self.read(f"[DEFAULT]\nslack = {SLACK}\n")))

    def test_mistakes(self) -> None:
        """Each mistake is told with line, key, what was found and what was expected."""
        for text, problem in (
            ("cpu_threshold = 5\n", ":1: found a line before any section, expected [DEFAULT] as the first line"),
            (
                "[DEFAULT]\n\ncpu_threshold = much\n",
                ":3: cpu_threshold: found 'much', expected a number, like 50.0",
            ),
            (
                "[DEFAULT]\ntimeout = 0\n",
                ":2: timeout: found '0', expected seconds from 1 to 86400, the pause between sweeps",
            ),
            (
                "[DEFAULT]\nslack = T0/B0/secret\n",
                ":2: slack: found no web address, expected an address like "
                "https://hooks.slack.com/services/..., or nothing",
            ),
            ("[DEFAULT]\ntimeout = 5\ntimeout = 6\n", ":3: timeout: found it again, expected it once"),
            (
                "[DEFAULT]\ntimeout = 5\n[other]\na = b\n",
                ":3: [other]: found another section, expected [DEFAULT] alone",
            ),
            (
                "[DEFAULT]\nwhat\n",
                ":2: found a line that is no key = value, expected key = value, like cpu_threshold = 50.0",
            ),
        ):
            self.assertEqual(self.problems(text), [problem])

    def test_unknown_key(self) -> None:
        """An unknown key is told, with those that there are."""
        (problem,) = self.problems("[DEFAULT]\nram_threshold = 5\n")
        self.assertIn(":2: ram_threshold: found an unknown key, expected one of slack, discord, timeout", problem)

    def test_rest_counts(self) -> None:
        """What is right beside a mistake counts."""
        report = Report("monitoring.config")
        found = read(self.write("[DEFAULT]\ncpu_threshold = much\nmem_threshold = 70\n"), report)
        self.assertEqual((len(report.problems), list(found.thresholds)), (1, ["memory_percent"]))

    def test_unreadable(self) -> None:
        """A file that is none, or no text, is told and stops nothing."""
        report = Report("monitoring.config")
        self.assertEqual(read(self.folder, report), MonitoringConfig())
        path = self.folder / "latin"
        path.write_bytes(b"[DEFAULT]\nslack = \xfc\n")
        self.assertEqual(read(path, report), MonitoringConfig())
        found = [problem.found for problem in report.problems]
        self.assertEqual(
            found, ["a file that cannot be read (a folder, not a regular file)", "bytes that are not UTF-8"]
        )

    @given(some.text() | some.text().map(lambda text: f"[DEFAULT]\ntimeout = {text}\ncpu_threshold = {text}\n"))
    def test_anything(self, text: str) -> None:
        """Whatever stands there, it is read or told."""
        path = self.folder / "monitoring.config"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        read(path, Report("monitoring.config"))


class BesideTests(_Case):
    """The file and piman.yaml together."""

    def test_found(self) -> None:
        """It is found under each of its names; of several the first counts."""
        for seconds, name in reversed([*enumerate(NAMES, 1)]):
            self.write(f"[DEFAULT]\ntimeout = {seconds}\n", name)
            self.assertEqual(self.load().monitor.interval_seconds, seconds)

    def test_nothing_found(self) -> None:
        """Without the file the defaults count."""
        monitor = self.load().monitor
        self.assertEqual((monitor.interval_seconds, monitor.thresholds, monitor.config), (30.0, {}, None))

    def test_named(self) -> None:
        """The one that piman.yaml names counts, and no other."""
        self.write("[DEFAULT]\ntimeout = 1\n")
        self.write("[DEFAULT]\ntimeout = 2\n", "elsewhere/mine.ini")
        self.assertEqual(self.load("monitor: {config: elsewhere/mine.ini}\n").monitor.interval_seconds, 2.0)

    def test_yaml_wins(self) -> None:
        """What stands in piman.yaml counts, key by key."""
        self.write(ORIGINAL + "temperature_threshold = 85\n")
        config = self.load("monitor: {interval_seconds: 30, thresholds: {cpu_percent: 90, temp: none}}\nalerts: []\n")
        self.assertEqual(config.monitor.interval_seconds, 30.0)
        self.assertEqual(config.monitor.thresholds["cpu_percent"], Limit.of(90.0))
        self.assertEqual(config.monitor.thresholds["memory_percent"], Limit.of(70.0, for_seconds=0.0))
        self.assertIsNone(config.monitor.thresholds["temp"])

    def test_channels(self) -> None:
        """Its channels are alerts, unless piman.yaml says which there are, be it none."""
        self.write(f"[DEFAULT]\nslack = {SLACK}\ndiscord = https://discord.com/api/webhooks/1/x\n")
        self.assertEqual(
            self.load().alerts,
            ({"kind": "slack", "url": SLACK}, {"kind": "discord", "url": "https://discord.com/api/webhooks/1/x"}),
        )
        self.assertEqual(self.load("alerts: [{kind: email}]\n").alerts, ({"kind": "email"},))
        self.assertEqual(self.load("alerts: []\n").alerts, ())

    def test_mistakes_where_named(self) -> None:
        """Mistakes in a file that piman.yaml names are mistakes of the configuration."""
        path = self.write("[DEFAULT]\ntimeout = soon\n", "mine.ini")
        error = self.assertRaises(ConfigError, self.load, "monitor: {config: mine.ini}\n")
        self.assertIn(f"{path}:2: timeout: found 'soon'", str(error))

    def test_mistakes_where_found(self) -> None:
        """In one that only lies there they stop nobody: they are warnings, and the rest counts."""
        path = self.write("[DEFAULT]\ntimeout = soon\ncpu_threshold = 5\n")
        config = self.load()
        self.assertEqual(list(config.monitor.thresholds), ["cpu_percent"])
        self.assertEqual(["timeout: found 'soon'" in line for line in config.warnings if str(path) in line], [True])

    def test_read_again(self) -> None:
        """A change of it applies at SIGHUP, as one of piman.yaml does."""
        self.write("[DEFAULT]\ntimeout = 60\ncpu_threshold = 5\n")
        before = self.load()
        self.write("[DEFAULT]\ntimeout = 90\ncpu_threshold = 6\n")
        live, later = differences(before, self.load())
        self.assertEqual((set(live), later), ({"monitor.interval_seconds", "monitor.thresholds"}, ()))


class ThresholdTests(_Case):
    """The thresholds of piman.yaml."""

    def test_forms(self) -> None:
        """A threshold is a number, all that can be said about one, or none."""
        monitor = self.load(
            "monitor: {thresholds: {cpu_percent: 90, temp: {above: 80, clear: 75, for_seconds: 300}, num_pids: none}}\n"
        ).monitor
        self.assertEqual(
            monitor.thresholds,
            {
                "cpu_percent": Limit(above=90.0, clear=85.5, for_seconds=60.0),
                "temp": Limit(above=80.0, clear=75.0, for_seconds=300.0),
                "num_pids": None,
            },
        )

    def test_tags(self) -> None:
        """Nodes with a tag, and single ones, have thresholds of their own; names are told without regard to case."""
        (self.folder / "hosts.csv").write_text(
            "B8:27:EB:00:00:0D;172.30.4.13;Pi13;0\nB8:27:EB:00:00:0E;172.30.4.14;;0\n"
        )
        config = self.load(
            "tags: {shelf: [PI13, 172.30.4.14]}\nmonitor:\n  tag_thresholds: {shelf: {temp: 70}}\n"
            '  node_thresholds: {"B8:27:EB:00:00:0D": {temp: none}}\n'
        )
        self.assertEqual(config.monitor.tag_thresholds, {"shelf": {"temp": Limit.of(70.0)}})
        self.assertEqual(config.monitor.node_thresholds, {"b8:27:eb:00:00:0d": {"temp": None}})
        self.assertEqual([line for line in config.warnings if line.startswith("monitor.")], [])

    def test_strangers(self) -> None:
        """Names that no node has, and tags that nobody has, are warnings."""
        config = self.load("monitor: {tag_thresholds: {rack: {temp: 1}}, node_thresholds: {pi98: {temp: 1}}}\n")
        self.assertEqual(
            [line for line in config.warnings if line.startswith("monitor.")],
            [
                "monitor.node_thresholds: no node is called pi98",
                "monitor.tag_thresholds: rack is no tag of tags",
            ],
        )
