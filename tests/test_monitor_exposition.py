"""
Tests for :mod:`piman.monitor.exposition`.
"""

from hypothesis import given
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from piman.monitor.exposition import GAUGES, Exposition
from piman.monitor.readings import Card, Reading
from tests.test_monitor_readings import readings

WHOLE = Reading(
    time=1.0,
    cpu_percent=12.5,
    memory_percent=40.0,
    disk_percent=63.0,
    num_pids=97,
    temp=51.5,
    uptime_seconds=350735.47,
    image_digest="ab" * 32,
    throttled=0x50001,
    under_voltage=True,
    root_read_only=False,
    root_errors=12,
    disk_stalled_seconds=40.0,
    card=Card(type="MMC", name='M8"G1', serial="0xdc0db061", life_used_percent=20.0, pre_eol="normal"),
)


def lines_of(reading: Reading) -> list[str]:
    """The lines with values."""
    return [line for line in Exposition(lambda: reading).text().decode().splitlines() if not line.startswith("#")]


class TextTests(SynchronousTestCase):
    """Prometheus' text format 0.0.4."""

    def test_whole(self) -> None:
        """Each value is a gauge of its own, each flag one of a family, and names are labels."""
        self.assertEqual(
            lines_of(WHOLE),
            [
                "piman_node_cpu_percent 12.5",
                "piman_node_memory_percent 40.0",
                "piman_node_disk_percent 63.0",
                "piman_node_num_pids 97.0",
                "piman_node_temperature_celsius 51.5",
                "piman_node_uptime_seconds 350735.47",
                "piman_node_throttled 327681.0",
                "piman_node_under_voltage 1.0",
                "piman_node_root_read_only 0.0",
                "piman_node_root_errors 12.0",
                "piman_node_disk_stalled_seconds 40.0",
                'piman_node_throttling{flag="under-voltage",when="now"} 1.0',
                'piman_node_throttling{flag="under-voltage",when="since_boot"} 1.0',
                'piman_node_throttling{flag="frequency-capped",when="now"} 0.0',
                'piman_node_throttling{flag="frequency-capped",when="since_boot"} 0.0',
                'piman_node_throttling{flag="throttled",when="now"} 0.0',
                'piman_node_throttling{flag="throttled",when="since_boot"} 1.0',
                'piman_node_throttling{flag="soft-temperature-limit",when="now"} 0.0',
                'piman_node_throttling{flag="soft-temperature-limit",when="since_boot"} 0.0',
                f'piman_node_image_info{{digest="{"ab" * 32}"}} 1.0',
                'piman_node_card_info{name="M8\\"G1",pre_eol="normal",serial="0xdc0db061",type="MMC"} 1.0',
                "piman_node_card_life_used_percent 20.0",
            ],
        )

    def test_little(self) -> None:
        """Of what the board does not tell there is no line."""
        reading = Reading(time=1.0, cpu_percent=12.5, num_pids=97)
        self.assertEqual(lines_of(reading), ["piman_node_cpu_percent 12.5", "piman_node_num_pids 97.0"])

    def test_latest(self) -> None:
        """Each question gets the reading of that moment."""
        now = [Reading(num_pids=1)]
        exposition = Exposition(lambda: now[0])
        self.assertIn(b"piman_node_num_pids 1.0\n", exposition.text())
        now[0] = Reading(num_pids=2)
        self.assertIn(b"piman_node_num_pids 2.0\n", exposition.text())

    def test_meanings(self) -> None:
        """Every number of a reading is a metric, with help and type."""
        text = Exposition(lambda: WHOLE).text().decode()
        for field, name, meaning in GAUGES:
            self.assertTrue(hasattr(WHOLE, field))
            self.assertIn(f"# HELP piman_node_{name} {meaning}\n# TYPE piman_node_{name} gauge\n", text)

    @given(readings)
    def test_anything(self, reading: Reading) -> None:
        """Whatever a reading holds, the text can be read again."""
        text = Exposition(lambda: reading).text().decode()
        families = {family.name for family in text_string_to_metric_families(text)}
        self.assertEqual("piman_node_num_pids" in families, reading.num_pids is not None)
