"""
Tests; how Hypothesis searches in all of them.

A developer's runs search at random, CI tries the same examples each time: there a mistake that is years old must not
stop a change that has nothing to do with it.  How fast the machine is decides nothing.

A shell starts what runs in its background with SIGINT ignored, and children inherit that: here Ctrl-C counts again.
"""

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "piman", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("piman")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
