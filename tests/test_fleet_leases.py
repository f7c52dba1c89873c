"""
Who holds which address: the table, the pool under it and the way to the store.
"""

from ipaddress import IPv4Address

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import IAddressBook, StoreFailed
from piman.fleet.model import Lease, LeaseState, MACAddress, Node, Stage
from piman.fleet.state.lease_writer import LeaseWriter
from piman.fleet.state.leases import Claim, LeaseTable, LeaseTerms, Standing
from piman.fleet.state.pool import PROBED_SECONDS, Pool
from piman.fleet.throttle import Throttle
from piman.testing.fakes import MemoryDirectory, MemoryLeaseStore

A, B, C, D = (MACAddress(b"\xdc\xa6\x32\0\0" + bytes((n,))) for n in range(4))
START = 1_000_000.0


def ip(last: int) -> IPv4Address:
    """An address of the test network."""
    return IPv4Address(f"172.30.4.{last}")


class Directory(MemoryDirectory):
    """A directory whose nodes can be replaced."""

    def replace(self, *nodes: Node) -> None:
        """The operator's files are others now."""
        self._nodes = {node.mac: node for node in nodes}


class TableCase(SynchronousTestCase):
    """A table with a pool of three addresses, .100 to .102."""

    def setUp(self) -> None:
        """Nobody is known, nothing is leased."""
        self.clock = Clock()
        self.clock.advance(START)
        self.nodes = Directory()
        self.pool = Pool(ip(100), ip(102))
        self.table = LeaseTable(self.clock, nodes=self.nodes, pool=self.pool, terms=LeaseTerms())

    def offered(self, mac: MACAddress, requested: IPv4Address | None = None) -> IPv4Address | None:
        """The address offered, None when there is none."""
        return self.table.offer(mac, requested).address

    def lease(self, mac: MACAddress) -> IPv4Address:
        """Offer and bind."""
        address = self.table.offer(mac).address
        assert address is not None
        self.table.bind(mac, address, stage=Stage.OS)
        return address

    def standing(self, mac: MACAddress, last: int, selecting: bool = False) -> Standing:
        """How the board stands to an address."""
        return self.table.claim(mac, ip(last), selecting=selecting).standing


class AddressBookTests(TableCase):
    """What the other parts see of the table."""

    def test_interface(self) -> None:
        """The table is an address book."""
        self.assertTrue(verifyObject(IAddressBook, self.table))

    def test_offer_counts(self) -> None:
        """An offered address belongs to its board until the offer ends."""
        self.offered(A)
        self.assertEqual((self.table.holder_of(ip(100)), self.table.address_of(A)), (A, ip(100)))
        self.clock.advance(60)
        self.assertEqual((self.table.holder_of(ip(100)), self.table.address_of(A)), (None, None))

    def test_binding_counts(self) -> None:
        """A binding belongs to its board for the lease time."""
        self.lease(A)
        self.clock.advance(599)
        self.assertEqual((self.table.holder_of(ip(100)), self.table.address_of(A)), (A, ip(100)))
        self.clock.advance(1)
        self.assertEqual((self.table.holder_of(ip(100)), self.table.address_of(A)), (None, None))

    def test_unknown(self) -> None:
        """Nobody holds an address that was never given."""
        self.assertEqual((self.table.holder_of(ip(9)), self.table.address_of(A)), (None, None))

    def test_touch_keeps_an_unrequested_lease(self) -> None:
        """A board that is at work keeps the address that it was offered, however long it takes."""
        self.table.bind(A, ip(100), stage=Stage.ROM, requested=False)
        for _ in range(10):
            self.clock.advance(800)
            self.table.touch(ip(100))
            self.assertEqual(self.table.holder_of(ip(100)), A)
        self.clock.advance(900)
        self.assertIs(self.table.holder_of(ip(100)), None)

    def test_touch_keeps_a_kernels_lease(self) -> None:
        """The kernel's ip=dhcp never renews: a node at work under it keeps its address too."""
        self.table.bind(A, ip(100), stage=Stage.KERNEL)
        self.clock.advance(5)
        self.table.touch(ip(100))
        self.clock.advance(899)
        self.assertEqual(self.table.holder_of(ip(100)), A)

    def test_touch_is_cheap(self) -> None:
        """Only what gains a minute goes to the store."""
        self.table.bind(A, ip(100), stage=Stage.ROM, requested=False)
        self.table.take_changes()
        self.clock.advance(59)
        self.table.touch(ip(100))
        self.assertEqual(self.table.take_changes(), [])
        self.clock.advance(1)
        self.table.touch(ip(100))
        self.assertEqual([lease.expires for lease in self.table.take_changes()], [START + 960])

    def test_touch_wakes_nothing(self) -> None:
        """An expired, released or unknown address does not come to life by a packet from it."""
        self.lease(A)
        self.table.release(A, ip(100))
        self.table.touch(ip(100))
        self.table.touch(ip(9))
        self.assertIs(self.table.holder_of(ip(100)), None)


class PoolOrderTests(TableCase):
    """RFC 2131, 4.3.1: which address a board without a reservation is offered."""

    def test_current(self) -> None:
        """A board is offered the address that it has."""
        self.lease(A)
        self.lease(B)
        self.assertEqual(self.offered(A, ip(102)), ip(100))

    def test_repeated_discover(self) -> None:
        """A board that asks twice is offered the same address."""
        self.assertEqual((self.offered(A), self.offered(B), self.offered(A)), (ip(100), ip(101), ip(100)))

    def test_previous(self) -> None:
        """A board whose lease expired is offered the same address, though others are free."""
        self.lease(A)
        self.clock.advance(10_000)
        self.lease(B)
        self.assertEqual(self.offered(A), ip(100))

    def test_previous_after_release(self) -> None:
        """A board that released its address is offered it again."""
        self.lease(A)
        self.table.release(A, ip(100))
        self.assertEqual(self.offered(A), ip(100))

    def test_requested(self) -> None:
        """A board that had nothing is offered what it would like, if it is free and in the pool."""
        self.assertEqual(self.offered(A, ip(102)), ip(102))
        self.assertEqual(self.offered(B, ip(102)), ip(100))
        self.assertEqual(self.offered(C, ip(55)), ip(101))

    def test_free_before_expired(self) -> None:
        """Never given addresses go first, then the one that expired first."""
        self.lease(B)
        self.clock.advance(1)
        self.lease(A)
        self.clock.advance(5_000)
        self.assertEqual([self.offered(C), self.offered(D)], [ip(102), ip(100)])

    def test_renewed_is_not_expired(self) -> None:
        """A lease that was renewed expires later than one that was not."""
        self.lease(A)
        self.lease(B)
        self.lease(C)
        self.clock.advance(500)
        self.table.bind(A, ip(100), stage=Stage.OS)
        self.clock.advance(200)
        self.assertEqual([self.offered(D)], [ip(101)])
        self.assertEqual(self.table.holder_of(ip(100)), A)

    def test_unrequested_holds_last(self) -> None:
        """When all else is taken, the oldest offer that nobody asked for is offered to somebody else."""
        self.lease(A)
        self.offered(B)
        self.offered(C)
        self.assertEqual(self.offered(D), ip(101))
        self.assertEqual(self.standing(B, 101, selecting=True), Standing.WRONG)

    def test_never_an_active_one(self) -> None:
        """A pool of active leases has nothing to offer, boot ROMs' leases among them."""
        self.lease(A)
        self.lease(B)
        self.table.bind(C, ip(102), stage=Stage.ROM, requested=False)
        self.assertEqual(self.table.offer(D), Claim(Standing.NONE))
        self.clock.advance(899)
        self.assertNotEqual(self.offered(D), ip(102))

    def test_rom_lease_time(self) -> None:
        """An OFFER that is a lease holds a quarter of an hour, or the lease time if that is longer."""
        self.assertEqual(self.table.bind(A, ip(100), stage=Stage.ROM, requested=False).expires, START + 900)
        self.table.terms = LeaseTerms(lease_seconds=3600)
        self.assertEqual(self.table.bind(A, ip(100), stage=Stage.ROM, requested=False).expires, START + 3600)

    def test_old_holds_come_back(self) -> None:
        """An offer that nobody asked for ends and its address is free, before expired ones."""
        for _ in range(5):
            self.assertEqual(self.offered(A), ip(100))
            self.clock.advance(61)
        self.assertEqual(self.offered(B), ip(100))

    def test_no_pool(self) -> None:
        """Without a pool a board without a reservation gets nothing."""
        table = LeaseTable(self.clock, nodes=self.nodes)
        self.assertEqual(table.offer(A), Claim(Standing.NONE))

    def test_reserved_addresses_of_the_pool(self) -> None:
        """An address of the pool that a node reserves goes to nobody else, and comes back with the reservation."""
        self.nodes.replace(Node(mac=D, address=ip(100)))
        self.assertEqual([self.offered(A), self.offered(B)], [ip(101), ip(102)])
        self.assertEqual(self.table.offer(C, ip(100)).standing, Standing.MINE)  # B's offer, taken over
        self.assertIs(self.table.holder_of(ip(100)), None)
        self.nodes.replace()
        self.table.nodes_changed()
        self.assertEqual(self.offered(D), ip(100))

    def test_excluded(self) -> None:
        """Our own address in the range is never given."""
        pool = Pool(ip(1), ip(2), excluded=frozenset((ip(1),)))
        table = LeaseTable(self.clock, nodes=self.nodes, pool=pool)
        self.assertEqual([table.offer(A).address, table.offer(B, ip(1)).address], [ip(2), ip(2)])

    def test_timers_are_bounded(self) -> None:
        """Renewals without end leave no timers behind."""
        for _ in range(1000):
            self.lease(A)
            self.clock.advance(1)
        self.assertLess(len(self.pool._timers), 100)


class ReservationTests(TableCase):
    """Addresses in the operator's files."""

    def setUp(self) -> None:
        """A has .13, B has .14."""
        super().setUp()
        self.nodes.replace(Node(mac=A, address=ip(13)), Node(mac=B, address=ip(14)))

    def test_offer(self) -> None:
        """A node is offered its own address, whatever it would like."""
        self.assertEqual(self.offered(A, ip(100)), ip(13))

    def test_new_row_waits_for_the_holder(self) -> None:
        """A row that gives away an address still held waits until that lease expires, then applies."""
        self.lease(A)
        self.nodes.replace(Node(mac=B, address=ip(13)))
        self.assertEqual(self.table.offer(B), Claim(Standing.HELD, ip(13), A))
        self.assertEqual(self.table.claim(B, ip(13), selecting=True), Claim(Standing.HELD, ip(13), A))
        self.clock.advance(600)
        self.assertEqual(self.table.offer(B), Claim(Standing.MINE, ip(13)))

    def test_refusing_frees(self) -> None:
        """Renewing the old address is wrong; once it was refused the new owner has it."""
        self.lease(A)
        self.nodes.replace(Node(mac=A, address=ip(15)), Node(mac=B, address=ip(13)))
        self.assertEqual(self.standing(A, 13), Standing.WRONG)
        self.table.refuse(A, ip(13))
        self.assertEqual(self.offered(B), ip(13))

    def test_releasing_frees(self) -> None:
        """So it has when the old owner releases it."""
        self.lease(A)
        self.nodes.replace(Node(mac=B, address=ip(13)))
        self.assertTrue(self.table.release(A, ip(13)))
        self.assertEqual(self.offered(B), ip(13))

    def test_moving_frees(self) -> None:
        """So it has when the old owner is bound to its new address; an offer of it is not enough."""
        self.lease(A)
        self.nodes.replace(Node(mac=A, address=ip(15)), Node(mac=B, address=ip(13)))
        self.assertEqual(self.offered(A), ip(15))
        self.assertEqual(self.table.offer(B).standing, Standing.HELD)
        self.table.bind(A, ip(15), stage=Stage.OS)
        self.assertEqual(self.offered(B), ip(13))

    def test_swap(self) -> None:
        """Two nodes that swap addresses and boot both get them: firmware that asks is using no address."""
        self.lease(A)
        self.lease(B)
        self.nodes.replace(Node(mac=A, address=ip(14)), Node(mac=B, address=ip(13)))
        self.assertEqual(self.table.offer(A, restarted=True).standing, Standing.HELD)
        self.assertEqual(self.table.offer(B, restarted=True), Claim(Standing.MINE, ip(13)))
        self.assertEqual(self.table.offer(A, restarted=True), Claim(Standing.MINE, ip(14)))

    def test_hold_gives_way(self) -> None:
        """An offer that nobody asked for does not keep a node from its reservation."""
        self.nodes.replace()
        self.offered(C)
        self.nodes.replace(Node(mac=A, address=ip(100)))
        self.assertEqual(self.table.claim(A, ip(100)), Claim(Standing.MINE, ip(100)))
        self.table.bind(A, ip(100), stage=Stage.OS)
        self.assertEqual((self.table.holder_of(ip(100)), self.table.address_of(C)), (A, None))

    def test_claims(self) -> None:
        """A node may claim its own address at any time and no other one."""
        self.assertEqual(self.standing(A, 13), Standing.MINE)
        for last in (14, 100, 200):
            self.assertEqual(self.standing(A, last), Standing.WRONG)

    def test_bind_needs_a_claim(self) -> None:
        """Binding what another board holds is our mistake, and is refused."""
        self.lease(A)
        self.assertRaises(ValueError, self.table.bind, B, ip(13), stage=Stage.OS)


class ClaimTests(TableCase):
    """Boards of the pool that name an address."""

    def test_mine(self) -> None:
        """What it was offered, has, or had and nobody took since, is right."""
        self.offered(A)
        self.assertEqual(self.standing(A, 100, selecting=True), Standing.MINE)
        self.lease(A)
        self.assertEqual(self.standing(A, 100), Standing.MINE)
        self.clock.advance(5_000)
        self.assertEqual(self.standing(A, 100), Standing.MINE)

    def test_taken(self) -> None:
        """What another board holds is wrong."""
        self.lease(A)
        for selecting in (True, False):
            self.assertEqual(self.standing(B, 100, selecting), Standing.WRONG)

    def test_other_than_mine(self) -> None:
        """A board with a record that names another address is wrong."""
        self.lease(A)
        self.assertEqual(self.standing(A, 101), Standing.WRONG)
        self.assertEqual(self.standing(A, 200), Standing.WRONG)

    def test_unknown(self) -> None:
        """Of a board without a record nothing is known, unless it says that we offered."""
        self.assertEqual(self.standing(A, 100), Standing.UNKNOWN)
        self.assertEqual(self.standing(A, 200), Standing.UNKNOWN)
        self.assertEqual(self.standing(A, 100, selecting=True), Standing.MINE)
        self.assertEqual(self.standing(A, 200, selecting=True), Standing.WRONG)

    def test_reserved_meanwhile(self) -> None:
        """A lease of the pool whose address a node reserves now ends at its next renewal."""
        self.lease(A)
        self.nodes.replace(Node(mac=B, address=ip(100)))
        self.assertEqual(self.standing(A, 100), Standing.WRONG)


class DeclineTests(TableCase):
    """DHCPDECLINE and DHCPRELEASE."""

    def test_quarantine(self) -> None:
        """A declined address is given to nobody for an hour, not even to who declined it."""
        self.lease(A)
        self.assertTrue(self.table.decline(A, ip(100)))
        self.assertIs(self.table.holder_of(ip(100)), None)
        self.assertEqual({self.offered(A), self.offered(B)}, {ip(101), ip(102)})
        self.assertEqual(self.standing(A, 100, selecting=True), Standing.WRONG)
        self.lease(A)
        self.lease(B)
        self.assertIs(self.offered(C, ip(100)), None)
        self.clock.advance(3600)
        self.table.bind(A, ip(101), stage=Stage.OS)
        self.table.bind(B, ip(102), stage=Stage.OS)
        self.assertEqual(self.offered(C), ip(100))

    def test_one_board_declines_everything(self) -> None:
        """A board that declines whatever it gets keeps the last three away from others, not the pool."""
        pool = Pool(ip(100), ip(149))
        self.table.replace_pool(pool)
        seen = []
        for _ in range(50):
            seen.append(self.lease(A))
            self.assertTrue(self.table.decline(A, seen[-1]))
        self.assertEqual(len(set(seen)), 50)
        others = [self.lease(MACAddress(b"\x02\0\0\0\0" + bytes((n,)))) for n in range(47)]
        self.assertEqual(set(others), set(seen[:47]))
        self.assertIs(self.offered(B), None)
        self.clock.advance(3600)
        self.assertIn(self.offered(B), pool)

    def test_declines_of_others(self) -> None:
        """What other boards declined stays in quarantine; the count of a board outlives the manager."""
        self.table.replace_pool(Pool(ip(100), ip(105)))
        self.table.decline(B, self.lease(B))
        for _ in range(3):
            self.table.decline(A, self.lease(A))
        kept = self.table.take_changes()
        self.table = LeaseTable(self.clock, nodes=self.nodes, pool=Pool(ip(100), ip(105)))
        self.table.restore(kept)
        self.table.decline(A, self.lease(A))
        self.assertEqual([self.offered(C), self.offered(D)], [ip(105), ip(101)])

    def test_freed_quarantine_is_looked_at(self) -> None:
        """An address whose quarantine ends because its board declined others is in doubt like any that was declined."""
        self.table.replace_pool(Pool(ip(100), ip(104)))
        self.table.expect_probes(doubt_all=False)
        for _ in range(4):
            self.table.decline(A, self.lease(A))
        self.assertEqual([self.lease(B), self.offered(C)], [ip(104), None])
        self.assertEqual(self.table.to_probe(1), [ip(100)])
        self.table.silent(ip(100))
        self.assertEqual(self.offered(C), ip(100))

    def test_only_by_the_holder(self) -> None:
        """Nobody declines or releases another board's address, or one that nobody has."""
        self.lease(A)
        for address in (ip(100), ip(101)):
            self.assertFalse(self.table.decline(B, address))
            self.assertFalse(self.table.release(B, address))
        self.assertEqual(self.table.holder_of(ip(100)), A)

    def test_an_offer(self) -> None:
        """An offer can be declined, and released."""
        self.offered(A)
        self.assertTrue(self.table.release(A, ip(100)))
        self.assertIs(self.table.holder_of(ip(100)), None)
        self.offered(A)
        self.assertTrue(self.table.decline(A, ip(100)))
        self.assertEqual(self.offered(A), ip(101))

    def test_withdraw(self) -> None:
        """A board that took another server's offer frees ours."""
        self.offered(A)
        self.table.withdraw(A)
        self.assertEqual(self.offered(B), ip(100))

    def test_reservation(self) -> None:
        """A declined reservation is offered again: the node looks for itself, and nothing else is meant for it."""
        self.nodes.replace(Node(mac=A, address=ip(13)))
        self.lease(A)
        self.table.decline(A, ip(13))
        self.assertEqual(self.offered(A), ip(13))


class RestoreTests(TableCase):
    """What an earlier process knew."""

    def test_same_addresses_again(self) -> None:
        """After a restart every board has its address, and the pool knows."""
        store = MemoryLeaseStore()
        self.lease(A)
        self.table.bind(B, ip(101), stage=Stage.ROM, requested=False)
        self.successResultOf(store.commit(self.table.take_changes()))
        again = LeaseTable(self.clock, nodes=self.nodes, pool=Pool(ip(100), ip(102)))
        again.restore(store.load_leases())
        self.assertEqual((again.holder_of(ip(100)), again.holder_of(ip(101))), (A, B))
        self.assertEqual([again.offer(C).address, again.offer(B).address], [ip(102), ip(101)])
        self.assertEqual(again.take_changes(), [])

    def test_two_records_of_a_board(self) -> None:
        """Of two live bindings of a board both are kept away from others, and the newer one is its address."""
        leases = [
            Lease(address=ip(last), mac=A, state=LeaseState.BOUND, expires=START + 1000 - last) for last in (100, 101)
        ]
        self.table.restore(leases)
        self.assertEqual(self.table.address_of(A), ip(100))
        self.assertEqual(self.offered(B), ip(102))

    def test_ended_bindings(self) -> None:
        """Released and expired bindings are remembered as the boards' last addresses."""
        self.table.restore(
            [
                Lease(address=ip(101), mac=A, state=LeaseState.RELEASED, expires=START - 5),
                Lease(address=ip(102), mac=B, state=LeaseState.BOUND, expires=START - 9),
            ]
        )
        self.assertIs(self.table.holder_of(ip(101)), None)
        self.assertEqual([self.offered(B), self.offered(A), self.offered(C)], [ip(102), ip(101), ip(100)])

    def test_changes(self) -> None:
        """Every change is handed out once, in its newest form."""
        self.lease(A)
        self.table.release(A, ip(100))
        changes = self.table.take_changes()
        self.assertEqual([(lease.address, lease.state) for lease in changes], [(ip(100), LeaseState.RELEASED)])
        self.assertEqual(self.table.take_changes(), [])
        self.lease(A)
        self.table.give_back(changes)
        self.assertEqual([lease.state for lease in self.table.take_changes()], [LeaseState.BOUND])


class ProbeTests(TableCase):
    """What probes of the pool tell."""

    def setUp(self) -> None:
        """Somebody looks at addresses."""
        super().setUp()
        self.table.expect_probes(doubt_all=False)

    def test_silent_first(self) -> None:
        """Addresses that were found silent are given before others."""
        self.assertEqual(self.table.to_probe(3), [ip(100), ip(101), ip(102)])
        self.table.silent(ip(102))
        self.assertEqual([self.offered(A), self.offered(B)], [ip(102), ip(100)])

    def test_enough(self) -> None:
        """Only as many are looked at as are missing; a probe says nothing any more after ten minutes."""
        self.table.silent(ip(100))
        self.assertEqual((self.table.to_probe(2), self.table.to_probe(1)), ([ip(101)], []))
        self.clock.advance(PROBED_SECONDS + 1)
        self.assertEqual(self.table.to_probe(2), [ip(101), ip(102)])

    def test_doubt_all(self) -> None:
        """A manager that has lost its memory gives only addresses that were found silent."""
        self.table.expect_probes(doubt_all=True)
        self.assertIs(self.offered(A), None)
        self.assertIs(self.offered(A, ip(101)), None)
        self.assertEqual(self.standing(A, 101, selecting=True), Standing.WRONG)
        self.table.silent(ip(101))
        self.assertEqual(self.offered(A), ip(101))
        self.assertEqual(self.standing(A, 101, selecting=True), Standing.MINE)

    def test_doubted_once(self) -> None:
        """An address that was looked at once is as any other: it is given again after its lease, and looked at late."""
        self.table.expect_probes(doubt_all=True)
        for last in (100, 101, 102):
            self.table.silent(ip(last))
        self.lease(A)
        self.table.release(A, ip(100))
        self.clock.advance(PROBED_SECONDS + 1)
        self.assertEqual({self.offered(mac) for mac in (B, C, D)}, {ip(100), ip(101), ip(102)})

    def test_without_probes(self) -> None:
        """Where nobody looks no address is ever in doubt."""
        table = LeaseTable(self.clock, nodes=self.nodes, pool=Pool(ip(100), ip(102)))
        table.replace_pool(Pool(ip(101), ip(103)))
        table.restore([Lease(address=ip(101), mac=B, state=LeaseState.OCCUPIED, expires=START)])
        self.assertEqual([table.offer(mac).address for mac in (A, C, D)], [ip(102), ip(103), ip(101)])

    def test_occupied(self) -> None:
        """An address on which somebody answers is nobody else's for an hour, and then looked at before it is given."""
        self.assertTrue(self.table.occupied(ip(100), D))
        self.assertEqual([self.offered(A, ip(100)), self.lease(A), self.lease(B)], [ip(101), ip(101), ip(102)])
        self.assertIs(self.offered(C), None)
        self.clock.advance(3599)
        self.assertNotIn(ip(100), self.table.to_probe(3))
        self.clock.advance(1)
        self.lease(A)
        self.lease(B)
        self.assertIs(self.offered(C, ip(100)), None)
        self.assertEqual(self.table.to_probe(1), [ip(100)])
        self.table.silent(ip(100))
        self.assertEqual(self.offered(C), ip(100))

    def test_survives(self) -> None:
        """Who was seen on which address goes to the store and comes back from it."""
        self.table.occupied(ip(100), D)
        changes = self.table.take_changes()
        again = LeaseTable(self.clock, nodes=self.nodes, pool=Pool(ip(100), ip(101)))
        again.restore(changes)
        self.assertEqual([again.offer(A, ip(100)).address, again.offer(D).address], [ip(101), ip(100)])

    def test_board_that_we_forgot(self) -> None:
        """A board that was found on its address may have it: when it asks for one, and when it renews."""
        self.table.expect_probes(doubt_all=True)
        self.assertEqual(self.standing(A, 101), Standing.UNKNOWN)
        self.table.occupied(ip(101), A)
        self.assertEqual((self.standing(A, 101), self.standing(B, 101)), (Standing.MINE, Standing.UNKNOWN))
        self.assertEqual(self.lease(A), ip(101))
        self.assertEqual(self.table.holder_of(ip(101)), A)

    def test_no_news(self) -> None:
        """A board that answers on an address that it was offered, leased or reserved is no news; no lease is ended."""
        self.nodes.replace(Node(mac=D, address=ip(102)))
        self.offered(A)
        self.lease(B)
        told = [self.table.occupied(ip(last), mac) for last, mac in ((100, A), (101, B), (101, C), (102, D), (99, D))]
        self.assertEqual(told, [False] * 5)
        self.assertEqual((self.table.holder_of(ip(100)), self.table.holder_of(ip(101))), (A, B))

    def test_offer_to_who_answered(self) -> None:
        """What was offered to the board that answered there is no offer that nobody wants: others do not get it."""
        self.table.expect_probes(doubt_all=True)
        self.table.occupied(ip(100), A)
        self.assertEqual(self.offered(A), ip(100))
        self.assertIs(self.offered(B), None)

    def test_offered_meanwhile(self) -> None:
        """When somebody else answers on an address that was only offered, the offer is withdrawn."""
        self.offered(A)
        self.assertTrue(self.table.occupied(ip(100), D))
        self.assertEqual(self.standing(A, 100, selecting=True), Standing.WRONG)
        self.assertEqual(self.offered(A), ip(101))

    def test_reserved(self) -> None:
        """Reserved addresses are set aside and not looked at, until they are reserved no more."""
        self.nodes.replace(Node(mac=D, address=ip(100)))
        self.table.expect_probes(doubt_all=True)
        self.assertEqual(self.table.to_probe(3), [ip(101), ip(102)])
        self.nodes.replace()
        self.table.nodes_changed()
        self.assertEqual(self.table.to_probe(3), [ip(101), ip(102), ip(100)])
        self.assertIs(self.offered(A, ip(100)), None)

    def test_declined(self) -> None:
        """A declined address is looked at before it is given again."""
        self.lease(A)
        self.table.decline(A, ip(100))
        self.clock.advance(3600)
        self.assertEqual(self.table.to_probe(1), [ip(100)])
        self.assertEqual([self.lease(B), self.lease(C), self.offered(D)], [ip(101), ip(102), None])


class CountedPoolTests(SynchronousTestCase):
    """How many addresses of a pool nobody has."""

    def test_free(self) -> None:
        """Given addresses count until their lease is over; excluded ones never."""
        pool = Pool(ip(100), ip(104), excluded=frozenset({ip(102), ip(1)}))
        self.assertEqual((len(pool), pool.free(0.0)), (4, 4))
        given = pool.take(0.0, lambda address: True)
        assert given is not None
        self.assertEqual(pool.free(0.0), 3)
        pool.put_back(given, 600.0)
        self.assertEqual((pool.free(599.0), pool.free(600.0)), (3, 4))


class ReplacePoolTests(TableCase):
    """The operator's pool becomes another one."""

    def test_new_addresses(self) -> None:
        """Addresses that joined are given, addresses that left are not."""
        self.table.replace_pool(Pool(ip(102), ip(104), excluded=frozenset({ip(103)})))
        self.assertEqual([self.lease(A), self.lease(B), self.offered(C)], [ip(102), ip(104), None])

    def test_leases_run_out(self) -> None:
        """A lease outside of the new pool stands until it expires, and is not renewed."""
        self.lease(A)
        self.table.replace_pool(Pool(ip(101), ip(102)))
        self.assertEqual((self.table.holder_of(ip(100)), self.standing(A, 100)), (A, Standing.WRONG))
        self.assertEqual(self.lease(A), ip(101))
        self.assertEqual(self.table.holder_of(ip(100)), None)

    def test_leases_inside(self) -> None:
        """A lease inside both pools is renewed, and nobody else gets its address."""
        self.lease(A)
        self.table.replace_pool(Pool(ip(100), ip(101)))
        self.assertEqual((self.standing(A, 100), self.lease(B), self.offered(C)), (Standing.MINE, ip(101), None))

    def test_offers(self) -> None:
        """An offer inside of the new pool stands, one outside is no right any more and is offered to nobody else."""
        self.assertEqual([self.offered(A), self.offered(B)], [ip(100), ip(101)])
        self.table.replace_pool(Pool(ip(101), ip(101)))
        self.assertEqual(self.standing(A, 100, selecting=True), Standing.WRONG)
        self.assertEqual(self.standing(B, 101, selecting=True), Standing.MINE)
        self.lease(B)
        self.assertIs(self.offered(C), None)

    def test_no_pool(self) -> None:
        """Without a pool there is nothing to give, and with a new one there is again."""
        self.lease(A)
        self.table.replace_pool(None)
        self.assertIs(self.offered(B), None)
        self.table.replace_pool(Pool(ip(100), ip(101)))
        self.assertEqual((self.lease(B), self.offered(C)), (ip(101), None))

    def test_doubts(self) -> None:
        """With probes, what joins is looked at first; what was known stays known."""
        self.table.expect_probes(doubt_all=True)
        self.table.silent(ip(101))
        self.table.replace_pool(Pool(ip(101), ip(103)))
        self.assertEqual([self.lease(A), self.offered(B)], [ip(101), None])
        self.assertEqual(self.table.to_probe(3), [ip(102), ip(103)])

    def test_returning(self) -> None:
        """An address that left the pool and joins it again is looked at, also by its last board."""
        self.lease(A)
        self.table.expect_probes(doubt_all=False)
        self.table.replace_pool(None)
        self.table.release(A, ip(100))
        self.table.replace_pool(Pool(ip(100), ip(100)))
        self.assertIs(self.offered(A), None)
        self.assertEqual(self.table.to_probe(1), [ip(100)])
        self.table.silent(ip(100))
        self.assertEqual(self.offered(A), ip(100))


class WriterTests(TableCase):
    """Nothing is said before it is on disk."""

    def setUp(self) -> None:
        """A store that waits."""
        super().setUp()
        self.store = MemoryLeaseStore()
        self.store.held = True
        self.writer = LeaseWriter(self.clock, leases=self.table, store=self.store)
        self.said: list[str] = []

    def commit(self, mac: MACAddress, last: int, text: str) -> None:
        """Bind, write, then say it."""
        lease = self.table.bind(mac, ip(last), stage=Stage.OS)
        self.writer.commit(lease, lambda: self.said.append(text))

    def test_order(self) -> None:
        """The word comes after the write."""
        self.commit(A, 100, "a")
        self.assertEqual(self.said, [])
        self.store.flush()
        self.assertEqual(self.said, ["a"])
        self.assertEqual(self.store.leases[ip(100)].mac, A)

    def test_impatient_board(self) -> None:
        """A board that asks again and again while the disk is slow makes one more write, and has the newest answer."""
        for text in "abcd":
            self.commit(A, 100, text)
            self.clock.advance(1)
        self.assertEqual(len(self.store.waiting), 1)
        self.store.flush()
        self.assertEqual((self.said, len(self.store.waiting)), (["a"], 1))
        self.store.flush()
        self.assertEqual((self.said, len(self.store.waiting)), (["a", "d"], 0))

    def test_other_boards(self) -> None:
        """One board's write does not hold up another's."""
        self.commit(A, 100, "a")
        self.commit(B, 101, "b")
        self.assertEqual(len(self.store.waiting), 2)
        self.store.flush()
        self.assertEqual(self.said, ["a", "b"])

    def test_lost_meanwhile(self) -> None:
        """What was released while it was written is not said."""
        self.commit(A, 100, "a")
        self.commit(A, 100, "b")
        self.table.release(A, ip(100))
        self.store.flush()
        self.assertEqual((self.said, self.store.waiting), ([], []))
        self.writer.save_changes()
        self.store.flush()
        self.assertEqual(self.store.leases[ip(100)].state, LeaseState.RELEASED)

    def test_failing_store(self) -> None:
        """When the disk fails nothing is said, and the change goes along with the next write."""
        self.store.commit = lambda leases: fail(StoreFailed("disk full"))  # type: ignore[method-assign]
        self.commit(A, 100, "a")
        self.assertEqual(self.said, [])
        written: list[Lease] = []

        def commit(leases: object) -> "Deferred[None]":
            written.extend(leases)  # type: ignore[call-overload]
            return succeed(None)

        self.store.commit = commit  # type: ignore[method-assign]
        self.commit(B, 101, "b")
        self.assertEqual(self.said, ["b"])
        self.assertEqual({lease.address for lease in written}, {ip(100), ip(101)})

    def test_raising_store(self) -> None:
        """A store that raises is a store that failed."""

        def commit(leases: object) -> "Deferred[None]":
            raise OSError("closed")

        self.store.commit = commit  # type: ignore[method-assign]
        self.commit(A, 100, "a")
        self.successResultOf(self.writer.save_changes())
        self.assertEqual(self.said, [])

    def test_our_mistake(self) -> None:
        """An answer that raises is logged and does not block the board's next one."""
        self.store.held = False
        lease = self.table.bind(A, ip(100), stage=Stage.OS)
        self.writer.commit(lease, lambda: self.said.append(str(1 // 0)))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.commit(A, 100, "a")
        self.assertEqual(self.said, ["a"])


class ThrottleTests(SynchronousTestCase):
    """Saying things only now and then."""

    def test_once_in_a_while(self) -> None:
        """A key passes once in its time; another key is not held up by it."""
        clock = Clock()
        throttle = Throttle(clock, 60.0)
        self.assertEqual([throttle.passes(key) for key in "aab"], [True, False, True])
        clock.advance(60)
        self.assertTrue(throttle.passes("a"))

    def test_flood(self) -> None:
        """However many keys come, only so many pass and are remembered."""
        clock = Clock()
        throttle = Throttle(clock, 60.0, capacity=10)
        self.assertEqual(sum(throttle.passes(key) for key in range(1000)), 10)
        self.assertEqual([throttle.take_held_back() for _ in range(2)], [990, 0])
        clock.advance(60)
        self.assertTrue(throttle.passes("new"))


MACS = [MACAddress(b"\x02\0\0\0\0" + bytes((n,))) for n in range(5)]
ADDRESSES = [ip(last) for last in (13, 14, 100, 101, 102)]
boards = st.sampled_from(MACS)
places = st.sampled_from(ADDRESSES)


class LeaseMachine(RuleBasedStateMachine):
    """
    Boards, an operator and time do whatever they like; the test keeps its own book of what boards were promised.

    A promise is an ACK, or an OFFER to a boot ROM: until it ends, nobody else may be promised the address.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(START)
        self.nodes = Directory()
        self.table = LeaseTable(self.clock, nodes=self.nodes, pool=Pool(ip(100), ip(102)))
        self.promises: dict[IPv4Address, tuple[MACAddress, float]] = {}
        self.store = MemoryLeaseStore()

    def promise(self, mac: MACAddress, address: IPv4Address, requested: bool) -> None:
        """Bind, unless our own book says that this breaks a promise."""
        holder, until = self.promises.get(address, (mac, 0.0))
        assert holder == mac or until <= self.clock.seconds(), f"{address} was promised to {holder}"
        for other, (owner, _) in list(self.promises.items()):
            if owner == mac:
                del self.promises[other]
        lease = self.table.bind(mac, address, stage=Stage.OS if requested else Stage.ROM, requested=requested)
        self.promises[address] = mac, lease.expires
        self.store.commit(self.table.take_changes())

    @rule(mac=boards, requested=st.none() | places)
    def dora(self, mac: MACAddress, requested: IPv4Address | None) -> None:
        """DISCOVER and, if there was an offer, REQUEST at once."""
        offer = self.table.offer(mac, requested)
        if offer.standing is Standing.MINE and offer.address is not None:
            assert self.table.claim(mac, offer.address, selecting=True).standing is Standing.MINE
            self.promise(mac, offer.address, True)

    @rule(mac=boards, requested=st.none() | places)
    def discover(self, mac: MACAddress, requested: IPv4Address | None) -> None:
        """DISCOVER only."""
        self.table.offer(mac, requested)

    @rule(mac=boards)
    def rom(self, mac: MACAddress) -> None:
        """DISCOVER of a boot ROM, which uses no address and takes the offer for the lease."""
        node = self.nodes.node(mac)
        if node is not None and node.address is not None:
            for address, (owner, _) in list(self.promises.items()):
                if owner == mac and address != node.address:
                    del self.promises[address]
        offer = self.table.offer(mac, restarted=True)
        if offer.standing is Standing.MINE and offer.address is not None:
            self.promise(mac, offer.address, False)

    @rule(mac=boards, address=places, selecting=st.booleans())
    def request(self, mac: MACAddress, address: IPv4Address, selecting: bool) -> None:
        """REQUEST for any address."""
        claim = self.table.claim(mac, address, selecting=selecting)
        if claim.standing is Standing.MINE:
            self.promise(mac, address, True)
        elif claim.standing is not Standing.UNKNOWN:
            self.table.refuse(mac, address)
            if self.promises.get(address, (None, 0.0))[0] == mac:
                del self.promises[address]

    @rule(mac=boards, address=places, declined=st.booleans())
    def give_up(self, mac: MACAddress, address: IPv4Address, declined: bool) -> None:
        """RELEASE or DECLINE of any address."""
        act = self.table.decline if declined else self.table.release
        if act(mac, address) and self.promises.get(address, (None, 0.0))[0] == mac:
            del self.promises[address]

    @rule(address=places)
    def work(self, address: IPv4Address) -> None:
        """TFTP from an address."""
        self.table.touch(address)

    @rule(seconds=st.sampled_from((1, 30, 61, 299, 601, 901, 4000)))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @rule(rows=st.lists(st.tuples(boards, st.none() | places), max_size=4, unique_by=(lambda r: r[0], lambda r: r[1])))
    def edit(self, rows: list[tuple[MACAddress, IPv4Address | None]]) -> None:
        """The operator edits the files."""
        self.nodes.replace(*(Node(mac=mac, address=address) for mac, address in rows))
        self.table.nodes_changed()

    @rule(first=st.sampled_from((100, 101)), last=st.sampled_from((101, 102)))
    def repool(self, first: int, last: int) -> None:
        """The operator makes the pool another one."""
        self.table.replace_pool(Pool(ip(first), ip(last)))

    @rule()
    def begin_to_probe(self) -> None:
        """Every address is in doubt."""
        self.table.expect_probes(doubt_all=True)

    @rule(address=places, mac=st.none() | boards)
    def probe(self, address: IPv4Address, mac: MACAddress | None) -> None:
        """An address was looked at."""
        self.table.to_probe(2)
        if mac is None:
            self.table.silent(address)
        else:
            self.table.occupied(address, mac)

    @rule()
    def restart(self) -> None:
        """The manager is killed and starts again with what is on disk."""
        self.table = LeaseTable(self.clock, nodes=self.nodes, pool=Pool(ip(100), ip(102)))
        self.table.restore(self.store.load_leases())

    @invariant()
    def nobody_else_has_it(self) -> None:
        """The book of the table and ours agree about every promise that has not ended."""
        for address, (mac, until) in self.promises.items():
            if until > self.clock.seconds():
                assert self.table.holder_of(address) == mac, f"{address} of {mac}"

    @invariant()
    def one_place_each(self) -> None:
        """Every address of the pool lies in one place of it, or is out on an offer."""
        pool = self.table.pool
        assert pool is not None
        places = [pool._free, pool._probed, pool._doubted, pool._timed, pool._aside, self.table._holds]
        for address in ADDRESSES[2:]:
            if address not in pool:
                assert not any(address in place for place in places[:-1]), f"{address}"
                continue
            assert sum(address in place for place in places) == 1, f"{address}"


class AnySequenceTests(SynchronousTestCase):
    """Whatever happens in whatever order."""

    def test_no_conflict(self) -> None:
        """No sequence of messages, edits, restarts and time gives an address to two boards."""
        steps = settings(max_examples=60, stateful_step_count=40, deadline=None)
        run_state_machine_as_test(LeaseMachine, settings=steps)  # type: ignore[no-untyped-call]
