#!/usr/bin/env python3
"""
``restart all`` in virtual time: virtual boards and the real services of a manager on one clock, with and without
admission control.

No sockets and no real time: the same seed gives the same figures on every machine, in a minute.  The line to the
boards can be made narrow, as 500 boards with 40 MB of boot files each make one of 1 Gbit/s: there admission control
shows what it is for.  Prints Markdown.

    .venv/bin/python benchmarks/restart_in_virtual_time.py [--pis 240] [--racks 6] [--uplink 400 --queue 64]
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from piman.reactor import install

install()

from piman.fleet.operations.book import OperationSettings  # noqa: E402
from piman.fleet.operations.orders import Action, Operation  # noqa: E402
from piman.simulator.pi import MODELS  # noqa: E402
from piman.simulator.showing.report import Spread  # noqa: E402
from piman.simulator.wiring.faults import Faults  # noqa: E402
from piman.simulator.wiring.uplink import Uplink  # noqa: E402
from piman.testing.scenario import Scenario  # noqa: E402

PATIENCE_SECONDS = 3600.0
STAGGER_SECONDS = 0.1
"""Between two boards when they are brought up first, over a line without faults."""


def up(parsed: argparse.Namespace, directory: Path, *, admission: bool) -> Scenario:
    """A rack whose boards are all up."""
    kinds = [MODELS[number % len(MODELS)] for number in range(parsed.pis)]
    settings = OperationSettings(admission=admission, max_blast=parsed.pis)
    scenario = Scenario(directory, kinds, seed=parsed.seed, racks=parsed.racks, settings=settings)
    scenario.harness._stagger_seconds = STAGGER_SECONDS
    if not scenario.run(PATIENCE_SECONDS):
        raise SystemExit("the boards do not come up")
    scenario.harness.recovers = False
    return scenario


def rows(operation: Operation) -> Iterator[tuple[str, Spread]]:
    """How long each part took."""
    done = [report for report in operation.reports if report.finished]
    yield "its turn comes", Spread.of(report.started - operation.created for report in done)
    yield "without power", Spread.of(report.on_at - report.off_at for report in done)
    yield "its turn to up", Spread.of(report.finished - report.started for report in done)
    yield "order to up", Spread.of(report.finished - operation.created for report in done)


def restart(parsed: argparse.Namespace, directory: Path, *, admission: bool) -> str:
    """Restart all, and tell what came of it."""
    scenario = up(parsed, directory, admission=admission)
    hung = [len(pi.journal.hangs) for pi in scenario.pis]
    line = Uplink(scenario.clock, parsed.uplink, parsed.queue) if parsed.uplink else None
    for one in scenario.lines:
        one.faults, one.uplink = Faults(loss=parsed.loss), line
    begun = scenario.order(Action.RESTART, "all")
    scenario.run_until(lambda: scenario.now(begun).is_final, PATIENCE_SECONDS)
    operation = scenario.now(begun)
    hangs = Counter(
        why.split("/")[-1] for pi, known in zip(scenario.pis, hung, strict=True) for why in pi.journal.hangs[known:]
    )
    steps = ", ".join(f"{count} {step.value}" for step, count in operation.counts.items())
    lines = [
        f"### {'with' if admission else 'without'} admission control: {parsed.pis} boards on {parsed.racks} switches, "
        f"{parsed.loss:.1%} loss each way, "
        + (f"{parsed.uplink:g} datagrams a second, {parsed.queue} waiting" if line else "a wide line"),
        "",
        f"{operation.finished - operation.created:.1f} s in all; {steps}; "
        f"{sum(report.tries for report in operation.reports)} power cycles; {hangs.total()} boards hung; "
        f"the line dropped {line.dropped if line else 0} datagrams",
        "",
        "| stage | median s | 95 % s | longest s |",
        "|---|--:|--:|--:|",
        *(
            f"| {name} | {spread.median:.1f} | {spread.most_of_them:.1f} | {spread.largest:.1f} |"
            for name, spread in rows(operation)
        ),
    ]
    scenario.finish()
    return "\n".join(lines)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pis", type=int, default=240)
    parser.add_argument("--racks", type=int, default=6)
    parser.add_argument("--loss", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uplink", type=float, help="datagrams a second that all boards can exchange")
    parser.add_argument("--queue", type=int, default=64, help="how many may wait there")
    parsed = parser.parse_args()
    for admission in (True, False):
        with tempfile.TemporaryDirectory() as directory:
            print(restart(parsed, Path(directory), admission=admission), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
