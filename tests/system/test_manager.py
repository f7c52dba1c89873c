"""
The manager as a whole, as an operator starts it: ``twistd -n piman`` on loopback, without root.
"""

import os
import random
import resource
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from piman.words import own_version
from tests.system.manager import TWISTD, Manager

PIMAN_YAML = """
private_number: 77
server_address: 127.77.0.1
subnet_mask: 255.255.0.0
interface: lo
switches: []
dhcp: {{port: {dhcp}, dns_servers: [127.77.0.1]}}
tftp: {{port: {tftp}}}
ntp: {{port: {ntp}}}
hello: {{port: {hello}, image_port: {image}, http_port: {http}}}
web: {{port: {web}}}
"""

PIMAN = str(Path(TWISTD).parent / "piman")

ENDED_BY_SIGTERM = (0, -signal.SIGTERM)
"""twistd stops everything and then, as is right, dies of the signal that it got."""

NAMES = ("dhcp", "tftp", "ntp", "hello", "image", "http", "web")


def free_ports(count: int) -> list[int]:
    """Ports that are free for both TCP and UDP right now, below those that the kernel hands out by itself."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, 32_768)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("0.0.0.0", port))
            udp.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


class _InFolder(SynchronousTestCase):
    """A folder with a configuration that works."""

    def setUp(self) -> None:
        """Write the files."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "install/boot").mkdir(parents=True)
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.configuration = self.folder / "piman.yaml"
        self.configuration.write_text(PIMAN_YAML.format(**self.ports))
        (self.folder / "hosts.csv").write_text("B8:27:EB:00:00:01;127.77.0.11;pi11;0\n")
        self.manager = Manager(self.folder)
        self.addCleanup(self.manager.stop)

    def once(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command that ends by itself."""
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)


class StartTests(_InFolder):
    """Starting, reloading and stopping."""

    def test_start_and_stop(self) -> None:
        """It starts, its doors answer, SIGTERM ends it."""
        self.manager.start()
        for name in ("hello", "image", "http"):
            socket.create_connection(("127.77.0.1", self.ports[name]), 5).close()
        self.assertIn(self.manager.stop(), ENDED_BY_SIGTERM)

    def said(self, words: str) -> str:
        """The line of its log with these words, once it is there."""
        self.manager.wait_for(lambda: words in self.manager.output.read_text(), 10, words)
        (line,) = [line for line in self.manager.output.read_text().splitlines() if words in line]
        return line

    def test_ready_line(self) -> None:
        """One line says that it is ready, with version, nodes, address and all ports; Twisted's own chatter is not."""
        self.manager.start()
        line = self.said(" is ready for ")
        self.assertIn(f"piman {own_version()} is ready for 1 node at 127.77.0.1 on lo: ", line)
        names = "DHCP", "TFTP", "NTP", "hello", "image", "HTTP", "web"
        for name, port in zip(names, self.ports.values(), strict=True):
            self.assertIn(f"{name} {port}", line)
        self.manager.stop()
        self.assertNotRegex(self.manager.output.read_text(), "(Starting|Stopping) (protocol|factory)")

    def test_file_limit(self) -> None:
        """It takes as many files as it may, and says when these are too few for its nodes."""
        hosts = "".join(f"B8:27:EB:00:00:{n:02X};127.77.0.{n}\n" for n in range(11, 200))
        (self.folder / "hosts.csv").write_text(hosts)
        self.manager.prefix = ("sh", "-c", 'ulimit -Sn 300; ulimit -Hn 600; exec "$@"', "sh")
        self.manager.start()
        assert self.manager.process is not None
        self.assertEqual(resource.prlimit(self.manager.process.pid, resource.RLIMIT_NOFILE), (600, 600))
        self.assertIn("600 files and connections", self.said("too few to install all 189 nodes at once"))

    def test_reload(self) -> None:
        """SIGHUP takes a new row; after a mistake it says so and changes nothing."""
        self.manager.start()
        assert self.manager.process is not None
        two = "B8:27:EB:00:00:01;127.77.0.11;pi11;0\nB8:27:EB:00:00:02;127.77.0.12;;0\n"
        (self.folder / "hosts.csv").write_text(two)
        os.kill(self.manager.process.pid, signal.SIGHUP)
        self.manager.wait_for(lambda: self.manager.events("ConfigurationReloaded"), 10, "the reload")
        self.assertEqual(self.manager.events("ConfigurationReloaded")[0]["nodes"], 2)
        notes = f"{self.configuration}: switches: none, so piman controls nobody's power"
        self.assertTrue(self.said(" read again: ").endswith(f"{self.configuration} read again: 2 nodes; {notes}"))
        self.configuration.write_text("nonsense: true\n")
        os.kill(self.manager.process.pid, signal.SIGHUP)
        self.manager.wait_for(lambda: self.manager.events("ConfigurationRejected"), 10, "the rejection")
        self.assertIn("nonsense", " ".join(self.manager.events("ConfigurationRejected")[0]["problems"]))

    def test_reload_of_spoilt_files(self) -> None:
        """A hosts.csv that became a pipe, or empty, is refused at SIGHUP; the manager answers on."""
        self.manager.start()
        assert self.manager.process is not None
        hosts = self.folder / "hosts.csv"
        for number, words in enumerate(("a named pipe", "no board, where 1 is known"), start=1):
            hosts.unlink()
            if number == 1:
                os.mkfifo(hosts)
            else:
                hosts.touch()
            os.kill(self.manager.process.pid, signal.SIGHUP)
            rejected = lambda n=number: len(self.manager.events("ConfigurationRejected")) == n  # noqa: E731
            self.manager.wait_for(rejected, 10, "the rejection")
            self.assertIn(words, str(self.manager.events("ConfigurationRejected")[-1]["problems"]))
            socket.create_connection(("127.77.0.1", self.ports["hello"]), 5).close()
        self.assertEqual(self.manager.events("ConfigurationReloaded"), [])

    def test_spoilt_state(self) -> None:
        """A row of state.db that cannot be read costs one line and one event; the next start has nothing to say."""
        self.manager.start()
        self.manager.stop()
        with closing(sqlite3.connect(self.folder / "state/state.db")) as file, file:
            file.execute("INSERT INTO leases VALUES (2135752715, x'b827', 'nonsense', 9e9, 'os')")
            file.execute("INSERT INTO intents VALUES ('x', 1.0, 0, '{')")
        for _ in range(2):
            self.manager.start()
            self.assertIn(self.manager.stop(), ENDED_BY_SIGTERM)
        told = [(event["table"], event["records"]) for event in self.manager.events("RecordsRejected")]
        self.assertEqual(told, [("intents", 1), ("leases", 1)])
        self.assertEqual(self.manager.output.read_text().count("cannot be read and do"), 2)
        self.assertNotIn("Traceback", self.manager.output.read_text())

    def ask_for_boot_file(self, name: bytes) -> tuple[bytes, int]:
        """Ask as a board that is no known node; the answer and the port that it came from."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
            board.settimeout(5)
            board.bind(("127.77.0.99", 0))
            board.sendto(b"\0\1" + name + b"\0octet\0", ("127.77.0.1", self.ports["tftp"]))
            answer, (_, port) = board.recvfrom(2000)
        return answer, port

    def test_unknown_clients_reloaded(self) -> None:
        """SIGHUP takes tftp.unknown_clients; transfers leave from the ports of tftp.data_ports."""
        (self.folder / "install/boot/config.txt").write_bytes(b"arm_64bit=1\n")
        first = free_ports(1)[0] + 1
        tftp = f"port: {self.ports['tftp']}, data_ports: {first}-{first + 99}"
        text = PIMAN_YAML.format(**self.ports).replace(f"port: {self.ports['tftp']}", tftp)
        self.configuration.write_text(text)
        self.manager.start()
        assert self.manager.process is not None
        answer, port = self.ask_for_boot_file(b"config.txt")
        self.assertEqual(answer, b"\0\3\0\1arm_64bit=1\n")
        self.assertIn(port, range(first, first + 100))
        self.configuration.write_text(text.replace(tftp, f"{tftp}, unknown_clients: refuse"))
        os.kill(self.manager.process.pid, signal.SIGHUP)
        self.manager.wait_for(lambda: self.manager.events("ConfigurationReloaded"), 10, "the reload")
        self.assertNotIn("next start", str(self.manager.events("ConfigurationReloaded")[0]["warnings"]))
        answer, _ = self.ask_for_boot_file(b"config.txt")
        self.assertEqual(answer[:4], b"\0\5\0\2")

    def test_operators_files_untouched(self) -> None:
        """A run leaves piman.yaml and hosts.csv as they were."""
        before = [(self.folder / name).read_bytes() for name in ("piman.yaml", "hosts.csv")]
        self.manager.start()
        self.manager.stop()
        self.assertEqual([(self.folder / name).read_bytes() for name in ("piman.yaml", "hosts.csv")], before)

    def test_after_a_kill(self) -> None:
        """Neither what a killed manager leaves nor a twistd.pid with another program's number hinders the next one."""
        self.manager.start()
        self.manager.kill()
        (self.folder / "twistd.pid").write_text(str(os.getpid()))
        with self.manager.output.open("ab") as output:
            self.manager.process = subprocess.Popen([PIMAN, "server"], cwd=self.folder, stdout=output, stderr=output)
        self.manager.wait_for(lambda: len(self.manager.events("ManagerStarted")) == 2, 60, "the second start")
        self.assertIn(self.manager.stop(), ENDED_BY_SIGTERM)
        self.assertEqual((self.folder / "twistd.pid").read_text(), str(os.getpid()))

    def test_tac(self) -> None:
        """``twistd -ny piman.tac`` runs the same services."""
        tac = Path(__file__).resolve().parent.parent.parent / "piman.tac"
        self.manager.start()
        self.manager.stop()
        environment = {**os.environ, "PIMAN_CONFIG": str(self.configuration)}
        with self.manager.output.open("ab") as output:
            self.manager.process = subprocess.Popen(
                [TWISTD, "-n", "--pidfile=", "-y", str(tac)],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=output,
            )
        self.manager.wait_for(lambda: len(self.manager.events("ManagerStarted")) == 2, 60, "the second start")
        self.assertIn(self.manager.stop(), ENDED_BY_SIGTERM)

    def test_daemonized(self) -> None:
        """Without -n twistd forks; the manager works all the same and stops at SIGTERM."""
        done = self.once(TWISTD, "--pidfile=piman.pid", "--logfile=twistd.log", "piman", "--config", "piman.yaml")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.manager.wait_for(lambda: self.manager.events("ManagerStarted"), 60, "the daemon")
        pid = int((self.folder / "piman.pid").read_text())
        socket.create_connection(("127.77.0.1", self.ports["hello"]), 5).close()
        os.kill(pid, signal.SIGTERM)
        self.manager.wait_for(lambda: not (self.folder / "piman.pid").exists(), 30, "the daemon to end")


class RefusalTests(_InFolder):
    """One clear line, an exit status, nothing half-started."""

    def run_manager(self) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        return self.once(TWISTD, "-n", "--pidfile=", "piman", "--config", "piman.yaml")

    def test_taken_udp_port(self) -> None:
        """A taken DHCP port: one line on stderr names it and what to do; status 1; no traceback."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
            squatter.bind(("0.0.0.0", self.ports["dhcp"]))
            done = self.run_manager()
        self.assertEqual(done.returncode, 1)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("piman: ")]
        self.assertIn(str(self.ports["dhcp"]), line)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_taken_tcp_port(self) -> None:
        """A taken hello port likewise."""
        with socket.socket() as squatter:
            squatter.bind(("0.0.0.0", self.ports["hello"]))
            squatter.listen()
            done = self.run_manager()
        self.assertEqual(done.returncode, 1)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("piman: ")]
        self.assertIn(str(self.ports["hello"]), line)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_mistakes_in_the_configuration(self) -> None:
        """All mistakes at once on stderr, status 2, no state is created."""
        self.configuration.write_text("server_address: 300.1.1.1\nprivat_number: 4\n")
        done = self.run_manager()
        self.assertEqual(done.returncode, 2)
        self.assertIn("300.1.1.1", done.stderr)
        self.assertIn("private_number", done.stderr)
        self.assertFalse((self.folder / "state").exists())

    def test_missing_configuration(self) -> None:
        """A missing file: its name, status 2."""
        self.configuration.unlink()
        done = self.run_manager()
        self.assertEqual(done.returncode, 2)
        self.assertIn("piman.yaml", done.stderr)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_other_reactor(self) -> None:
        """Another reactor that the command line forced: one line says which to use."""
        done = self.once(TWISTD, "-n", "--reactor=poll", "--pidfile=", "piman", "--config", "piman.yaml")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--reactor=asyncio", done.stderr)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_second_manager(self) -> None:
        """A second manager with other ports but the same state_dir: one line names the first one's pid; status 1."""
        self.manager.start()
        assert self.manager.process is not None
        others = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.configuration.write_text(PIMAN_YAML.format(**others))
        done = self.run_manager()
        self.assertEqual(done.returncode, 1)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("piman: ")]
        self.assertIn(f"in use by another manager (pid {self.manager.process.pid})", line)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_state_is_no_folder(self) -> None:
        """A state_dir that cannot be created: one line, status 1."""
        (self.folder / "state").write_text("in the way")
        done = self.run_manager()
        self.assertEqual(done.returncode, 1)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("piman: ")]
        self.assertIn("state", line)

