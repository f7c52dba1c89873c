#!/usr/bin/env python3
"""
The agent: resident memory and processor time on a node that is asked every ten seconds.

Lets install/node/add_to_image put the agent into a root file system, with wheels of this machine, starts it as its
unit does, asks it as the manager does and Prometheus would, and prints a table as Markdown.

    .venv/bin/python -m pip download --only-binary=:all: -r install/node/requirements.txt --dest wheels
    .venv/bin/python benchmarks/agent.py --wheels wheels [--seconds 120] [--pause 10]
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60


def make_system(root: Path) -> None:
    """As much of a Debian as add_to_image looks at."""
    for folder in ("etc/systemd/system", "usr/bin"):
        (root / folder).mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), root / f"usr/bin/python3.{sys.version_info.minor}")


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(port: int, path: str) -> bytes:
    """A page, as soon as somebody answers."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return bytes(answer.read())
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def spent_seconds(pid: int) -> float:
    """Processor time so far, of it and of what it started (proc(5), /proc/pid/stat: utime, stime, cutime, cstime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def memory(pid: int) -> dict[str, float]:
    """Resident memory, and what of it is its own, in MB."""
    figures = {}
    for file, name in (("status", "VmRSS"), ("status", "VmHWM"), ("smaps_rollup", "Pss"), ("smaps_rollup", "Pss_Anon")):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                figures[name] = int(line.split()[1]) / 1000
    return figures


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--pause", type=float, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        make_system(root)
        program = ROOT / "install/node/add_to_image"
        subprocess.run([program, "--no-time", "--wheels", options.wheels.absolute(), root], check=True)
        port = free_port()
        words = ["-I", "-S", "-X", f"pycache_prefix={folder}/cache", root / "opt/piman-agent/bin/piman-agent"]
        words += ["--address", "127.0.0.1", "--port", str(port)]
        for start in ("first start (compiles)", "second start"):
            process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
            try:
                began = time.monotonic()
                ask(port, "/events")
                print(
                    f"{start}: answers after {time.monotonic() - began:.1f} s, {spent_seconds(process.pid):.1f} CPU-s"
                )
                if start == "second start":
                    measure(process.pid, port, options.seconds, options.pause)
            finally:
                process.terminate()
                process.wait()


def measure(pid: int, port: int, seconds: float, pause: float) -> None:
    """Ask at the pace, check each answer, print."""
    rows = []
    for path in ("/events", "/metrics"):
        before, began, asked = spent_seconds(pid), time.monotonic(), 0
        while time.monotonic() - began < seconds:
            answer = ask(port, path)
            assert (json.loads(answer)["num_pids"] > 0) if path == "/events" else b"piman_node_num_pids" in answer
            asked += 1
            time.sleep(pause)
        share = (spent_seconds(pid) - before) / (time.monotonic() - began)
        rows.append((path, asked, share))
    figures = memory(pid)
    print("\n| | |\n|---|--:|")
    for name, meaning in (
        ("VmRSS", "resident"),
        ("VmHWM", "at most"),
        ("Pss", "shared pages divided"),
        ("Pss_Anon", "its own"),
    ):
        print(f"| memory, {meaning} | {figures[name]:.1f} MB |")
    for path, asked, share in rows:
        print(f"| processor, {path} every {pause:g} s ({asked} times) | {100 * share:.2f} % of one |")


if __name__ == "__main__":
    main()
