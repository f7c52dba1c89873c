"""
Debian's Prometheus scrapes a running manager and the agent that it is told of; Grafana's requests are answered, too.
"""

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.system.manager import TWISTD, Manager
from tests.system.prometheus_lab import Prometheus
from tests.system.test_manager import free_ports
from tests.test_install_prometheus import expressions, rules

PIMAN_YAML = """
private_number: 77
server_address: 127.77.0.1
subnet_mask: 255.255.0.0
interface: lo
switches: [{{switch_address: 127.77.0.254, name: rack-a, pi_addresses: [127.77.0.5], ports: {{5: 127.77.0.5}}}}]
dhcp: {{port: {dhcp}, dns_servers: [127.77.0.1]}}
tftp: {{port: {tftp}}}
ntp: {{port: {ntp}}}
hello: {{port: {hello}, image_port: {image}, http_port: {http}}}
web: {{port: {web}}}
grafana: {{port: {grafana}}}
monitor: {{interval_seconds: 1, agent_port: {agent}}}
"""
NAMES = ("dhcp", "tftp", "ntp", "hello", "image", "http", "web", "grafana", "agent", "prometheus")


class PrometheusTests(SynchronousTestCase):
    """A manager with one node, whose agent answers, and a Prometheus as the how-to sets it up."""

    def setUp(self) -> None:
        """Start all three."""
        folder = Path(self.mktemp()).absolute()
        (folder / "install/boot").mkdir(parents=True)
        (folder / "prometheus").mkdir()
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        (folder / "piman.yaml").write_text(PIMAN_YAML.format(**self.ports))
        (folder / "hosts.csv").write_text("B8:27:EB:00:00:05;127.77.0.5;pi5;0\n")
        self.prometheus = Prometheus(folder / "prometheus", self.ports["prometheus"], f"127.0.0.1:{self.ports['web']}")
        agent = [TWISTD, "-n", "--pidfile=", "piman-agent", "--port", str(self.ports["agent"])]
        with (folder / "agent.txt").open("wb") as output:
            running = subprocess.Popen(agent, stdout=output, stderr=output, cwd=folder)
        self.addCleanup(running.wait, 30)
        self.addCleanup(running.terminate)
        self.manager = Manager(folder)
        self.addCleanup(self.manager.stop)
        self.manager.start()
        self.addCleanup(self.prometheus.stop)
        self.prometheus.start()

    def targets(self) -> dict[str, dict[str, Any]]:
        """What Prometheus scrapes, by job."""
        return {each["labels"]["job"]: each for each in self.prometheus.ask("targets")["activeTargets"]}

    def are_up(self) -> bool:
        """Whether it scrapes both."""
        found = self.targets()
        return {job for job, each in found.items() if each["health"] == "up"} == {"piman", "piman-nodes"}

    def ask_grafana(self, url: str, path: str, body: Any) -> Any:
        """What Grafana's server asks, under a name that is not ours."""
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if str(self.ports["grafana"]) in url:
            headers["Host"] = "rack.example.org:8081"
        with urlopen(Request(f"{url}{path}", data, headers), timeout=30) as answer:
            return json.load(answer)

    def test_scraped(self) -> None:
        """Both jobs are up; the node is called by its name; rules and dashboard are understood and have values."""
        prometheus = self.prometheus
        prometheus.wait_for(self.are_up, "both targets to be up")
        labels = self.targets()["piman-nodes"]["labels"]
        self.assertEqual(
            {name: labels[name] for name in ("instance", "switch", "port", "image", "mac")},
            {"instance": "pi5", "switch": "rack-a", "port": "5", "image": "default", "mac": "b8:27:eb:00:00:05"},
        )
        prometheus.wait_for(lambda: prometheus.value('piman_nodes{phase="up"}') == 1, "the node to be up")
        for expression in (
            'piman_node_memory_percent{instance="pi5", switch="rack-a"} > 0',
            'piman_events_total{kind="ManagerStarted"} == 1',
            "piman_event_loop_lag_seconds_count > 0",
            'piman_store_commit_seconds_count{store="history"} > 0',
            'piman_agent_polls_total{result="answered"} > 0',
            "process_open_fds > 0",
        ):
            prometheus.wait_for(lambda asked=expression: prometheus.value(asked) is not None, expression)
        self.evaluated()
        self.checked()
        for expression in expressions():
            for name, value in (("$__rate_interval", "1m"), ("$instance", ".*")):
                expression = expression.replace(name, value)
            prometheus.ask("query", query=expression)
        self.grafana()

    def evaluated(self) -> None:
        """All rules were evaluated without a mistake, and none alerts about a healthy rack."""

        def found() -> list[dict[str, Any]]:
            told = [rule for group in self.prometheus.ask("rules")["groups"] for rule in group["rules"]]
            return [] if any(rule["health"] == "unknown" for rule in told) else told

        told = self.prometheus.wait_for(found, "all rules to be evaluated")
        self.assertEqual(len(told), len(rules()))
        self.assertEqual([rule["name"] for rule in told if rule["health"] != "ok"], [])
        self.assertEqual([rule["name"] for rule in told if rule.get("state") == "firing"], [])

    def checked(self) -> None:
        """promtool finds nothing wrong with what the running manager says of itself."""
        with urlopen(f"http://127.0.0.1:{self.ports['web']}/metrics", timeout=30) as answer:
            text = answer.read()
        own = b"".join(line for line in text.splitlines(keepends=True) if b"piman_" in line)
        found = subprocess.run(
            ["promtool", "check", "metrics"], input=own, capture_output=True, timeout=60, check=False
        )
        self.assertEqual((found.returncode, found.stdout + found.stderr), (0, b""))

    def grafana(self) -> None:
        """The original's requests are answered at the root of their own port and below the site's /grafana/."""
        span = {"from": "2026-01-01T00:00:00.000Z", "to": "2099-01-01T00:00:00.000Z"}
        query = {"range": span, "targets": [{"target": "127.77.0.5 Ram", "refId": "A"}], "maxDataPoints": 500}
        annotations = {"range": span, "annotation": {"name": "piman", "query": "boots"}}
        for url in (f"http://127.0.0.1:{self.ports['grafana']}", f"http://127.0.0.1:{self.ports['web']}/grafana"):
            self.assertIn("127.77.0.5 CPU", self.ask_grafana(url, "/search", {"target": ""}))
            (series,) = self.ask_grafana(url, "/query", query)
            values = [value for value, _ in series["datapoints"]]
            self.assertTrue(values and all(0 < value <= 100 for value in values), series)
            (up,) = self.ask_grafana(url, "/annotations", annotations)
            self.assertEqual((up["title"], up["tags"]), ("Node up", ["boots", "pi5"]))
            with urlopen(f"{url}/", timeout=30) as answer:
                self.assertEqual(answer.status, 200)
