"""
The web site of the real manager, asked with curl.
"""

import json
import re
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.system.manager import Manager
from tests.system.test_manager import NAMES, PIMAN, PIMAN_YAML, free_ports


class SiteTests(SynchronousTestCase):
    """HTTPS, a user, a token, this machine."""

    def setUp(self) -> None:
        """A manager that listens with HTTPS, for a user and a token that piman passwd made."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.port = self.ports["web"]
        self.make_certificate("first")
        lines = self.passwd("ada", typed="correct horse\n").stdout.removeprefix("web:\n")
        made = self.passwd("--token", "robot", "--role", "operator")
        self.token = made.stderr.splitlines()[-1]
        web = f"web:\n  port: {self.port}\n  certificate: site.crt\n  private_key: site.key\n  login: always\n{lines}"
        web += made.stdout.removeprefix("web:\n")
        text = PIMAN_YAML.format(**self.ports).replace(f"web: {{port: {self.port}}}\n", web)
        switch = "switches: [{switch_address: 127.77.0.254, snmp: {community: c0mmun1ty-w0rd, port: 9}}]"
        text = text.replace("switches: []", switch)
        self.configuration = self.folder / "piman.yaml"
        self.configuration.write_text(text)
        (self.folder / "hosts.csv").write_text("B8:27:EB:00:00:01;127.77.0.11;pi11;0\n")
        self.manager = Manager(self.folder)
        self.addCleanup(self.manager.stop)

    def passwd(self, *arguments: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
        """``piman passwd``"""
        command = [PIMAN, "passwd", *arguments]
        return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=True)

    def make_certificate(self, name: str) -> None:
        """site.crt and site.key, by openssl."""
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "site.key", "-out", "site.crt"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def curl(self, path: str, *options: str) -> str:
        """What curl says; it trusts the certificate of the file alone."""
        url = f"https://localhost:{self.port}{path}"
        command = ["curl", "-sS", "-m", "30", "--cacert", "site.crt", "-b", "jar", "-c", "jar", *options, url]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_login(self) -> None:
        """From the login page to a page and out again, and the name stands in the event."""
        self.manager.start()
        page = self.curl("/", "-L", "-H", "Accept: text/html", "-w", "%{url_effective}")
        self.assertTrue(page.endswith("/login?next=%2F"), page[-100:])
        form = "--data-urlencode", "name=ada", "--data-urlencode", "password=correct horse", "-d", "next=/healthz"
        self.assertIn('"status":"ok"', self.curl("/login", "-L", *form))
        self.assertIn("__Host-piman-", (self.folder / "jar").read_text())
        self.assertIn("pi11", self.curl("/"))
        self.manager.wait_for(lambda: self.manager.events("LoggedIn"), 20.0, "the event of the login")
        (event,) = self.manager.events("LoggedIn")
        self.assertEqual((event["who"], event["source"]), ("ada", "127.0.0.1"))
        said = self.manager.output.read_text() + json.dumps(self.manager.events())
        self.assertNotIn("correct horse", said)
        self.assertNotIn(self.token, said)

    def test_token(self) -> None:
        """A program with a token; without, it is told what it needs."""
        self.manager.start()
        self.assertEqual(json.loads(self.curl("/api/v1/nodes"))["error"]["code"], "login-needed")
        answer = self.curl("/api/v1/nodes", "-H", f"Authorization: Bearer {self.token}")
        self.assertEqual(json.loads(answer)["nodes"][0]["name"], "pi11")

    def test_secrets(self) -> None:
        """No answer holds a community, a hash or a token."""
        self.manager.start()
        paths = json.loads(self.curl("/openapi.json", "-H", f"Authorization: Bearer {self.token}"))["paths"]
        reading = [path for path, methods in paths.items() if "get" in methods and "stream" not in path]
        self.assertGreater(len(reading), 8)
        hidden = re.findall(r"(?:password_hash|token_hash|community): \"?([^\s\",]+)", self.configuration.read_text())
        self.assertEqual(len(hidden), 3)
        for path in ["/", *reading]:
            named = path.replace("{name}", "pi11").replace("{identity}", "00000000")
            answer = self.curl(named, "-H", f"Authorization: Bearer {self.token}")
            self.assertEqual([secret for secret in (*hidden, self.token) if secret in answer], [], path)

    def test_reload(self) -> None:
        """SIGHUP takes a renewed certificate, and users that are gone may do nothing any more."""
        self.manager.start()
        form = "--data-urlencode", "name=ada", "--data-urlencode", "password=correct horse"
        self.curl("/login", *form)
        self.assertIn('"nodes"', self.curl("/api/v1/nodes"))
        self.make_certificate("second")
        text = self.configuration.read_text()
        self.configuration.write_text(text.replace("name: ada", "name: bob"))
        assert self.manager.process is not None
        self.manager.process.send_signal(signal.SIGHUP)
        self.manager.wait_for(lambda: self.manager.events("ConfigurationReloaded"), 20.0, "the files to be read again")
        self.assertEqual(json.loads(self.curl("/api/v1/nodes"))["error"]["code"], "login-needed")

    def test_taken_port(self) -> None:
        """A port that somebody has: one line with its number, status 1."""
        with socket.create_server(("127.0.0.1", self.port)):
            command = [PIMAN, "server", "--config", "piman.yaml"]
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("piman: ")]
        self.assertIn("web cannot start", line)
        self.assertIn(str(self.port), line)
