"""
A TFTP transfer's decisions.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.boot.content import WholeFile
from piman.loading.blocks import Edition
from piman.loading.transfers import (
    IGNORED,
    Address,
    Limits,
    Overdue,
    Terms,
    Transfer,
    TransferTable,
    acknowledge,
    is_normal_end,
    negotiate,
    overdue,
)
from piman.wire import tftp

LIMITS = Limits(block_bytes=1468, window_blocks=64)
CLIENT = ("172.30.4.11", 49152)


class Door:
    """A data socket that goes nowhere."""

    def send(self, data: bytes, client: Address) -> None:
        """Drop it."""


def transfer(**changed: Any) -> Transfer:
    """A transfer that has begun at time 0."""
    values: dict[str, Any] = {
        "client": CLIENT,
        "mac": None,
        "request": b"",
        "door": Door(),
        "file": WholeFile("file", "one", b""),
        "terms": Terms(),
        "edition": Edition(512),
        "full_bytes": 516,
        "is_trusted": True,
        "has_lease": True,
        "started": 0.0,
        "heard": 0.0,
        "resend_at": 1.0,
        "patience_seconds": 15.0,
        "first_interval": 1.0,
        "interval": 1.0,
    }
    return Transfer(**(values | changed))


class NegotiateTests(SynchronousTestCase):
    """RFC 2347 and its options."""

    def agreed(self, asked: dict[str, str], size_bytes: int | None = 2075) -> dict[str, str]:
        """The OACK."""
        return dict(negotiate(asked, size_bytes, LIMITS).options)

    def test_nothing_asked(self) -> None:
        """No option is added: a client that sent none gets none, and 512-byte blocks one at a time."""
        self.assertEqual(negotiate({}, 10, LIMITS), Terms(block_bytes=512, window_blocks=1, options={}))

    def test_size(self) -> None:
        """tsize is answered with the size, 0 too, and left out where it is not known."""
        self.assertEqual(self.agreed({"tsize": "0"}), {"tsize": "2075"})
        self.assertEqual(self.agreed({"tsize": "0"}, 0), {"tsize": "0"})
        self.assertEqual(self.agreed({"tsize": "0"}, None), {})

    def test_block_size(self) -> None:
        """blksize is what was asked for, at most what the link carries; values below RFC 2348's 8 are ignored."""
        for asked, answered in ((8, 8), (512, 512), (1468, 1468), (1469, 1468), (65464, 1468), (99999, 1468)):
            terms = negotiate({"blksize": str(asked)}, 10, LIMITS)
            self.assertEqual((terms.options, terms.block_bytes), ({"blksize": str(answered)}, answered), asked)
        for asked in ("7", "0", "-8", "1e3", "", "\N{SUPERSCRIPT TWO}", "9" * 5000):
            self.assertEqual(negotiate({"blksize": asked}, 10, LIMITS), Terms(), asked)

    def test_largest_block_size(self) -> None:
        """Where the link carries it, the largest block is RFC 2348's 65464."""
        limits = Limits(block_bytes=65504, window_blocks=1)
        self.assertEqual(negotiate({"blksize": "65500"}, 10, limits).block_bytes, 65464)

    def test_timeout(self) -> None:
        """timeout is echoed from 1 to 7 seconds; longer ones and impossible ones are left out (RFC 2349)."""
        for answered in (1, 5, 7):
            terms = negotiate({"timeout": str(answered)}, 10, LIMITS)
            self.assertEqual((terms.options, terms.timeout_seconds), ({"timeout": str(answered)}, answered))
        for asked in ("0", "8", "255", "256", "x"):
            self.assertEqual(self.agreed({"timeout": asked}), {})

    def test_window(self) -> None:
        """windowsize is at most ours (RFC 7440 lets the server say less); 0 is ignored."""
        for asked, answered in (("1", "1"), ("16", "16"), ("65535", "64")):
            terms = negotiate({"windowsize": asked}, 10, LIMITS)
            self.assertEqual((terms.options, terms.window_blocks), ({"windowsize": answered}, int(answered)))
        for asked in ("0", "65536"):
            self.assertEqual(self.agreed({"windowsize": asked}), {})

    def test_order_and_unknown(self) -> None:
        """Options keep their order, and unknown ones are left out."""
        asked = {"blksize": "1024", "multicast": "", "tsize": "0", "utimeout": "5"}
        self.assertEqual(list(self.agreed(asked)), ["blksize", "tsize"])

    @given(st.dictionaries(st.sampled_from(["tsize", "blksize", "timeout", "windowsize", "x"]), st.text(max_size=8)))
    def test_any_values(self, asked: dict[str, str]) -> None:
        """Whatever is asked, nothing unasked is agreed to, and the terms can be kept."""
        terms = negotiate(asked, 2075, LIMITS)
        self.assertTrue(set(terms.options) <= set(asked))
        self.assertTrue(8 <= terms.block_bytes <= 1468 and 1 <= terms.window_blocks <= 64)


class AcknowledgeTests(SynchronousTestCase):
    """What an ACK confirms."""

    def test_lock_step(self) -> None:
        """Only the block that is under way can be confirmed."""
        under_way = transfer(confirmed=4, sent=5)
        answers = {block: acknowledge(under_way, block) for block in (0, 3, 4, 5, 6, 65535)}
        self.assertEqual(answers, {0: IGNORED, 3: IGNORED, 4: IGNORED, 5: 5, 6: IGNORED, 65535: IGNORED})

    def test_option_acknowledgement(self) -> None:
        """ACK 0 confirms an OACK, and nothing else does."""
        under_way = transfer(confirmed=-1, sent=0)
        self.assertEqual([acknowledge(under_way, block) for block in (0, 1, 65535)], [0, IGNORED, IGNORED])

    def test_wrap(self) -> None:
        """Block 65536 is confirmed by ACK 0, and 65537 by ACK 1."""
        self.assertEqual(acknowledge(transfer(confirmed=65535, sent=65536), 0), 65536)
        self.assertEqual(acknowledge(transfer(confirmed=65536, sent=65537), 1), 65537)
        self.assertEqual(acknowledge(transfer(confirmed=65535, sent=65536), 65535), IGNORED)

    def test_window(self) -> None:
        """Any block of the window can be confirmed, across the wrap too."""
        under_way = transfer(confirmed=65530, sent=65546)
        self.assertEqual(acknowledge(under_way, 65535), 65535)
        self.assertEqual(acknowledge(under_way, 10), 65546)
        self.assertEqual([acknowledge(under_way, block) for block in (65530, 11)], [IGNORED, IGNORED])

    @given(st.integers(0, 10**6), st.integers(0, 64), st.integers(0, 0xFFFF))
    def test_never_beyond(self, confirmed: int, window: int, block: int) -> None:
        """A confirmed block was sent, was not confirmed before, and has the number of the ACK."""
        number = acknowledge(transfer(confirmed=confirmed, sent=confirmed + window), block)
        if number != IGNORED:
            self.assertTrue(confirmed < number <= confirmed + window)
            self.assertEqual(number & 0xFFFF, block)


class OverdueTests(SynchronousTestCase):
    """What silence calls for."""

    def test_wait(self) -> None:
        """Before its time nothing is repeated."""
        self.assertIs(overdue(transfer(), 0.99), Overdue.WAIT)

    def test_resend(self) -> None:
        """After it the window is."""
        self.assertIs(overdue(transfer(is_answered=True), 1.0), Overdue.RESEND)

    def test_first_reply(self) -> None:
        """The first reply is repeated twice to who is known or near, and never to others."""
        self.assertIs(overdue(transfer(resends=1), 1.0), Overdue.RESEND)
        self.assertIs(overdue(transfer(resends=2), 1.0), Overdue.WAIT)
        self.assertIs(overdue(transfer(is_trusted=False), 1.0), Overdue.WAIT)

    def test_give_up(self) -> None:
        """After long silence it is over."""
        patient = transfer(is_answered=True, resend_at=20.0)
        self.assertIs(overdue(patient, 14.75), Overdue.WAIT)
        self.assertIs(overdue(patient, 15.0), Overdue.GIVE_UP)

    def test_give_up_first_reply(self) -> None:
        """Who never answered has seven seconds, whoever it is and whatever patience was agreed on."""
        for changed in ({"patience_seconds": 510.0}, {"is_trusted": False}, {"resends": 2}, {"has_lease": False}):
            unanswered = transfer(**({"resend_at": 255.0} | changed))
            self.assertIs(overdue(unanswered, 6.75), Overdue.WAIT)
            self.assertIs(overdue(unanswered, 7.0), Overdue.GIVE_UP)


class EndTests(SynchronousTestCase):
    """Which ERRORs are normal."""

    def test_table(self) -> None:
        """Early termination and refused options are normal; a full disk or an abort amid the file is not."""
        for confirmed, code, message, normal in (
            (-1, 0, "Early terminate", True),
            (0, 0, "TFTP Aborted", True),
            (500, 0, "Early terminate", True),
            (500, 0, "Aborted", False),
            (0, 3, "disk full", False),
            (-1, 8, "no such option", True),
        ):
            error = tftp.Error(code, message)
            self.assertIs(is_normal_end(transfer(confirmed=confirmed), error), normal, (confirmed, error))

    def test_probe(self) -> None:
        """A client that asked the size and took no block has probed."""
        sized = Terms(options={"tsize": "5"})
        self.assertTrue(transfer(terms=sized, confirmed=0).is_probe)
        self.assertFalse(transfer(terms=sized, confirmed=1).is_probe)
        self.assertFalse(transfer(confirmed=0).is_probe)

    def test_bytes_confirmed(self) -> None:
        """The last block counts with what it holds."""
        self.assertEqual(transfer(confirmed=-1).bytes_confirmed, 0)
        self.assertEqual(transfer(confirmed=3, last=4, last_bytes=7).bytes_confirmed, 3 * 512)
        self.assertEqual(transfer(confirmed=4, last=4, last_bytes=7).bytes_confirmed, 3 * 512 + 7)


class TransferTableTests(SynchronousTestCase):
    """All transfers."""

    def test_add_and_remove(self) -> None:
        """What was added is found until it is removed."""
        table = TransferTable()
        one, other = transfer(), transfer(client=("172.30.4.11", 49153), heard=-5.0)
        table.add(one)
        table.add(other)
        self.assertEqual((len(table), table.count_of("172.30.4.11")), (2, 2))
        self.assertIs(table.at(CLIENT), one)
        self.assertIs(table.most_neglected("172.30.4.11"), other)
        for gone in table:
            table.remove(gone)
        self.assertEqual((len(table), table.count_of("172.30.4.11"), table.at(CLIENT)), (0, 0, None))

    def test_most_neglected_is_the_hosts_own(self) -> None:
        """Another host's transfer is never the one to give way."""
        table = TransferTable()
        own, others = transfer(heard=5.0), transfer(client=("172.30.4.12", 49152), heard=-5.0)
        table.add(others)
        table.add(own)
        self.assertIs(table.most_neglected("172.30.4.11"), own)

    def test_unanswered_is_most_neglected(self) -> None:
        """Of one host's transfers one that was never answered goes before one that was, however long ago."""
        table = TransferTable()
        answered, unanswered = transfer(heard=-5.0), transfer(client=(CLIENT[0], 49153), heard=5.0)
        for one in (answered, unanswered):
            table.add(one)
        table.answered(answered)
        self.assertIs(table.most_neglected(CLIENT[0]), unanswered)

    def crowd(self) -> tuple[TransferTable, dict[str, Transfer]]:
        """A table with two transfers of each kind, those that give way last begun first."""
        table, kinds = TransferTable(), {}
        for number, name in enumerate(("board", "asker", "stranger", "nobody") * 2):
            begun = transfer(client=("172.30.4.11", number), has_lease=name in ("board", "asker"))
            kinds[name if number < 4 else f"next {name}"] = begun
            table.add(begun)
        for name in ("board", "stranger", "next board", "next stranger"):
            table.answered(kinds[name])
        return table, kinds

    def test_order_of_giving_way(self) -> None:
        """To a lease strangers give way, unanswered ones first, then who never answered, the oldest first."""
        table, kinds = self.crowd()
        for name in ("nobody", "next nobody", "stranger", "next stranger", "asker", "next asker"):
            leaving = table.giving_way(has_lease=True)
            self.assertIs(leaving, kinds[name], name)
            assert leaving is not None
            table.remove(leaving)
        self.assertIsNone(table.giving_way(has_lease=True))
        self.assertEqual((len(table), table.strangers), (2, 0))

    def test_giving_way_to_strangers(self) -> None:
        """For a stranger only strangers that never answered do."""
        table, kinds = self.crowd()
        self.assertEqual(table.strangers, 4)
        for name in ("nobody", "next nobody"):
            self.assertIs(table.giving_way(has_lease=False), kinds[name])
            table.remove(kinds[name])
        self.assertIsNone(table.giving_way(has_lease=False))

    @given(st.integers(2, 5), st.lists(st.integers(1, 3), max_size=50))
    def test_doors_differ(self, doors: int, ports: list[int]) -> None:
        """Two answers in a row to one address and port never use the same socket, whoever asks between."""
        table = TransferTable()
        last: dict[int, int] = {}
        for port in ports:
            door = table.next_door(("172.30.4.11", port), doors)
            self.assertNotEqual(door, last.get(port))
            last[port] = door

    def test_bounded(self) -> None:
        """However many clients come, a bounded number is remembered."""
        table = TransferTable()
        for port in range(20_000):
            table.next_door(("172.30.4.11", port), 2)
        self.assertFalse(table.was_served(("172.30.4.11", 0)))
        self.assertTrue(table.was_served(("172.30.4.11", 19_999)))
        self.assertEqual(sum(table.was_served(("172.30.4.11", port)) for port in range(20_000)), 16_384)
