"""
Tests for :mod:`piman.serving`: what the configuration means to the site.
"""

import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from piman.config import Config, ConfigError, load
from piman.ordered import StartupError
from piman.serving import SecureDoor, access_settings, site_service
from piman.web.access.guard import Guard
from piman.web.access.hosts import Authority
from piman.web.site import SiteService
from piman.web.tls import BadCertificate, Certified
from tests.site_support import OPERATOR_DIGEST, password_hash

BASE = "server_address: 172.30.4.1\nsubnet_mask: 24\ninterface: eth0\nhosts_file: hosts.csv\n"


class InFolder(SynchronousTestCase):
    """Configurations in a folder."""

    def setUp(self) -> None:
        """An empty one."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "hosts.csv").write_text("")

    def read(self, web: str) -> Config:
        """A configuration with this under ``web``."""
        (self.folder / "piman.yaml").write_text(f"{BASE}web: {web}\n")
        return load(self.folder / "piman.yaml", resolver_files=())

    def mistakes(self, web: str) -> str:
        """What is wrong with it."""
        return str(self.assertRaises(ConfigError, self.read, web))

    def service(self, web: str, reactor: Any = None) -> tuple[Any, SiteService]:
        """The reactor and the service."""
        reactor, config = reactor or MemoryReactorClock(), self.read(web)
        guard = Guard(reactor, access_settings(config))
        made = site_service(
            reactor, config, guard=guard, door=SecureDoor(), parts={}, rest=Resource(), end=lambda: None
        )
        return reactor, made

    def certificate(self, name: str = "a") -> tuple[Path, Path]:
        """A certificate and its key, made by openssl."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", f"/CN={name}", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
        return certificate, key


class SettingsTests(InFolder):
    """Keys."""

    def test_access(self) -> None:
        """Users, tokens, names and addresses reach the guard."""
        found = access_settings(
            self.read(
                f"{{address: 10.0.0.1, allowed_hosts: [Piman.Lab], login: always, "
                f'users: [{{name: ada, password_hash: "{password_hash()}", role: operator}}], '
                f"tokens: [{{name: robot, token_hash: {OPERATOR_DIGEST}}}]}}"
            )
        )
        self.assertEqual(found.users["ada"].role, "operator")
        self.assertEqual(found.tokens[OPERATOR_DIGEST].role, "viewer")
        self.assertTrue(found.always)
        for host in ("172.30.4.1", "10.0.0.1", "piman.lab"):
            self.assertTrue(found.hosts.admits(Authority(host), "127.0.0.1"), host)

    def test_secrets_are_not_told(self) -> None:
        """A mistake in a secret names its place and what was expected, not what stands there: events show it."""
        for key, name in (("users", "password_hash"), ("tokens", "token_hash")):
            for secret in ("hunter2", "$scrypt$ln=40,r=8,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "{a: hunter2}"):
                text = self.mistakes(f"{{{key}: [{{name: a, {name}: {secret if '{' in secret else repr(secret)}}}]}}")
                self.assertIn(f"web.{key}[0].{name}", text)
                self.assertIn("piman-ctl passwd", text)
                self.assertNotIn("hunter2", text)
                self.assertNotIn("c2Fsd", text)

    def test_fit(self) -> None:
        """What does not fit together is said with its key."""
        token = f"{{name: a, token_hash: {OPERATOR_DIGEST}}}"
        for web, key in (
            ("{certificate: a.pem}", "web.certificate"),
            ("{private_key: a.pem}", "web.private_key"),
            ("{endpoint: 'ssl:5443:privateKey=a:certKey=b', port: 80}", "web.port"),
            ("{endpoint: '5443'}", "web.endpoint"),
            ("{endpoint: 'tcp:80', address: 0.0.0.0}", "web.address"),
            (
                f"{{tokens: [{token}, {token}]}}",
                "web.tokens[1].name",
            ),
            (
                f"{{users: [{{name: a, password_hash: '{password_hash()}'}}], tokens: [{token}]}}",
                "web.tokens[0].name",
            ),
            ("{allowed_hosts: ['http://piman.lab']}", "web.allowed_hosts[0]"),
            ("{allowed_hosts: ['piman.lab:5000']}", "web.allowed_hosts[0]"),
            ("{allowed_hosts: ['abc:50']}", "web.allowed_hosts[0]"),
            ("{login: never}", "web.login"),
            ("{users: [{name: a}]}", "web.users[0].password_hash"),
        ):
            self.assertIn(f" {key}: ", self.mistakes(web), web)

    def test_nobody(self) -> None:
        """A site that others reach, and that lets none of them in, is told; one for this machine is not."""
        for web in ("{address: 0.0.0.0}", "{endpoint: 'tcp:5000'}", "{login: always}"):
            (found,) = [each for each in self.read(web).warnings if "piman-ctl passwd" in each]
            self.assertIn("no web.users and no web.tokens", found)
        for web in (
            "{}",
            "{address: 127.0.0.2}",
            "{endpoint: 'tcp:5000:interface=127.0.0.1'}",
            "{address: 0.0.0.0, enabled: false}",
            f"{{address: 0.0.0.0, tokens: [{{name: a, token_hash: {OPERATOR_DIGEST}}}]}}",
        ):
            self.assertEqual([each for each in self.read(web).warnings if "piman-ctl passwd" in each], [], web)


class ServiceTests(InFolder):
    """The port."""

    def test_bound_early(self) -> None:
        """The port is bound while the process may still do that, at the address of the file."""
        reactor, service = self.service("{address: 172.30.4.1, port: 80}")
        self.assertEqual(reactor.tcpServers, [])
        service.privilegedStartService()
        ((port, _, _, interface),) = reactor.tcpServers
        self.assertEqual((port, interface), (80, "172.30.4.1"))
        service.startService()
        self.assertEqual(len(reactor.tcpServers), 1)
        self.successResultOf(service.stopService())

    def test_endpoint(self) -> None:
        """Twisted's own words for where to listen."""
        reactor, service = self.service("{endpoint: 'tcp:8080:interface=172.30.4.1'}")
        service.privilegedStartService()
        self.assertEqual([(each[0], each[3]) for each in reactor.tcpServers], [(8080, "172.30.4.1")])

    def test_bad_endpoint(self) -> None:
        """Those that mean nothing stop the start with the key's name."""
        for endpoint in ("tcp:no-number", "ssl:5443:privateKey=/nowhere:certKey=/nowhere"):
            _, service = self.service(f"{{endpoint: '{endpoint}'}}")
            reason = self.assertRaises(StartupError, service.privilegedStartService)
            self.assertIn("web.endpoint", str(reason))

    def test_taken(self) -> None:
        """A taken port raises what stops the start, also behind an endpoint."""
        from twisted.internet import reactor

        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = holder.getsockname()[1]
            for web in (f"{{port: {port}}}", f"{{endpoint: 'tcp:{port}:interface=127.0.0.1'}}"):
                _, service = self.service(web, reactor)
                self.assertRaises(CannotListenError, service.privilegedStartService)

    def test_unusable_certificate(self) -> None:
        """Certificates that cannot be used stop the start, and say why."""
        _, service = self.service("{certificate: nowhere.crt, private_key: nowhere.key}")
        reason = self.assertRaises(StartupError, service.privilegedStartService)
        self.assertIn("nowhere.crt: No such file or directory", str(reason))


class CertificateTests(InFolder):
    """HTTPS from files."""

    def test_read_again(self) -> None:
        """A new certificate is taken; one that cannot be used leaves the old one in use."""
        certificate, key = self.certificate("a")
        certified = Certified(certificate, key)
        before = certified.getContext()
        other, other_key = self.certificate("b")
        certificate.write_bytes(other.read_bytes())
        self.assertRaises(BadCertificate, certified.read_again)
        self.assertIs(certified.getContext(), before)
        key.write_bytes(other_key.read_bytes())
        certified.read_again()
        self.assertIsNot(certified.getContext(), before)

    def test_refused(self) -> None:
        """No certificate in the file, a key with a pass phrase, rubbish, a pipe; no text tells what is in the files."""
        certificate, key = self.certificate("a")
        locked = self.folder / "locked.key"
        command = ["openssl", "pkcs8", "-topk8", "-in", str(key), "-out", str(locked), "-passout", "pass:secret"]
        subprocess.run(command, check=True, capture_output=True)
        rubbish = self.folder / "rubbish"
        rubbish.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)  # to read it would wait for ever
        pairs = ((key, key), (certificate, locked), (rubbish, key), (certificate, rubbish), (pipe, key))
        for files in (*pairs, (certificate, pipe)):
            reason = self.assertRaises(BadCertificate, Certified, *files)
            self.assertNotIn("BEGIN PRIVATE", str(reason))
