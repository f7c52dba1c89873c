#!/usr/bin/env python3
"""
A boot storm: 1,000 virtual Pis from power-on to up, all at once, with 2 % of datagrams lost each way.

Runs the whole manager as it is (durable leases, events, journal, polling), on this machine, without root; then once
more with a SIGKILL of the manager half-way.  Half of the boards take their address from the pool.  Prints the time in
each step as Markdown.  Exit status 0: all boards up, nothing disagrees.

    .venv/bin/python benchmarks/storm.py [--pis 1000] [--loss 0.02] [--speed 10] [--only calm|killed]
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from piman.reactor import install

install()

import attrs  # noqa: E402
from rich.console import Console  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.task import react  # noqa: E402

from piman.simulator.rack import Rack, RackOptions  # noqa: E402
from piman.simulator.showing.report import Report, as_markdown  # noqa: E402

RUNS = {"calm": False, "killed": True}
"""Whether the manager is killed half-way."""


async def run(reactor: Any, options: RackOptions) -> Report:
    """One storm, in a folder that is kept only when something is wrong."""
    directory = Path(tempfile.mkdtemp(prefix="piman-storm-"))
    report = await Rack(reactor, options, directory, Console(file=sys.stderr)).run()
    if report.is_good:
        shutil.rmtree(directory)
    else:
        print(f"files and logs: {directory}", file=sys.stderr)
    return report


def title(name: str, options: RackOptions) -> str:
    """What was run."""
    killed = ", manager killed half-way" if options.kill_manager else ""
    return (
        f"### {name}: {options.count} boards at once, {options.loss:.0%} loss each way{killed}\n\n"
        f"{os.cpu_count()} processors; boards, faults and manager on the same machine; waits that nobody on the wire "
        f"can observe {options.speed:g} times faster; {options.pool_share:.0%} of the boards without an address of "
        "their "
        f"own.\n"
    )


async def storms(reactor: Any, names: Sequence[str], options: RackOptions) -> None:
    """One after the other, then the exit status."""
    reports = []
    for name in names:
        chosen = attrs.evolve(options, kill_manager=RUNS[name])
        reports.append(await run(reactor, chosen))
        print(title(name, chosen))
        print(as_markdown(reports[-1]), end="\n\n", flush=True)
    if not all(report.is_good for report in reports):
        raise SystemExit(1)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pis", type=int, default=1000)
    parser.add_argument("--loss", type=float, default=0.02)
    parser.add_argument("--speed", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pool-share", type=float, default=0.5)
    parser.add_argument("--timeout", type=float, default=900.0)
    parser.add_argument("--only", choices=tuple(RUNS))
    parsed = parser.parse_args()
    options = RackOptions(
        count=parsed.pis,
        loss=parsed.loss,
        speed=parsed.speed,
        seed=parsed.seed,
        pool_share=parsed.pool_share,
        timeout_seconds=parsed.timeout,
        plain=True,
    )
    names = [parsed.only] if parsed.only else list(RUNS)
    react(lambda reactor: Deferred.fromCoroutine(storms(reactor, names, options)))


if __name__ == "__main__":
    main()
