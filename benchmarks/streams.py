#!/usr/bin/env python3
"""
Event streams: what 50 browsers that watch a rack add to the manager's answers to DHCP.

A rack of 500 known nodes asks for addresses through a relay at a steady rate, whether answers come or not, in
namespaces of their own (root needed).  Rounds without and with readers of ``/api/v1/events/stream?nodes=1`` take turns
on one running manager; every event reaches every reader.

    .venv/bin/python benchmarks/streams.py [--readers 50] [--rounds 4] [--seconds 6] [--rate 100] [--nodes 500]
"""

import argparse
import select
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dhcp import PIMAN_YAML, RELAY, SERVER, Namespaces, cpu_seconds, kind_of, request

ADDRESS = "127.0.0.1", 5000
REQUEST = b"GET /api/v1/events/stream?nodes=1 HTTP/1.1\r\nHost: 127.0.0.1:5000\r\n\r\n"
LOST_SECONDS = 3.0
"""An exchange that has not ended by then is lost, and counts as that long."""

SETTLE_SECONDS = 3.0
"""Until readers have what they are told first: how 500 nodes stand."""


@contextmanager
def manager(names: Namespaces, nodes: int) -> Iterator[int]:
    """The real manager with its nodes; yields its process id once it runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "piman.yaml").write_text(PIMAN_YAML.replace("INTERFACE", names.interface))
        lines = [f"{_mac(each)};10.77.{1 + each // 250}.{1 + each % 250};pi{each};0\n" for each in range(nodes)]
        (folder / "hosts.csv").write_text("".join(lines))
        (folder / "install/boot").mkdir(parents=True)
        twistd = str(Path(sys.executable).parent / "twistd")
        command = ["ip", "netns", "exec", names.server, twistd, "-n", "--pidfile=", "piman"]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen([*command, "--config", "piman.yaml"], stdout=output, stderr=output, cwd=folder)
            try:
                until = time.monotonic() + 60
                while not any("ManagerStarted" in path.read_text() for path in (folder / "logs").glob("*.jsonl")):
                    if process.poll() is not None or time.monotonic() > until:
                        raise SystemExit(f"the manager does not run: {(folder / 'output').read_text()[-800:]}")
                    time.sleep(0.1)
                yield process.pid
            finally:
                process.terminate()
                process.wait(30)


def _mac(node: int) -> str:
    return (b"\x02\x77" + node.to_bytes(4, "big")).hex(":")


def packet(kind: int, number: int, node: int, offered: bytes = b"") -> bytes:
    """A request with the transaction of ``number`` and the MAC of ``node``."""
    made = request(kind, node, offered)
    return made[:4] + number.to_bytes(4, "big") + made[8:]


def load(nodes: int, rate: float, seconds: float) -> None:
    """In the client's namespace: begin an exchange each 1/rate seconds; print how long each took."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((RELAY, 67))
    sock.connect((SERVER, 67))
    sock.setblocking(False)
    began: dict[int, float] = {}
    took: list[float] = []
    start, count, total = time.perf_counter(), 0, int(rate * seconds)
    while (now := time.perf_counter()) < start + seconds + LOST_SECONDS and (count < total or began):
        while count < total and now >= start + count / rate:
            began[count] = start + count / rate
            sock.send(packet(1, count, count % nodes))
            count += 1
        ahead = start + count / rate - time.perf_counter() if count < total else 0.1
        select.select([sock], [], [], max(0.0, ahead))
        while True:
            try:
                reply = sock.recv(2048)
            except BlockingIOError:
                break
            number, kind = int.from_bytes(reply[4:8], "big"), kind_of(reply)
            if kind == 2 and number in began:
                sock.send(packet(3, number, number % nodes, reply[16:20]))
            elif kind == 5 and number in began:
                took.append(time.perf_counter() - began.pop(number))
            elif kind == 6:
                raise SystemExit("a client got a NAK")
    print(*took, *[LOST_SECONDS] * len(began))


def read(count: int) -> None:
    """In the server's namespace: follow the stream, say so, read until standard input ends; print events and bytes."""
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    for _ in range(count):
        connection = socket.create_connection(ADDRESS)
        connection.sendall(REQUEST)
        if b" 200 " not in connection.recv(1 << 16):
            raise SystemExit("the stream is refused")
        connection.setblocking(False)
        waiting.register(connection, selectors.EVENT_READ)
    print("ready", flush=True)
    events = size = 0
    while True:
        for key, _ in waiting.select():
            if key.fileobj is sys.stdin:
                print(events / count, size / count, flush=True)
                return
            data = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
            if not data:
                raise SystemExit("a reader was cut off")
            events += data.count(b"event: event\n")
            size += len(data)


@contextmanager
def readers(names: Namespaces, count: int, found: list[float]) -> Iterator[None]:
    """So many readers while this lasts; what each of them got goes to ``found``."""
    if not count:
        yield
        return
    command = ["ip", "netns", "exec", names.server, sys.executable, __file__, "--read", "--readers", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the readers do not read")
        time.sleep(SETTLE_SECONDS)
        yield
        told, _ = process.communicate("\n", timeout=30)
        found[:] = map(float, told.split())


def figures(values: list[float]) -> tuple[float, float]:
    """Median and p99, in ms."""
    values = sorted(values)
    return statistics.median(values) * 1000, values[int(len(values) * 0.99)] * 1000


def main() -> None:
    """Parse; do it, or be a part of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load(options.nodes, options.rate, options.seconds)
    elif options.read:
        read(options.readers)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Take turns, print."""
    took: dict[int, list[list[float]]] = {0: [], options.readers: []}
    cpu: dict[int, float] = dict.fromkeys(took, 0.0)
    got: list[float] = [0.0, 0.0]
    with Namespaces() as names, manager(names, options.nodes) as pid:
        command = ["ip", "netns", "exec", names.client, sys.executable, __file__, "--load", "--nodes",
                   str(options.nodes), "--rate", str(options.rate)]
        subprocess.run([*command, "--seconds", "2"], check=True, capture_output=True, timeout=60)
        for _ in range(options.rounds):
            for count, rounds in took.items():
                with readers(names, count, got):
                    before = cpu_seconds(pid)
                    done = subprocess.run([*command, "--seconds", str(options.seconds)], check=True,
                                          capture_output=True, text=True, timeout=60)
                    cpu[count] += cpu_seconds(pid) - before
                rounds.append([float(each) for each in done.stdout.split()])
    print(f"{options.rate:g} exchanges/s by {options.nodes} nodes, {options.rounds} rounds of {options.seconds:g} s "
          f"each way; each reader got {got[0] / options.seconds:.0f} events/s, "
          f"{got[1] / options.seconds / 1000:.0f} kB/s\n")
    print("| readers | p50 ms | p99 ms (lowest to highest round) | not answered | processor |")
    print("|--:|--:|--:|--:|--:|")
    for count, rounds in took.items():
        every = [each for one in rounds for each in one]
        p50, p99 = figures(every)
        ends = sorted(figures(one)[1] for one in rounds)
        lost, share = every.count(LOST_SECONDS), cpu[count] / options.rounds / options.seconds
        print(f"| {count} | {p50:.2f} | {p99:.2f} ({ends[0]:.2f} to {ends[-1]:.2f}) "
              f"| {lost} of {len(every)} | {share:.0%} |")
    ratios = sorted(figures(with_)[1] / figures(without)[1] for without, with_ in zip(*took.values(), strict=True))
    whole = [figures([each for one in rounds for each in one])[1] for rounds in took.values()]
    print(f"\np99 with to without: {whole[1] / whole[0]:.2f}; round by round {statistics.median(ratios):.2f} "
          f"({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
