# -*- test-case-name: tests.test_web_access_hosts -*-
"""
Under which names the site may be asked for, and from whose pages.  Pure.

A page elsewhere can give a name of its own our address (DNS rebinding), and its browser then takes us for the same
site: so only names count that nobody else can own.  A page elsewhere can also send us requests: browsers say whose page
it was.

1. RFC 9110, 7.2 Host; RFC 3986, 3.2.2 Host
2. RFC 6454, 7 The HTTP Origin header field
3. W3C Fetch Metadata Request Headers, Sec-Fetch-Site
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs

Address = IPv4Address | IPv6Address

_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/]+)")
_PORTS = {"http": 80, "https": 443}
LONGEST_NAME = 255


@attrs.frozen
class Authority:
    """A host and its port, as a request or an origin names them."""

    name: str
    """Lower case, without a closing dot; an IPv6 address without brackets."""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Authority | None":
        """What a text means; None: nothing that a client would send."""
        found = _AUTHORITY.fullmatch(text.lower())
        if found is None or not text.isascii() or len(text) > LONGEST_NAME + 6:
            return None
        name = found["name"].strip("[]") if found["name"].startswith("[") else found["name"].removesuffix(".")
        port = int(found["port"]) if found["port"] else None
        if not name or (port is not None and not 0 < port < 65_536):
            return None
        if found["name"].startswith("[") and address_of(name) is None:
            return None
        return cls(name, port)

    @property
    def address(self) -> Address | None:
        """The address that it is; None: a name."""
        return address_of(self.name)


def address_of(text: str) -> Address | None:
    """An address; one of IPv4 in the clothes of IPv6 is what it is.  No zones, no octal, no short forms."""
    if "%" in text:
        return None
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def is_loopback(text: str) -> bool:
    """Whether an address is this machine's to itself."""
    found = address_of(text.partition("%")[0])
    return found is not None and found.is_loopback


def host_of(values: Sequence[str]) -> Authority | None:
    """The host that a request means: of exactly one Host header."""
    return Authority.parse(values[0]) if len(values) == 1 else None


@attrs.frozen
class HostRule:
    """
    Which hosts are ours.

    :ivar addresses: the manager's own.
    :ivar names: ``web.allowed_hosts``.
    """

    addresses: frozenset[Address] = frozenset()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, addresses: Iterable[object], names: Iterable[str]) -> "HostRule":
        """From what a configuration says."""
        known = (address_of(str(each)) for each in addresses)
        wanted = (each.lower().strip("[]").removesuffix(".") for each in names)
        return cls(frozenset(each for each in known if each is not None), frozenset(wanted))

    def admits(self, host: Authority, local: str) -> bool:
        """
        Whether a request means us.  The port does not matter: ``ssh -L`` chooses another one.

        :param local: the address at which it arrived.
        """
        if host.name == "localhost" or host.name in self.names:
            return True
        address = host.address
        return address is not None and (
            address.is_loopback or address in self.addresses or address == address_of(local.partition("%")[0])
        )


@attrs.frozen(kw_only=True)
class Whence:
    """
    What a browser says of the page that a request came from.

    :ivar origins: values of Origin.
    :ivar site: Sec-Fetch-Site; None: nothing.
    :ivar mode: Sec-Fetch-Mode; None: nothing.
    """

    origins: Sequence[str] = ()
    site: str | None = None
    mode: str | None = None

    @property
    def is_drawn_in(self) -> bool:
        """
        Whether a page elsewhere asks for a part of itself: an image, a script, a stream.

        Such a page can read nothing of it, but measure it, and hold connections.  Links to us are no such thing.
        """
        return self.site in ("cross-site", "same-site") and self.mode not in (None, "navigate")

    @property
    def is_told(self) -> bool:
        """Whether anything is said: browsers do, where something could be changed."""
        return bool(self.origins) or self.site is not None


def is_own(whence: Whence, host: Authority, schemes: Iterable[str]) -> bool:
    """
    Whether a request came from our own pages, or from no page at all.

    :param host: what the request takes us for.
    :param schemes: how we are spoken to.
    """
    if whence.site not in (None, "same-origin"):
        return False
    if not whence.origins:
        return True
    return len(whence.origins) == 1 and _is_same(whence.origins[0], host, schemes)


def _is_same(origin: str, host: Authority, schemes: Iterable[str]) -> bool:
    """RFC 6454, 5: scheme, host and port; ``null`` is nobody."""
    found = _ORIGIN.fullmatch(origin)
    theirs = Authority.parse(found["authority"]) if found else None
    if found is None or theirs is None or found["scheme"] not in schemes:
        return False
    usual = _PORTS[found["scheme"]]
    return (theirs.name, theirs.port or usual) == (host.name, host.port or usual)
