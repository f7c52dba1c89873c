# -*- test-case-name: tests.test_checking_rivals -*-
"""
Who else answers DHCP where the boards are.

A board takes the offer that it likes, not the one that we like.  What each model looks for in an offer:
:mod:`piman.wire.pi` and docs/protocols/dhcp.md.  PXE's "proxyDHCP" gives no address, only the way to the boot files
(PXE 2.1, section 2.2.3).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

import attrs

from piman.checking.findings import Finding, fail, fine, warn
from piman.wire.dhcp import BROADCAST_FLAG, Message, MessageType, Operation, Option, encode_options
from piman.wire.pi import BOOT_MENU_TEXT, EEPROM_PARAMETERS, VENDOR_CLASS

SUBJECT = "other DHCP"
REMEDY = (
    "Turn it off for this LAN (router, other boot server, libvirt), or give the Pis a VLAN of their own: "
    "which answer a board takes is chance."
)
ABSENT = IPv4Address(0)

GUID = b"\0" + bytes(16)
"""Option 97 of nobody: the question is a network boot program's, but no board's."""


@attrs.frozen
class Offer:
    """An answer to our question."""

    source: IPv4Address
    message: Message

    @property
    def server(self) -> IPv4Address:
        """Who it says that it is; else where it came from."""
        found: IPv4Address | None = self.message.option(Option.SERVER_IDENTIFIER)
        return found or self.source

    @property
    def is_proxy(self) -> bool:
        """Whether it gives no address."""
        return self.message.yiaddr == ABSENT

    @property
    def boot_server(self) -> str:
        """Where it sends network boot programs; empty: nowhere."""
        named: str | None = self.message.option(Option.TFTP_SERVER)
        if named:
            return named
        return str(self.message.siaddr) if self.message.siaddr != ABSENT else ""

    @property
    def is_for_pis(self) -> bool:
        """Whether firmware of a Pi would load its files from there: option 66, or "Raspberry Pi Boot" in option 43."""
        menu = self.message.options.get(Option.VENDOR_SPECIFIC, b"")
        return Option.TFTP_SERVER in self.message.options or BOOT_MENU_TEXT in menu


def question(xid: int, mac: bytes) -> Message:
    """
    The DISCOVER of a network boot program that is no board, answered by broadcast.

    :param mac: a locally administered address: no server knows it, and none keeps a lease for it.
    """
    return Message(
        op=Operation.REQUEST,
        xid=xid,
        chaddr=mac,
        flags=BROADCAST_FLAG,
        options=encode_options(
            {
                Option.MESSAGE_TYPE: MessageType.DISCOVER,
                Option.PARAMETER_LIST: EEPROM_PARAMETERS,
                Option.VENDOR_CLASS: VENDOR_CLASS.decode(),
                Option.CLIENT_ARCHITECTURE: 0,
                Option.CLIENT_INTERFACE: b"\x01\x02\x01",
                Option.CLIENT_GUID: GUID,
            }
        ),
    )


def random_mac(random_bytes: bytes) -> bytes:
    """A locally administered unicast address (IEEE 802, 8.2.2) out of six random octets."""
    return bytes([random_bytes[0] & 0xFC | 0x02]) + random_bytes[1:6]


# Judging


def judge_offers(offers: Iterable[Offer], ours: IPv4Address, *, serves: bool, seconds: float) -> list[Finding]:
    """
    What the answers mean for the boards.

    :param serves: whether piman gives addresses itself (``dhcp.enabled``).
    :param seconds: how long we listened.
    """
    others = {(offer.server, offer.is_proxy): offer for offer in offers if ours not in (offer.server, offer.source)}
    found = [_judge(offer, serves) for offer in others.values()]
    givers = [offer for offer in others.values() if not offer.is_proxy]
    if not serves and not givers:
        text = f"dhcp.enabled is false, and no DHCP server answered within {seconds:g} s"
        found.append(warn(SUBJECT, text, "Somebody must give the boards addresses."))
    return found or [fine(SUBJECT, f"nobody else answered within {seconds:g} s")]


def _judge(offer: Offer, serves: bool) -> Finding:
    if offer.is_proxy:
        return _judge_proxy(offer)
    text = f"{offer.server} offers addresses, too ({offer.message.yiaddr} to us{_details(offer)})"
    if not serves:
        return fine(SUBJECT, text.replace(", too", "") + "; dhcp.enabled is false, so it should")
    if offer.is_for_pis:
        return fail(
            SUBJECT, f"{text}; boards that take it load their files from {_place(offer)}, not from here", REMEDY
        )
    effect = "a Pi 3 that takes it finds no boot files, and a node whose kernel takes it is not found at its address"
    return fail(SUBJECT, f"{text}; {effect}", REMEDY)


def _judge_proxy(offer: Offer) -> Finding:
    text = f"{offer.server} is a proxyDHCP server: it gives no addresses, but the way to boot files{_details(offer)}"
    if offer.is_for_pis:
        return fail(SUBJECT, f"{text}; Pis may load from {_place(offer)}, not from here", REMEDY)
    return warn(SUBJECT, f"{text}; Pis do not heed what it says", "Leave it, if it is there for other machines.")


def _place(offer: Offer) -> str:
    return offer.boot_server or str(offer.server)


def _details(offer: Offer) -> str:
    """The parts that a boot program looks at."""
    told = list(_parts(offer))
    return "".join(f", {part}" for part in told) if told else ", no boot server"


def _parts(offer: Offer) -> Iterator[str]:
    options = offer.message.options
    if offer.source not in (offer.server, ABSENT):
        yield f"sent by {offer.source}"
    if offer.message.siaddr != ABSENT:
        yield f"next server {offer.message.siaddr}"
    if Option.TFTP_SERVER in options:
        yield f"option 66 {offer.message.option(Option.TFTP_SERVER)}"
    if Option.VENDOR_SPECIFIC in options:
        menu = " with a Raspberry Pi menu" if BOOT_MENU_TEXT in options[Option.VENDOR_SPECIFIC] else ""
        yield f"option 43{menu}"
