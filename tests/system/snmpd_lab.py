"""
A PoE switch whose SNMP agent is net-snmp's ``snmpd``, on a high port of the loopback or in a network namespace.

POWER-ETHERNET-MIB, BRIDGE-MIB, IF-MIB and vendors' MIBs are served by ``poe_agent.py``, which can be told to be
faulty::

    class SomeTests(TestCase):
        skip = unavailable()

        def setUp(self) -> None:
            self.lab = SnmpdLab(Path(self.mktemp()))
            self.addCleanup(self.lab.close)
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from piman.fleet.model import MACAddress
from piman.switching.agent import Target

PROGRAM = Path(__file__).with_name("poe_agent.py")
START_SECONDS = 30.0

PASSED = (
    "1.3.6.1.2.1.2.2",
    "1.3.6.1.2.1.17",
    "1.3.6.1.2.1.31.1.1",
    "1.3.6.1.2.1.47",
    "1.3.6.1.2.1.105",
    "1.3.6.1.4.1.9.9.402",
    "1.3.6.1.4.1.4526",
    "1.3.6.1.4.1.11863",
)
"""What snmpd hands on to our program."""

ADMIN = ".1.3.6.1.2.1.105.1.1.1.3"
CLASS = ".1.3.6.1.2.1.105.1.1.1.10"
MAIN = ".1.3.6.1.2.1.105.1.3.1.1"
NAME = ".1.3.6.1.2.1.31.1.1.1.1"
KIND = ".1.3.6.1.2.1.2.2.1.3"
BRIDGE_PORT = ".1.3.6.1.2.1.17.1.4.1.2"
FDB = ".1.3.6.1.2.1.17.4.3.1"
Q_FDB = ".1.3.6.1.2.1.17.7.1.2.2.1"

COMMUNITIES = """\
rwcommunity private default
rocommunity public default
"""
ONLY_VERSION_1 = """\
com2sec writer default private@4
com2sec reader default public@4
group writers v1 writer
group readers v1 reader
view all included .1
access writers "" v1 noauth exact all all none
access readers "" v1 noauth exact all none none
"""


def unavailable() -> str | None:
    """Why a test that needs snmpd must be skipped; None when it need not."""
    missing = [program for program in ("snmpd", "snmpget", "snmpset") if shutil.which(program) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def user(name: str, auth: tuple[str, str], priv: tuple[str, str]) -> str:
    """Lines of snmpd.conf: a user who may write."""
    return f'createUser {name} {auth[0]} "{auth[1]}" {priv[0]} "{priv[1]}"\nrwuser {name} priv\n'


def rows_of(ports: int) -> dict[str, list[Any]]:
    """A standard switch: everything on, class 0, interfaces ``ge1``.. of the ports' numbers, 16 of 60 W used."""
    rows: dict[str, list[Any]] = {}
    for port in range(1, ports + 1):
        rows[f"{ADMIN}.1.{port}"] = ["integer", 1]
        rows[f"{CLASS}.1.{port}"] = ["integer", 1]
        rows[f"{NAME}.{port}"] = ["string", f"ge{port}"]
        rows[f"{KIND}.{port}"] = ["integer", 6]
        rows[f"{BRIDGE_PORT}.{port}"] = ["integer", port]
    rows[f"{MAIN}.2.1"] = ["gauge", 60]
    rows[f"{MAIN}.3.1"] = ["integer", 1]
    rows[f"{MAIN}.4.1"] = ["gauge", 16]
    return rows


class SnmpdLab:
    """
    One running snmpd.

    :param access: lines of snmpd.conf that say who may do what.
    :param addresses: at all of which it listens.
    :param port: where; 0: any that is free.
    :param prefix: what stands before each command, for example ``ip netns exec NAME``.
    :ivar target: its first address.
    """

    def __init__(
        self,
        folder: Path,
        *,
        access: str = COMMUNITIES,
        ports: int = 8,
        object_id: str = "1.3.6.1.4.1.8072.3.2.10",
        addresses: Iterable[str] = ("127.0.0.1",),
        port: int = 0,
        prefix: Iterable[str] = (),
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True)
        self.addresses = tuple(addresses)
        self._access = access
        self._object_id = object_id
        self._prefix = tuple(prefix)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self._wanted_port = port
        self._state: dict[str, Any] = {"rows": rows_of(ports), "faults": {}, "pending": [], "writable": []}
        self._save()
        self.start()

    @property
    def target(self) -> Target:
        """Where it listens."""
        return Target(IPv4Address(self.addresses[0]), self.port)

    # The daemon

    def start(self) -> None:
        """
        Run it until it answers; on another port when somebody took ours.

        :raises AssertionError: when it ends instead.
        """
        for _ in range(5):
            self.port = self.port or _free_port(self.addresses)
            self._write_configuration()
            self._spawn()
            if self._is_up():
                return
            self.port = self._wanted_port
        raise AssertionError(f"snmpd does not start: {self.log()}")

    def _write_configuration(self) -> None:
        listens = ",".join(f"udp:{address}:{self.port}" for address in self.addresses)
        lines = [f"agentaddress {listens}", f"sysObjectID {self._object_id}", self._access]
        lines += [f"pass_persist .{oid} {sys.executable} {PROGRAM} {self.folder}" for oid in PASSED]
        (self.folder / "snmpd.conf").write_text("\n".join(lines) + "\n")

    def _spawn(self) -> None:
        (self.folder / "snmpd.log").unlink(missing_ok=True)
        command = [*self._prefix, "snmpd", "-f", "-r", "-Lf", "snmpd.log", "-I", "-ifTable,-ifXTable"]
        environment = {
            **os.environ,
            "MIBS": "",
            "SNMPCONFPATH": f"{self.folder}:{self.folder}/persistent",
            "SNMP_PERSISTENT_DIR": str(self.folder / "persistent"),  # engine id, and how often it was started
        }
        self._process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _is_up(self) -> bool:
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                return False
            if "NET-SNMP version" in self.log():
                return True
            time.sleep(0.02)
        return False

    def log(self) -> str:
        """What it says."""
        path = self.folder / "snmpd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def hang(self) -> None:
        """Let it hang: it is there and answers nothing."""
        self._signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.stop()

    def replace(self) -> None:
        """Put another switch in its place: same configuration, another engine id, no memory."""
        self.stop()
        shutil.rmtree(self.folder / "persistent", ignore_errors=True)
        self.start()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    # The switch

    def _save(self) -> None:
        beside = self.folder / "state.new"
        beside.write_text(json.dumps(self._state))
        beside.rename(self.folder / "state.json")

    def _load(self) -> None:
        self._state = json.loads((self.folder / "state.json").read_text())

    def be(self, fault: str, value: Any = True) -> None:
        """
        Be faulty from now on.

        ``deaf``, ``late`` (seconds), ``lying``, ``wrong-type``, ``missing`` (object identifiers), ``slow`` (seconds
        for each object), ``mute`` (once a port was switched off, until :meth:`speak`), ``refuses`` (a word of
        snmpd.conf(5): ``not-writable``, ``wrong-value``, ...).
        """
        self._load()
        self._state["faults"][fault] = value
        self._save()

    def speak(self) -> None:
        """Answer again, whatever made it silent."""
        (self.folder / "speak").touch()
        self._signal(signal.SIGCONT)

    def put(self, rows: dict[str, list[Any]], writable: Iterable[str] = ()) -> None:
        """Add rows: object identifier -> type and value of snmpd.conf(5)."""
        self._load()
        self._state["rows"].update(rows)
        self._state["writable"] += list(writable)
        self._save()

    def learn(self, mac: MACAddress, port: int, *, status: int = 3) -> None:
        """Learn a board in BRIDGE-MIB."""
        index = ".".join(map(str, mac.octets))
        self.put({f"{FDB}.2.{index}": ["integer", port], f"{FDB}.3.{index}": ["integer", status]})

    def learn_in_vlan(self, mac: MACAddress, port: int, vlan: int) -> None:
        """Learn a board in Q-BRIDGE-MIB."""
        index = f"{vlan}." + ".".join(map(str, mac.octets))
        self.put({f"{Q_FDB}.2.{index}": ["integer", port], f"{Q_FDB}.3.{index}": ["integer", 3]})

    def value(self, oid: str) -> Any:
        """What our program has there, whatever it tells; None: nothing."""
        state = json.loads((self.folder / "state.json").read_text())
        found = state["rows"].get(oid)
        return None if found is None else found[1]

    def asked(self, word: str) -> list[str]:
        """What our program was asked so far: the rest of the lines that begin with the word."""
        path = self.folder / "requests.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(word + " ")]

    # Net-snmp's own eyes and hands

    def snmpget(self, oid: str, *options: str) -> str:
        """What ``snmpget`` of net-snmp sees: the bare value."""
        return self._net_snmp("snmpget", oid, *(options or ("-v2c", "-c", "public")))

    def snmpset(self, oid: str, value: int, *options: str) -> str:
        """Let ``snmpset`` of net-snmp write a number."""
        return self._net_snmp("snmpset", oid, *(options or ("-v2c", "-c", "private")), value=("i", str(value)))

    def _net_snmp(self, program: str, oid: str, *options: str, value: tuple[str, ...] = ()) -> str:
        where = f"{self.target.address}:{self.port}"
        command = [*self._prefix, program, *options, "-Oqv", "-t", "5", where, oid, *value]
        done = subprocess.run(
            command, env={**os.environ, "MIBS": ""}, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()


def _free_port(addresses: Iterable[str]) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((next(iter(addresses)), 0))
        port: int = probe.getsockname()[1]
        return port
