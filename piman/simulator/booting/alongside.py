# -*- test-case-name: tests.test_simulator_booting_installer -*-
"""
Two programs of one board at the same time, as a shell runs a job in the background.
"""

from piman.simulator.booting.machine import Machine, Program


def alongside(machine: Machine, work: Program[None], other: Program[None]) -> Program[bool]:
    """
    Run both until one ends, and stop the other where it is; whether the work came to its end.

    Every event is told to both: a program passes over what is not its own.
    """
    programs = (work, other)
    try:
        deadlines: list[float | None] = []
        for program in programs:
            deadlines.append(program.send(None))
        while True:
            event = yield min((deadline for deadline in deadlines if deadline is not None), default=None)
            for number, program in enumerate(programs):
                deadline = deadlines[number]
                if event is not None or (deadline is not None and deadline <= machine.now()):
                    deadlines[number] = program.send(event)
    except StopIteration:
        return program is work
    finally:
        for program in programs:
            program.close()
