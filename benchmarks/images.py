"""
How fast images leave through both doors, beside nginx and socat, on loopback in one run.

    python benchmarks/images.py [--megabytes 500] [--clients 1,20] [--rounds 5]

Every server sends the same file from a warm page cache to the same clients (processes that receive and throw away), in
turn, round by round; a first pass checks the SHA-256 of what each of them sends.  Prints a Markdown table of medians:
ratios hold, absolute figures are this machine's.  Needs nginx and socat (Debian: nginx-light, socat) for the ratios;
what is missing is left out and said so.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import attrs

BUFFER_BYTES = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@attrs.frozen
class Source:
    """One server, as clients see it."""

    name: str
    pid: int
    port: int
    targets: list[str]
    """What client i of all rounds asks for; empty strings: nothing, the stream just comes."""


def main() -> None:
    """Measure and print."""
    options = parsed_options()
    clients = [int(count) for count in options.clients.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "image"
        digest = make_image(image, options.megabytes << 20)
        visits = (1 + options.rounds * sum(clients)) if clients else 0
        with every_source(folder, image, visits) as sources:
            check_digests(sources, digest)
            results = measure(sources, clients, options.rounds, options.megabytes << 20)
    print_table(results, options)


def parsed_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Image throughput beside nginx and socat.")
    parser.add_argument("--megabytes", type=int, default=500, help="size of the image in MiB")
    parser.add_argument("--clients", default="1,20", help="numbers of clients at a time")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; the median counts")
    parser.add_argument("--serve", nargs=2, metavar=("IMAGE", "VISITS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]))
        sys.exit(0)
    return options


def make_image(path: Path, size: int) -> str:
    """A file of random bytes; its digest."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // BUFFER_BYTES):
            chunk = os.urandom(BUFFER_BYTES)
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


# Our server, in a process of its own


def client_address(visit: int) -> IPv4Address:
    """Every visit is another node, because a second stream of a node replaces its first."""
    return IPv4Address("127.16.0.1") + visit


def serve(image: str, visits: int) -> None:
    """Both doors, with one ordered intent for each visit; says where on standard output."""
    from piman.reactor import install

    install()
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from piman.boot.image_http import ImageHTTPSettings, image_http_service
    from piman.boot.image_tcp import ImageSettings, image_service
    from piman.boot.images import ImageLibrary, in_thread
    from piman.fleet.model import IntentOrigin, MACAddress
    from piman.fleet.state.intents import IntentBook
    from piman.testing.fakes import CapturedEvents, MemoryAddressBook, MemoryIntentStore

    macs = [MACAddress(bytes([0xB8, 0x27]) + visit.to_bytes(4, "big")) for visit in range(2 * visits)]
    addresses = MemoryAddressBook({client_address(visit): mac for visit, mac in enumerate(macs)})
    events = CapturedEvents()
    book = IntentBook(MemoryIntentStore(), reactor, events)
    library = ImageLibrary({"default": image}, run=in_thread(reactor))

    class AlwaysAtWork:
        """Every node has been told to format."""

        def intent_at_work(self, mac: MACAddress) -> object:
            """Its living intent."""
            return book.current(mac)

    async def begin() -> None:
        known = await library.image("default")
        tokens = []
        for mac in macs:
            intent = await book.open_intent(mac, IntentOrigin.OPERATOR, "default")
            intent = await book.order(intent, known.digest)
            tokens.append(f"/images/{known.digest}?token={intent.token}")
        parts = {"addresses": addresses, "intents": book, "images": library, "events": events}
        raw = image_service(reactor, settings=ImageSettings(port=0), installers=AlwaysAtWork(), **parts)
        web = image_http_service(reactor, settings=ImageHTTPSettings(port=0), **parts)
        for service in (raw, web):
            service.startService()
        print(json.dumps({"raw": raw.port, "http": web.port, "targets": tokens}), flush=True)

    def failed(failure: object) -> None:
        print(failure, file=sys.stderr)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(begin()).addErrback(failed))
    reactor.run()


# All servers


@contextmanager
def every_source(folder: Path, image: Path, visits: int) -> Iterator[list[Source]]:
    """All servers that can be had, stopped afterwards."""
    command = [sys.executable, __file__, "--serve", str(image), str(visits)]
    ours = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    processes = [ours]
    try:
        assert ours.stdout is not None
        where = json.loads(ours.stdout.readline())
        sources = [
            Source("piman 4444", ours.pid, where["raw"], [""] * visits),
            Source("piman HTTP", ours.pid, where["http"], where["targets"][visits:]),
        ]
        if shutil.which("nginx"):
            port = free_port()
            config = folder / "nginx.conf"
            config.write_text(NGINX.format(folder=folder, root=folder, port=port))
            os.chmod(folder, 0o755)
            processes.append(subprocess.Popen(["nginx", "-c", str(config), "-e", str(folder / "error.log")]))
            sources.append(Source("nginx", processes[-1].pid, port, ["/image"] * visits))
        if shutil.which("socat"):
            port = free_port()
            listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=64"
            command = ["socat", "-b", "262144", "-U", listen, f"OPEN:{image},rdonly"]
            processes.append(subprocess.Popen(command))
            sources.append(Source("socat -b 262144", processes[-1].pid, port, [""] * visits))
        for source in sources:
            wait_for(source.port)
        yield sources
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int) -> None:
    """Until somebody listens; looked up in the kernel's table, so that no stream is used up."""
    wanted = f"{port:04X}"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if any(row[1].endswith(":" + wanted) and row[3] == "0A" for row in rows):
            return
        time.sleep(0.02)
    raise SystemExit(f"nobody listens on port {port}")


# Clients


def connect(source: Source, visit: int) -> socket.socket:
    """A node comes, and asks if the server wants to be asked."""
    client = socket.create_connection(("127.0.0.1", source.port), source_address=(str(client_address(visit)), 0))
    if source.targets[visit_of(source, visit)]:
        target = source.targets[visit_of(source, visit)]
        client.sendall(f"GET {target} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    return client


def visit_of(source: Source, visit: int) -> int:
    """The index of a visit among this server's."""
    return visit - len(source.targets) if source.name == "piman HTTP" else visit


def first_visit(source: Source) -> int:
    """Both of our doors have nodes of their own."""
    return len(source.targets) if source.name == "piman HTTP" else 0


def receive(source: Source, visit: int, digest: "hashlib._Hash | None") -> int:
    """All of the image; the number of its bytes."""
    count, buffer = 0, bytearray(BUFFER_BYTES)
    is_head = bool(source.targets[visit_of(source, visit)])
    with connect(source, visit) as client:
        while got := client.recv_into(buffer):
            body = memoryview(buffer)[:got]
            if is_head:
                is_head = False
                body = body[bytes(body).index(b"\r\n\r\n") + 4 :]
            if digest is not None:
                digest.update(body)
            count += len(body)
    return count


def run_client(source: Source, visit: int, size: int, barrier: "multiprocessing.synchronize.Barrier") -> None:
    """One client process of a round."""
    barrier.wait()
    count = receive(source, visit, None)
    os._exit(0 if count == size else 1)


def check_digests(sources: list[Source], wanted: str) -> None:
    """Everybody sends the same image."""
    for source in sources:
        digest = hashlib.sha256()
        receive(source, first_visit(source), digest)
        if digest.hexdigest() != wanted:
            raise SystemExit(f"{source.name} sends something else: {digest.hexdigest()}, {wanted} expected")


# Measuring


def cpu_seconds(pid: int) -> float:
    """Of a process and all its children, dead ones included."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == pid:
            total += sum(int(field) for field in fields[11:15])
        elif int(fields[1]) == pid:
            total += sum(int(field) for field in fields[11:13])
    return total / TICKS


def one_round(source: Source, visit: int, clients: int, size: int) -> tuple[float, float]:
    """MB/s and CPU-seconds per GB of the server."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(clients + 1)
    workers = [
        context.Process(target=run_client, args=(source, visit + index, size, barrier)) for index in range(clients)
    ]
    for worker in workers:
        worker.start()
    before = cpu_seconds(source.pid)
    barrier.wait()
    began = time.monotonic()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - began
    if any(worker.exitcode for worker in workers):
        raise SystemExit(f"{source.name} did not send the whole image to everybody")
    moved = clients * size
    return moved / seconds / 1e6, (cpu_seconds(source.pid) - before) / (moved / 1e9)


Results = dict[tuple[str, int], list[tuple[float, float]]]


def measure(sources: list[Source], clients: list[int], rounds: int, size: int) -> Results:
    """All rounds, the servers in turn."""
    results: Results = {}
    visit = 1
    for count in clients:
        for _ in range(rounds):
            for source in sources:
                result = one_round(source, first_visit(source) + visit, count, size)
                results.setdefault((source.name, count), []).append(result)
            visit += count
    return results


def print_table(results: Results, options: argparse.Namespace) -> None:
    """Markdown."""
    print(f"{options.megabytes} MiB image, page cache warm, medians of {options.rounds} interleaved rounds, loopback\n")
    print("| server | clients | MB/s | to nginx | CPU-s per GB | to nginx |")
    print("|---|---|---|---|---|---|")
    medians = {
        key: (statistics.median(row[0] for row in rows), statistics.median(row[1] for row in rows))
        for key, rows in results.items()
    }
    for (name, count), (speed, cpu) in medians.items():
        peer = medians.get(("nginx", count))
        ratios = (f"{speed / peer[0]:.2f}", f"{cpu / peer[1]:.2f}") if peer and peer[1] else ("-", "-")
        print(f"| {name} | {count} | {speed:.0f} | {ratios[0]} | {cpu:.2f} | {ratios[1]} |")
    missing = [name for name in ("nginx", "socat") if not shutil.which(name)]
    if missing:
        print(f"\nnot installed, left out: {', '.join(missing)}")


if __name__ == "__main__":
    main()
