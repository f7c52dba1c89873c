# -*- test-case-name: tests.test_host_limits -*-
"""
How many files and connections the process may have: as many as the system lets us, and whether that is enough.

A shell gives a process 1024 and lets it have more on demand: the soft and the hard limit of getrlimit(2).
"""

import resource

MOST_FILES = 65_536
"""More is of no use: 10,000 boards, installed at once, need half of it."""

FILES_OF_ITS_OWN = 256
"""Ports, databases, logs, boot files, strangers at the door."""
FILES_FOR_A_NODE = 3
"""While it is installed: its conversation, its image's connection, the image itself."""


def files_wanted(nodes: int) -> int:
    """So many are in use when all nodes are installed at once."""
    return FILES_OF_ITS_OWN + FILES_FOR_A_NODE * nodes


def raise_file_limit(most: int = MOST_FILES) -> int | None:
    """Raise the soft limit to the hard one, but not beyond ``most``; what it is now, None: none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def hard_file_limit() -> int | None:
    """What :func:`raise_file_limit` can reach; None: no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def shortage(limit: int | None, nodes: int) -> str:
    """What is too low for so many nodes, and what it should be; empty: nothing."""
    wanted = files_wanted(nodes)
    if limit is None or limit >= wanted:
        return ""
    return (
        f"{limit} files and connections at a time (ulimit -Hn) are too few to install all {nodes} nodes at once, "
        f"which takes {wanted}"
    )
