"""
What is in install/prometheus and install/grafana: good for promtool, and about metrics that there are.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from piman.monitor.exposition import GAUGES
from piman.web.grafana.happenings import GROUPS
from piman.web.metrics.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
PROMETHEUS = ROOT / "install" / "prometheus"
GRAFANA = ROOT / "install" / "grafana"
RULES = PROMETHEUS / "piman.rules.yml"
UNIT_TESTS = ROOT / "tests" / "prometheus" / "rules.test.yml"

NAME = re.compile(r"\b((?:[a-z0-9_]+:)?piman_[a-z_]+(?::[a-z0-9_]+)?)\b(?!\")")


def rules() -> list[dict[str, Any]]:
    """All rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "piman-rack.json").read_text())
    return found


def expressions() -> Iterator[str]:
    """Whatever the dashboard asks Prometheus."""
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["expr"] for each in dashboard()["annotations"]["list"])


def known() -> set[str]:
    """Names that an expression may use: metrics of the manager and of agents, and what the rules record."""
    found = {f"piman_node_{name}" for _, name, _ in GAUGES} | {rule["record"] for rule in rules() if "record" in rule}
    for measure in CATALOGUE:
        suffixes = ("_bucket", "_sum", "_count") if measure.is_histogram else ("",)
        found |= {measure.name + suffix for suffix in suffixes}
    return found


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it."""
    if shutil.which("promtool") is None:
        raise SkipTest("promtool of Debian's prometheus is not installed")
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)


class PrometheusTests(SynchronousTestCase):
    """install/prometheus."""

    def good(self, *arguments: str) -> None:
        """promtool is content."""
        found = promtool(*arguments)
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)

    def test_rules(self) -> None:
        """promtool reads the rules."""
        self.good("check", "rules", str(RULES))

    def test_config(self) -> None:
        """promtool reads the example, its rules included."""
        self.good("check", "config", str(PROMETHEUS / "prometheus.yml"))

    def test_what_the_rules_say(self) -> None:
        """The rules fire, and keep silent, as tests/prometheus/rules.test.yml states."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "rules.test.yml")
            copy.write_text(UNIT_TESTS.read_text().replace("RULES", str(RULES)))
            self.good("test", "rules", str(copy))

    def test_names(self) -> None:
        """Rules speak of metrics that there are."""
        named = {name for rule in rules() for name in NAME.findall(rule["expr"])}
        self.assertGreater(len(named), 15)
        self.assertEqual(named - known(), set())

    def test_alerts(self) -> None:
        """Each alert has a severity and a sentence for people."""
        alerts = [rule for rule in rules() if "alert" in rule]
        self.assertGreater(len(alerts), 15)
        for alert in alerts:
            self.assertIn(alert["labels"]["severity"], ("critical", "warning", "info"), alert["alert"])
            self.assertTrue(alert["annotations"]["summary"].endswith("."), alert["alert"])

    def test_how_to(self) -> None:
        """The how-to shows the jobs of the example as they are."""
        example = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
        page = (ROOT / "docs" / "how-to" / "prometheus-and-grafana.md").read_text()
        block = page[page.index("    scrape_configs:") :].split("\n\n")[0]
        shown = yaml.safe_load("\n".join(line[4:] for line in block.splitlines()))["scrape_configs"]
        for job in example:
            for discovery in job.get("http_sd_configs", ()):
                del discovery["refresh_interval"]
        self.assertEqual(shown, example)


class GrafanaTests(SynchronousTestCase):
    """install/grafana."""

    def test_names(self) -> None:
        """The dashboard asks for metrics that there are."""
        named = {name for expression in expressions() for name in NAME.findall(expression)}
        self.assertGreater(len(named), 25)
        self.assertEqual(named - known(), set())

    def test_datasources(self) -> None:
        """Every panel asks a data source that is provisioned."""
        provisioned = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "piman.yaml").read_text())
        uids = {each["uid"] for each in provisioned["datasources"]}
        panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
        self.assertLessEqual({panel["datasource"]["uid"] for panel in panels}, uids)

    def test_layout(self) -> None:
        """No panel lies on another, and none has the number of another."""
        panels = dashboard()["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        cells = [
            (x, y)
            for panel in panels
            for at in [panel["gridPos"]]
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        self.assertEqual(len(set(cells)), len(cells))
        self.assertLess(max(x for x, _ in cells), 24)

    def test_dashboards_are_found(self) -> None:
        """The provider looks where the how-to copies the dashboard to."""
        provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "piman.yaml").read_text())["providers"][0]
        page = (ROOT / "docs" / "how-to" / "prometheus-and-grafana.md").read_text()
        self.assertIn(f"cp install/grafana/dashboards/piman-rack.json {provider['options']['path']}/", page)

    def test_groups_of_annotations(self) -> None:
        """The reference names the groups of annotations with their events."""
        page = (ROOT / "docs" / "reference" / "grafana.md").read_text().splitlines()
        for group, kinds in GROUPS.items():
            events = ", ".join(f"`{kind.__name__}`" for kind in kinds)
            self.assertIn(f"| `{group}` | {events} |", page)
