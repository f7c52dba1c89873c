#!/usr/bin/env python3
"""
TFTP: megabytes a second that many clients fetch at once, and what they cost the server, beside dnsmasq and atftpd.

    .venv/bin/python benchmarks/tftp.py [--megabytes 8] [--rounds 3]

All servers hold the same file in a warm page cache and serve it on loopback to the same clients, in turn, round by
round.  The clients are sockets of one process here, in lock-step or with a window; every datagram is compared with
what it must be, byte for byte.  Prints a Markdown table of medians: ratios hold, absolute figures are this machine's.
The clients cost more than the servers, so the server's processor time for a gigabyte tells more than the rate.

Peers: Debian's dnsmasq-base (needs root: its port is always 69) and atftpd; what is missing is left out and said so.
"""

import argparse
import os
import select
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs

TICKS = os.sysconf("SC_CLK_TCK")
FILE = "kernel8.img"
PATIENCE_SECONDS = 1.5
"""After so long without a datagram a client repeats itself."""


@attrs.frozen
class Case:
    """What the clients do."""

    clients: int
    block_bytes: int
    window_blocks: int

    def __str__(self) -> str:
        step = "lock-step" if self.window_blocks == 1 else f"windowsize {self.window_blocks}"
        return f"{self.clients} clients, blksize {self.block_bytes}, {step}"


CASES = (
    Case(1, 1468, 1),
    Case(50, 512, 1),
    Case(50, 1468, 1),
    Case(200, 1468, 1),
    Case(1, 1468, 16),
    Case(20, 1468, 16),
)


@attrs.frozen
class Server:
    """A running server."""

    name: str
    pid: int
    address: tuple[str, int]

    def cpu_seconds(self) -> float:
        """What it and its threads used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@attrs.frozen
class Result:
    """One run."""

    megabytes_per_second: float
    cpu_seconds_per_gigabyte: float
    repeats: int


# The clients


class Client:
    """One board that loads the file."""

    def __init__(self, case: Case, address: tuple[str, int], wire: list[bytes]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.repeats = 0
        self.heard = time.monotonic()
        self._window = case.window_blocks
        self._wire = wire
        self._address = address
        self._next = 0
        options = {"blksize": case.block_bytes} | ({"windowsize": self._window} if self._window > 1 else {})
        self._oack = b"\0\6" + b"".join(b"%s\0%d\0" % (name.encode(), value) for name, value in options.items())
        self._last = b"\0\1" + FILE.encode() + b"\0octet\0" + self._oack[2:]
        self.socket.sendto(self._last, address)

    def receive(self) -> bool:
        """Take what waits; whether the file is whole."""
        try:
            while True:
                if self._next == 0:
                    data, address = self.socket.recvfrom(65536)
                    assert sorted(data[2:].split(b"\0")) == sorted(self._oack[2:].split(b"\0")), data
                    self.socket.connect(address)
                    self._confirm(0)
                    self._next = 1
                    continue
                data = self.socket.recv(65536)
                if data == self._wire[self._next]:
                    if self._next % self._window == 0 or self._next == len(self._wire) - 1:
                        self._confirm(self._next)
                    self._next += 1
                    if self._next == len(self._wire):
                        return True
                elif data not in (self._wire[max(0, self._next - self._window) : self._next]) and data[:2] != b"\0\3":
                    raise AssertionError(f"block {self._next} is not what it must be: {data[:40]!r}")
        except BlockingIOError:
            return False

    def repeat(self) -> None:
        """Nothing came: say it again."""
        self.repeats += 1
        self.heard = time.monotonic()
        if self._next == 0:
            self.socket.sendto(self._last, self._address)
        else:
            self._confirm(self._next - 1)

    def _confirm(self, block: int) -> None:
        self.heard = time.monotonic()
        self.socket.send(struct.pack("!HH", 4, block & 0xFFFF))


def run_clients(case: Case, address: tuple[str, int], wire: list[bytes]) -> tuple[float, int]:
    """Seconds until all have the file, and how often they had to repeat themselves."""
    started = time.monotonic()
    clients = {client.socket.fileno(): client for client in (Client(case, address, wire) for _ in range(case.clients))}
    everyone = list(clients.values())
    poll = select.epoll()
    for number in clients:
        poll.register(number, select.EPOLLIN)
    checked = started
    while clients:
        for number, _ in poll.poll(0.5):
            if clients[number].receive():
                poll.unregister(number)
                del clients[number]
        if time.monotonic() - checked > 0.5:
            checked = time.monotonic()
            for client in clients.values():
                if checked - client.heard > PATIENCE_SECONDS:
                    client.repeat()
    seconds = time.monotonic() - started
    for client in everyone:
        client.socket.close()
    return seconds, sum(client.repeats for client in everyone)


def wire_of(content: bytes, block_bytes: int) -> list[bytes]:
    """What each block must be, from 1 on."""
    blocks = [content[i : i + block_bytes] for i in range(0, len(content), block_bytes)]
    blocks += [] if len(content) % block_bytes else [b""]
    return [b""] + [struct.pack("!HH", 3, number & 0xFFFF) + block for number, block in enumerate(blocks, 1)]


def measure(server: Server, case: Case, content: bytes) -> Result:
    """One run of one case."""
    wire = wire_of(content, case.block_bytes)
    cpu = server.cpu_seconds()
    seconds, repeats = run_clients(case, server.address, wire)
    gigabytes = case.clients * len(content) / 1e9
    return Result(gigabytes * 1000 / seconds, (server.cpu_seconds() - cpu) / gigabytes, repeats)


# The servers


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, ended at the end."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(10)


def wait_for(address: tuple[str, int]) -> None:
    """Until a request for a missing file is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.2)
        for _ in range(100):
            asking.sendto(b"\0\1absent\0octet\0", address)
            try:
                asking.recv(1000)
                return
            except TimeoutError:
                continue
    raise SystemExit(f"nobody answers at {address}")


@contextmanager
def piman(folder: Path) -> Iterator[Server]:
    """Ours: this script with --serve."""
    address = ("127.0.0.1", 10069)
    with process(sys.executable, __file__, "--serve", str(folder)) as running:
        wait_for(address)
        yield Server("piman", running.pid, address)


@contextmanager
def dnsmasq(folder: Path) -> Iterator[Server]:
    """The usual one."""
    address = ("127.77.0.2", 69)
    host = f"--listen-address={address[0]}"
    options = ("--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--bind-interfaces", "--user=root")
    with process("dnsmasq", *options, host, "--enable-tftp", f"--tftp-root={folder}", "--tftp-max=1000") as running:
        wait_for(address)
        yield Server("dnsmasq", running.pid, address)


@contextmanager
def atftpd(folder: Path) -> Iterator[Server]:
    """The one with a thread for each transfer."""
    address = ("127.0.0.1", 10070)
    options = ("--daemon", "--no-fork", "--bind-address", address[0], "--port", str(address[1]), "--maxthread", "1000")
    with process("atftpd", *options, "--user", "root", "--group", "root", str(folder)) as running:
        wait_for(address)
        yield Server("atftpd", running.pid, address)


def serve(folder: str) -> None:
    """Run piman's own service until somebody ends us."""
    from piman import reactor as pimans

    pimans.install()
    from twisted.internet import reactor

    from piman.boot.files import BootFiles
    from piman.testing.fakes import CapturedEvents, MemoryAddressBook, MemoryDirectory, MemoryNeighbours
    from piman.tftp import TFTPSettings, tftp_service

    book = MemoryAddressBook()
    files = BootFiles(
        folder,
        nodes=MemoryDirectory(),
        addresses=book,
        neighbours=MemoryNeighbours(),
        server_address=IPv4Address("127.0.0.1"),
    )
    settings = TFTPSettings(
        network=IPv4Network("127.0.0.0/8"),
        address="127.0.0.1",
        port=10069,
        transfers_per_client=1000,
        strangers=1000,
    )
    service = tftp_service(reactor, settings=settings, files=files, addresses=book, events=CapturedEvents())
    service.privilegedStartService()
    service.startService()
    reactor.run()  # type: ignore[attr-defined]


# The table


def peers() -> Iterator[tuple[str, object]]:
    """The servers that can run here."""
    yield "piman", piman
    for name, peer, possible in (("dnsmasq", dnsmasq, os.geteuid() == 0), ("atftpd", atftpd, True)):
        if shutil.which(name) is None:
            print(f"{name} is not installed: left out", file=sys.stderr)
        elif not possible:
            print(f"{name} needs root: left out", file=sys.stderr)
        else:
            yield name, peer


def compare(case: Case, folder: Path, content: bytes, rounds: int) -> None:
    """Print the rows of one case."""
    results: dict[str, list[Result]] = {}
    for _ in range(rounds):
        for name, start in peers():
            if name == "dnsmasq" and case.window_blocks > 1:
                continue  # it knows no windowsize
            with start(folder) as server:  # type: ignore[operator]
                measure(server, Case(1, case.block_bytes, 1), content)  # warm
                results.setdefault(name, []).append(measure(server, case, content))
    rates = {name: statistics.median(run.megabytes_per_second for run in runs) for name, runs in results.items()}
    costs = {name: statistics.median(run.cpu_seconds_per_gigabyte for run in runs) for name, runs in results.items()}
    for name, runs in results.items():
        ratio = rates[name] / rates["piman"]
        cost = costs[name] / costs["piman"] if costs["piman"] else float("nan")
        repeats = sum(run.repeats for run in runs)
        print(
            f"| {case} | {name} | {rates[name]:.0f} | {ratio:.2f} | {costs[name]:.1f} | {cost:.2f} | {repeats} |",
            flush=True,
        )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=8, help="size of the file (8)")
    parser.add_argument("--rounds", type=int, default=3, help="repeats of each case, interleaved (3)")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    content = os.urandom(int(options.megabytes * 1e6))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / FILE).write_bytes(content)
        print("| case | server | MB/s | to piman's | server CPU-s/GB | to piman's | repeats of clients |")
        print("|---|---|---|---|---|---|---|")
        for case in CASES:
            compare(case, folder, content, options.rounds)


if __name__ == "__main__":
    main()
