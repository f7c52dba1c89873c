# -*- test-case-name: tests.test_importing_images -*-
"""
How far an import is.
"""

from collections.abc import Callable

import attrs


@attrs.frozen
class Progress:
    """One step of an import, and how much of it is done."""

    step: str
    """unpack, look, boot, archive, verify or publish."""
    done_bytes: int = 0
    total_bytes: int = 0
    """0: the step does not count bytes."""
    reused: bool = False
    """An earlier call, which was interrupted, had finished this step."""


Report = Callable[[Progress], None]
"""Is told of progress; raising an exception interrupts the import."""
