#!/usr/bin/env python3
"""
DHCP: full exchanges (DISCOVER, OFFER, REQUEST, ACK) a second through a relay, new leases from the pool.

Runs piman and its peers in turn in namespaces of their own (root needed), 64 exchanges in flight, every answer
checked, and prints a table as Markdown.  piman runs whole: each ACK durable, events and journal on.

    .venv/bin/python benchmarks/dhcp.py [--clients 5000] [--rounds 3] [--in-flight 64]
"""

import argparse
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER, RELAY, MASK = "10.77.0.1", "10.77.0.2", "255.255.0.0"
POOL = ("10.77.16.0", "10.77.111.255")
COOKIE = bytes.fromhex("63825363")
RETRY_SECONDS = 1.0

PIMAN_YAML = f"""
private_number: 77
server_address: {SERVER}
subnet_mask: {MASK}
interface: INTERFACE
switches: []
dhcp: {{unknown_hosts: allow, pool: {POOL[0]}-{POOL[1]}, lease_seconds: 3600, dns_servers: [{SERVER}]}}
tftp: {{enabled: false}}
ntp: {{enabled: false}}
hello: {{enabled: false}}
monitor: {{enabled: false}}
"""

DHCPD_CONF = f"""
authoritative; default-lease-time 3600; max-lease-time 3600; ping-check false;
subnet 10.77.0.0 netmask {MASK} {{ range {POOL[0]} {POOL[1]}; option routers {SERVER}; }}
"""

KEA_CONF = """
{"Dhcp4": {"interfaces-config": {"interfaces": ["IFACE"], "dhcp-socket-type": "udp"},
 "lease-database": {"type": "memfile", "persist": true, "name": "FOLDER/leases.csv", "lfc-interval": 0},
 "control-socket": {"socket-type": "unix", "socket-name": "FOLDER/socket"},
 "valid-lifetime": 3600, "multi-threading": {"enable-multi-threading": true},
 "subnet4": [{"id": 1, "subnet": "10.77.0.0/16", "pools": [{"pool": "POOL0 - POOL1"}]}]}}
"""


def run(*command: str) -> None:
    """Run or die."""
    subprocess.run(command, check=True)


class Namespaces:
    """Two hosts and a cable."""

    def __init__(self) -> None:
        self.server, self.client = f"bench{os.getpid()}s", f"bench{os.getpid()}c"
        self.interface = "veth0"

    def __enter__(self) -> "Namespaces":
        for name in (self.server, self.client):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.server, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0",
            "netns", self.client)
        for name, address in ((self.server, SERVER), (self.client, RELAY)):
            run("ip", "-n", name, "addr", "add", f"{address}/16", "dev", "veth0")
            run("ip", "-n", name, "link", "set", "veth0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.server, self.client):
            subprocess.run(["ip", "netns", "del", name], check=False)


def piman(folder: Path, names: Namespaces) -> list[str]:
    """The real manager."""
    (folder / "piman.yaml").write_text(PIMAN_YAML.replace("INTERFACE", names.interface))
    (folder / "hosts.csv").write_text("")
    (folder / "install/boot").mkdir(parents=True)
    twistd = Path(sys.executable).parent / "twistd"
    return [str(twistd), "-n", "--pidfile=", "piman", "--config", str(folder / "piman.yaml")]


def dhcpd(folder: Path, names: Namespaces) -> list[str]:
    """ISC dhcpd: flushes each lease before its ACK."""
    (folder / "dhcpd.conf").write_text(DHCPD_CONF)
    (folder / "leases").write_text("")
    folder.chmod(0o777)
    return ["dhcpd", "-4", "-f", "-q", "-cf", f"{folder}/dhcpd.conf", "-lf", f"{folder}/leases",
            "-pf", f"{folder}/pid", "-user", "root", "-group", "root", "veth0"]


def kea(folder: Path, names: Namespaces) -> list[str]:
    """Kea: writes leases to a file but never flushes it."""
    text = KEA_CONF.replace("IFACE", names.interface).replace("FOLDER", str(folder))
    (folder / "kea.json").write_text(text.replace("POOL0", POOL[0]).replace("POOL1", POOL[1]))
    return ["env", f"KEA_PIDFILE_DIR={folder}", f"KEA_LOCKFILE_DIR={folder}",
            "kea-dhcp4", "-c", f"{folder}/kea.json"]


SERVERS: dict[str, tuple[str, Callable[[Path, Namespaces], list[str]]]] = {
    "piman (durable)": ("twistd", piman),
    "ISC dhcpd (durable)": ("dhcpd", dhcpd),
    "Kea (not durable)": ("kea-dhcp4", kea),
}


def request(kind: int, number: int, offered: bytes = b"") -> bytes:
    """A DISCOVER (1) or REQUEST (3) of client ``number``, relayed; RFC 2131 figure 1."""
    hardware = b"\x02\x77" + number.to_bytes(4, "big")
    header = bytes([1, 1, 6, 1]) + number.to_bytes(4, "big") + bytes(4) + bytes(12) + socket.inet_aton(RELAY)
    options = bytes([53, 1, kind])
    if offered:
        options += bytes([50, 4]) + offered + bytes([54, 4]) + socket.inet_aton(SERVER)
    return header + hardware + bytes(10 + 192) + COOKIE + options + bytes([55, 3, 1, 3, 6, 255])


def kind_of(reply: bytes) -> int:
    """The DHCP message type of a reply."""
    place = reply.index(b"\x35\x01", 240)
    return reply[place + 2]


def exchanges(clients: int, in_flight: int) -> tuple[float, list[float], int]:
    """Lease an address to each client: seconds in all, seconds of each, how often something was sent again."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((RELAY, 67))
    sock.connect((SERVER, 67))
    sock.setblocking(False)
    began: dict[int, float] = {}
    waiting: dict[int, tuple[float, bytes]] = {}
    taken: dict[bytes, int] = {}
    delays: list[float] = []
    again = 0
    pending = iter(range(1, clients + 1))
    start = time.perf_counter()

    def send(number: int, packet: bytes) -> None:
        waiting[number] = (time.perf_counter(), packet)
        sock.send(packet)

    def begin() -> None:
        number = next(pending, 0)
        if number:
            began[number] = time.perf_counter()
            send(number, request(1, number))

    for _ in range(in_flight):
        begin()
    checked = start
    while waiting:
        select.select([sock], [], [], 0.2)
        while True:
            try:
                reply = sock.recv(2048)
            except BlockingIOError:
                break
            number = int.from_bytes(reply[4:8], "big")
            kind = kind_of(reply)
            if number not in waiting:
                continue
            if kind == 2 and waiting[number][1][242] == 1:
                send(number, request(3, number, reply[16:20]))
            elif kind == 5 and waiting[number][1][242] == 3:
                if taken.setdefault(reply[16:20], number) != number:
                    raise SystemExit(f"{socket.inet_ntoa(reply[16:20])} was given to two clients")
                del waiting[number]
                delays.append(time.perf_counter() - began[number])
                begin()
            elif kind == 6:
                raise SystemExit(f"client {number} got a NAK")
        now = time.perf_counter()
        if now - checked > RETRY_SECONDS / 4:
            checked = now
            late = [(number, sent[1]) for number, sent in waiting.items() if now - sent[0] > RETRY_SECONDS]
            for number, packet in late:
                again += 1
                send(number, packet)
            if again > 20 * clients:
                raise SystemExit("the server answers no more")
    return time.perf_counter() - start, delays, again


@contextmanager
def running(name: str, names: Namespaces) -> Iterator[int]:
    """The server in its namespace; yields its process id once it answers."""
    with tempfile.TemporaryDirectory() as folder:
        command = SERVERS[name][1](Path(folder), names)
        with open(f"{folder}/output", "wb") as output:
            process = subprocess.Popen(["ip", "netns", "exec", names.server, *command], stdout=output,
                                       stderr=subprocess.STDOUT, cwd=folder)
            try:
                time.sleep(3)
                if process.poll() is not None:
                    raise SystemExit(f"{name} ended: {Path(folder, 'output').read_text()[-800:]}")
                yield process.pid
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(name: str, names: Namespaces, clients: int, in_flight: int) -> tuple[float, float, float, int]:
    """Exchanges a second, p99 in ms, CPU seconds for 10,000 exchanges, packets sent again."""
    with running(name, names) as pid:
        before = cpu_seconds(pid)
        command = ["ip", "netns", "exec", names.client, sys.executable, __file__, "--worker",
                   "--clients", str(clients), "--in-flight", str(in_flight)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr}")
        seconds, p99, again = done.stdout.split()
        cpu = (cpu_seconds(pid) - before) / clients * 10_000
    return clients / float(seconds), float(p99) * 1000, cpu, int(again)


def worker(clients: int, in_flight: int) -> None:
    """In the client's namespace: print seconds, p99 and repeats."""
    seconds, delays, again = exchanges(clients, in_flight)
    print(seconds, sorted(delays)[int(len(delays) * 0.99)], again)


def main() -> None:
    """Parse, run all in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.clients, options.in_flight)
        return
    found = [name for name, (program, _) in SERVERS.items() if program == "twistd" or shutil.which(program)]
    figures: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in found}
    with Namespaces() as names:
        for _ in range(options.rounds):
            for name in found:
                figures[name].append(measure(name, names, options.clients, options.in_flight))
    print(f"DHCP, {options.clients} new leases through a relay, {options.in_flight} in flight, "
          f"median of {options.rounds} interleaved rounds (lowest to highest)\n")
    print("| server | exchanges/s | p99 ms | CPU-s per 10k | sent again | to piman |")
    print("|---|---|---|---|---|---|")
    ours = statistics.median(row[0] for row in figures["piman (durable)"])
    for name, rows in figures.items():
        rate, p99, cpu, again = (statistics.median(column) for column in zip(*rows, strict=True))
        low, high = min(row[0] for row in rows), max(row[0] for row in rows)
        print(f"| {name} | {rate:,.0f} ({low:,.0f} to {high:,.0f}) | {p99:.1f} | {cpu:.2f} | {again:.0f} "
              f"| {rate / ours:.2f} |")


if __name__ == "__main__":
    main()
