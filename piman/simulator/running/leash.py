# -*- test-case-name: tests.test_simulator_running_leash -*-
"""
A program that becomes another program which ends when its parent is gone.

Run as ``python leash.py PARENT COMMAND ...`` by the process whose number is PARENT.  It asks the kernel for SIGKILL at
its parent's end and then becomes COMMAND, under the same process number: a parent that dies of SIGKILL has no moment
to end its children itself, and a child that polls for its parent would need a thread in a program that is not ours.

prctl(2), PR_SET_PDEATHSIG: kept through execve(2), unless the program is set-user-ID or has capabilities; sent when the
*thread* that forked ends, so the parent forks in its main thread, as Twisted does.  Linux only.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>"""


def leashed(*command: str) -> tuple[str, ...]:
    """The command that runs this one as a child which does not outlive this process."""
    return sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *command


def end_with_parent(parent: int) -> None:
    """
    Ask for SIGKILL when the parent is gone; the request dies with nobody when it is gone already, so look.

    :param parent: the process that is our parent, unless it died meanwhile.
    :raises OSError: when the kernel refuses.
    :raises SystemExit: when the parent is another one by now.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:
        raise SystemExit("the parent has ended already")


def main() -> None:
    """Become the command."""
    end_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
