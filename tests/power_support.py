"""
What the tests of power switches share.
"""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from piman.fleet.interfaces import PowerContext

SCRIPT = Path(__file__).parent / "relay.sh"
"""A program that switches eight relays, which are files: FOLDER on|off|status PORT."""


def context(reactor: Any, **options: Any) -> PowerContext:
    """Of a switch named rack-a."""
    return PowerContext(reactor=reactor, address=IPv4Address("172.30.4.254"), label="rack-a", **options)
