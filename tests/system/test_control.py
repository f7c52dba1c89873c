"""
The operator's hand and the manager's socket: real processes, real peer credentials, switches that are files.

The board is a few datagrams that real boards sent (tests/captures), as through a relay at its own address.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.captures import dhcp
from tests.system.manager import TWISTD, Manager
from tests.system.test_manager import NAMES, free_ports

PIMAN = str(Path(sys.executable).parent / "piman")
PIMAN_YAML = """
private_number: 77
server_address: 127.77.0.1
subnet_mask: 255.255.0.0
interface: lo
dhcp: {{port: {dhcp}, dns_servers: [127.77.0.1]}}
tftp: {{port: {tftp}}}
ntp: {{port: {ntp}}}
hello: {{port: {hello}, image_port: {image}, http_port: {http}}}
web: {{port: {web}}}
monitor: {{enabled: false}}
operations: {{off_seconds: 1, stagger_seconds: 0.1}}
switches:
  - switch_address: 127.77.0.254
    name: rack-a
    power: {{kind: relays, folder: {relays}}}
    pi_addresses: [127.77.0.2, 127.77.0.3, 127.77.0.4]
    protected_ports: [8]
"""
HOSTS = "B8:27:EB:00:00:02;127.77.0.2;pi2;0\nB8:27:EB:00:00:03;127.77.0.3;pi3;0\n"
MANAGER_ADDRESS, SWITCH = "127.77.0.1", "127.77.0.254"
NOBODY = 65534
WAIT_SECONDS = 60.0
"""Far more than anything here needs; a test that waits so long has failed."""


class _InFolder(SynchronousTestCase):
    """A folder with a configuration, a plugin of a power switch, and eight relays."""

    def setUp(self) -> None:
        """Write the files."""
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.folder.chmod(0o755)
        self.relays = self.folder / "relays"
        plugins = self.folder / "others/piman/plugins"
        for path in (self.relays, plugins, self.folder / "install/boot"):
            path.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("relays.py"), plugins)
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        (self.folder / "piman.yaml").write_text(PIMAN_YAML.format(**self.ports, relays=self.relays))
        (self.folder / "hosts.csv").write_text(HOSTS)
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(self.folder / "others")
        self.addCleanup(self._restore, before)
        self.manager = Manager(self.folder)
        self.addCleanup(self.manager.stop)
        self.socket = self.folder / "state/control.sock"

    def _restore(self, before: str | None) -> None:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before

    def piman(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a word to its end."""
        command = [PIMAN, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=WAIT_SECONDS, **options)

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        """Begin a word."""
        process = subprocess.Popen(
            [PIMAN, *arguments], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def orders(self) -> list[str]:
        """What the relays were told."""
        log = self.relays / "log"
        return log.read_text().splitlines() if log.exists() else []

    def wait_for(self, condition: Any, what: str) -> None:
        """Look until it is so."""
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain for {what}")
            time.sleep(0.02)

    def boot(self, address: str) -> None:
        """A board comes up: its firmware asks for an address, then its system does."""
        number = bytes([int(address.rsplit(".", 1)[1])])
        mac = bytes.fromhex("b827eb0000") + number
        request = dhcp.REQUEST_DHCLIENT.replace(bytes.fromhex("ac1e0401"), socket.inet_aton(MANAGER_ADDRESS))
        request = request.replace(bytes.fromhex("ac1e040d"), socket.inet_aton(address))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
            board.bind((address, 0))
            for datagram, kind in ((dhcp.DISCOVER_PI400, "AddressOffered"), (request, "AddressLeased")):
                count = len(self.manager.events(kind))
                relayed = datagram[:24] + socket.inet_aton(address) + mac + datagram[34:]
                board.sendto(relayed, (MANAGER_ADDRESS, self.ports["dhcp"]))
                self.wait_for(lambda kind=kind, count=count: len(self.manager.events(kind)) > count, kind)


class RestartTests(_InFolder):
    """``restart`` with a manager."""

    def test_designs_example(self) -> None:
        """``twistd piman-ctl restart SWITCH 2 3`` cycles the ports, follows the nodes until they are up; status 0."""
        self.manager.start()
        command = [TWISTD, "piman-ctl", "restart", SWITCH, "2", "3"]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.wait_for(lambda: {"on 2", "on 3"} <= set(self.orders()), "the relays")
        self.boot("127.77.0.2")
        self.boot("127.77.0.3")
        out, err = process.communicate(timeout=WAIT_SECONDS)
        self.assertEqual((process.returncode, err), (0, ""), out)
        self.assertIn("pi2: done", out)
        self.assertRegex(out.splitlines()[-1], "^restart [0-9a-f]{8}: 2 done$")
        self.assertEqual(sorted(self.orders()), ["off 2", "off 3", "on 2", "on 3"])
        self.assertEqual(list(self.folder.glob("twistd.*")), [])

    def test_manager_killed_meanwhile(self) -> None:
        """SIGKILL of the manager while the port is dark: the command waits, the next manager goes on."""
        self.manager.start()
        process = self.begin("restart", "pi2")
        self.manager.wait_for(lambda: self.manager.events("PowerRemoved"), WAIT_SECONDS, "the power to go")
        self.manager.kill()
        assert process.stderr is not None
        self.assertIn("the manager is away", process.stderr.readline())
        self.assertIsNone(process.poll())
        self.manager.start()
        self.wait_for(lambda: "on 2" in self.orders(), "power")
        self.manager.wait_for(lambda: self.manager.events("PowerCycled"), WAIT_SECONDS, "the manager to see it")
        self.boot("127.77.0.2")
        out, _ = process.communicate(timeout=WAIT_SECONDS)
        self.assertEqual(process.returncode, 0, out)
        self.assertEqual(out.count("pi2: done"), 1)

    def test_deaf_switch(self) -> None:
        """A switch that does not obey: exit status 1, the port and the reason, the remedy, and no node left dark."""
        (self.relays / "deaf").touch()
        self.manager.start()
        done = self.piman("power", "off", "pi2", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        (report,) = json.loads(done.stdout)["reports"]
        self.assertEqual((report["step"], report["remedy"]), ("failed", "Look at it."))
        self.assertIn("rack-a port 2 was ordered off and is not", report["reason"])
        self.assertFalse((self.relays / "2").exists())

    def test_interrupted(self) -> None:
        """Ctrl-C: status 130, a word how to end the operation, which goes on."""
        self.manager.start()
        process = self.begin("restart", "pi2")
        self.wait_for(lambda: "off 2" in self.orders(), "the relay")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_SECONDS)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("goes on; piman cancel", err)
        self.wait_for(lambda: "on 2" in self.orders(), "the relay")

    def test_reload(self) -> None:
        """SIGHUP takes a new list of protected ports and a new max_blast."""
        self.manager.start()
        text = (self.folder / "piman.yaml").read_text()
        text = text.replace("[8]", "[3, 8]").replace("off_seconds", "max_blast: 1, off_seconds")
        (self.folder / "piman.yaml").write_text(text)
        assert self.manager.process is not None
        os.kill(self.manager.process.pid, signal.SIGHUP)
        self.manager.wait_for(lambda: self.manager.events("ConfigurationReloaded"), 10, "the reload")
        done = self.piman("power", "off", "pi3")
        self.assertEqual(done.returncode, 2)
        self.assertIn("protected_ports", done.stderr)
        self.assertIn("--yes", self.piman("power", "off", "rack-a", "1", "2").stderr)
        self.assertEqual(self.orders(), [])


class WithoutManagerTests(_InFolder):
    """No manager."""

    def test_restart(self) -> None:
        """``restart`` goes to the switch itself, says so on standard error, and claims no more than it has seen."""
        done = self.piman("restart", "rack-a", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            done.stderr, f"piman: no manager answers at {self.socket}: speaking to the switches directly\n"
        )
        self.assertIn("it is not followed further", done.stdout)
        self.assertEqual(self.orders(), ["off 2", "on 2"])

    def test_interrupted(self) -> None:
        """Ctrl-C while the port is dark gives it power before the command ends."""
        path = self.folder / "piman.yaml"
        path.write_text(path.read_text().replace("off_seconds: 1", "off_seconds: 60"))
        process = self.begin("restart", "rack-a", "2")
        self.wait_for(lambda: "off 2" in self.orders(), "the relay")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_SECONDS)
        self.assertEqual(process.returncode, 130, err)
        self.assertEqual(self.orders(), ["off 2", "on 2"])

    def test_find_port(self) -> None:
        """``find-port`` asks the switch itself."""
        (self.relays / "6.macs").write_text("b8:27:eb:00:00:09\n")
        done = self.piman("find-port", "b8:27:eb:00:00:09")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, f"b8:27:eb:00:00:09: rack-a port 6 ({SWITCH}), where the switch sees it\n")
        self.assertIn("directly", done.stderr)

    def test_other_words(self) -> None:
        """Every other word: status 3, and one line that names the socket."""
        for word in ("status", "why pi2", "events", "map", "operations", "cancel 1", "reinstall pi2", "power off pi2"):
            done = self.piman(*word.split())
            self.assertEqual((done.returncode, done.stdout), (3, ""), word)
            self.assertEqual(len(done.stderr.splitlines()), 1)
            self.assertIn(str(self.socket), done.stderr)
        self.assertEqual(self.orders(), [])


class SocketTests(_InFolder):
    """The control socket."""

    def test_who(self) -> None:
        """The event of an order names the user whom the kernel knows, whatever the client says."""
        if os.geteuid() != 0:
            raise SkipTest("another user is needed, and only root can be one")
        self.manager.start()
        group = self.socket.stat().st_gid
        for user, node in ((0, 2), (NOBODY, 3)):
            body = json.dumps({"action": "power-off", "nodes": [f"pi{node}"], "dry_run": False})
            head = f"POST /api/v1/operations HTTP/1.0\r\nUser: root\r\nContent-Length: {len(body)}\r\n\r\n"
            self.assertEqual(self.say_as(user, group, f"{head}{body}"), "HTTP/1.0 201")
        self.wait_for(lambda: len(self.manager.events("OperationStarted")) == 2, "the journal")
        started = self.manager.events("OperationStarted")
        self.assertEqual([event["who"] for event in started], ["root", pwd.getpwuid(NOBODY).pw_name])
        self.assertEqual({event["source"] for event in started}, {"control socket"})

    def say_as(self, user: int, group: int, request: str) -> str:
        """How the answer to a request of another user begins."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # nothing but system calls from here on
            try:
                os.setgroups([])
                os.setgid(group)
                os.setuid(user)
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(self.socket))
                    connection.sendall(request.encode())
                    os.write(writer, connection.recv(12))
            except OSError as reason:
                os.write(writer, type(reason).__name__.encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with open(reader, "rb") as answer:
            return answer.read().decode()

    def test_mode(self) -> None:
        """User and group may use the socket; others may not, not even to ask."""
        self.manager.start()
        self.assertEqual(oct(stat.S_IMODE(self.socket.stat().st_mode)), "0o660")
        if os.geteuid() != 0:
            raise SkipTest("another user is needed, and only root can be one")
        request = "GET /healthz HTTP/1.0\r\n\r\n"
        self.assertEqual(self.say_as(NOBODY, NOBODY, request), "PermissionError")
        self.assertEqual(self.say_as(NOBODY, self.socket.stat().st_gid, request), "HTTP/1.0 200")

    def test_not_for_you(self) -> None:
        """A user who may not use the socket is told so, with status 3, and nobody goes round it to the switch."""
        if os.geteuid() != 0:
            raise SkipTest("another user is needed, and only root can be one")
        self.manager.start()
        program = (
            "import os, piman.control as control; from twisted.internet import reactor; "
            "''.encode('idna'), ''.encode('utf-8-sig'); "  # Python itself may lie where only root can read
            f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); control.console()"
        )
        command = [sys.executable, "-c", program, "restart", "pi2"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=WAIT_SECONDS)
        self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)
        self.assertIn("is not for you", done.stderr)
        self.assertEqual(self.orders(), [])

    def test_after_a_kill(self) -> None:
        """What a killed manager left is no obstacle; after a good end nothing is left."""
        self.manager.start()
        self.manager.kill()
        self.assertTrue(self.socket.exists())
        self.manager.start()
        self.assertEqual(self.piman("status").returncode, 0)
        self.manager.stop()
        self.assertFalse(self.socket.exists())

    def test_second_manager(self) -> None:
        """A second manager on the same socket does not start; one line says why; the first goes on."""
        self.manager.start()
        other = self.folder / "other.yaml"
        text = (self.folder / "piman.yaml").read_text()
        for name, port in zip(NAMES, free_ports(len(NAMES)), strict=True):
            text = text.replace(str(self.ports[name]), str(port))
        other.write_text(f"{text}state_dir: elsewhere\nlog_dir: elsewhere\ncontrol: {{socket: {self.socket}}}\n")
        command = [TWISTD, "-n", "--pidfile=", "piman", "--config", "other.yaml"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=WAIT_SECONDS)
        self.assertEqual(done.returncode, 1, done.stderr)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("piman: ")]
        self.assertIn(f"another manager answers at {self.socket}", line)
        self.assertEqual(self.piman("status").returncode, 0)

    def test_long_path(self) -> None:
        """A socket whose path is longer than sockaddr_un serves all the same."""
        deep = self.folder / ("d" * 100) / "control.sock"
        text = (self.folder / "piman.yaml").read_text()
        (self.folder / "piman.yaml").write_text(f"{text}control: {{socket: {deep}}}\n")
        self.manager.start()
        self.assertTrue(deep.is_socket())
        done = self.piman("status")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_follow(self) -> None:
        """``events --follow`` shows each event once, also across a manager that was killed."""
        self.manager.start()
        process = self.begin("events", "--follow", "--json")
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())]
        self.piman("power", "off", "pi2")
        seen += [json.loads(process.stdout.readline()) for _ in range(3)]
        self.manager.wait_for(lambda: self.manager.events("OperationEnded"), 10, "the journal")
        time.sleep(0.5)  # twice the history's batch: what is killed before it is written is not there afterwards
        self.manager.kill()
        self.manager.start()
        seen += [json.loads(process.stdout.readline())]
        self.assertEqual(
            [event["kind"] for event in seen],
            ["ManagerStarted", "OperationStarted", "PowerRemoved", "OperationEnded", "ManagerStarted"],
        )
        self.assertEqual(len({event["id"] for event in seen}), 5)
