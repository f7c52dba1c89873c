"""
What boards experienced against what the manager has on disk.
"""

import sqlite3
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import Stage
from piman.fleet.state.history import HISTORY
from piman.fleet.state.store import STATE
from piman.simulator.booting.journal import Journal, Step, Told
from piman.simulator.pi import Pi
from piman.simulator.running import truth
from piman.simulator.running.plan import Place, places
from piman.simulator.running.truth import Truth
from tests.simulator_support import BenchNetwork

DIGEST = "d" * 64
SERVER = IPv4Address("127.77.0.1")


def told(address: IPv4Address, stage: Stage = Stage.OS) -> Told:
    """A server said so."""
    return Told(time=1.0, stage=stage, address=address, server=SERVER, lease_seconds=600.0)


class ComplaintTests(SynchronousTestCase):
    """Every way in which the two can disagree."""

    def setUp(self) -> None:
        """Two boards that are up, one with an address of its own and one from the pool; the manager agrees."""
        clock = Clock()
        self.seats: list[tuple[Place, Pi]] = []
        for place in places(2, ("3B", "4B"), 0.5):
            pi = Pi(
                place.board, clock=clock, network=BenchNetwork(clock), journal=Journal(), random=Random(1)
            )
            pi.journal.enter(Step.UP, 1.0)
            pi.journal.told.append(told(place.reserved or IPv4Address("127.77.64.1")))
            pi.card.keep(DIGEST)
            self.seats.append((place, pi))
        self.truth = Truth(
            leases={pi.board.mac: pi.journal.told[0].address for _, pi in self.seats},
            up=frozenset(pi.board.mac for _, pi in self.seats),
            installed={"a": 1, "b": 1},
            intents=2,
        )

    def complaints(self, **changes: object) -> list[str]:
        """What is wrong when the manager's side is so."""
        return list(truth.complaints(self.seats, attrs.evolve(self.truth, **changes), DIGEST))  # type: ignore[arg-type]

    def test_agreement(self) -> None:
        """Nothing is wrong when both say the same."""
        self.assertEqual(self.complaints(), [])

    def test_lost_lease(self) -> None:
        """A board was told an address of which nothing is on disk."""
        self.assertIn("the manager has nothing", self.complaints(leases={})[0])

    def test_other_lease(self) -> None:
        """A board was told another address than the one on disk."""
        wrong = dict.fromkeys(self.truth.leases, IPv4Address("127.77.9.9"))
        self.assertEqual(len(self.complaints(leases=wrong)), 2)

    def test_offer_from_the_pool(self) -> None:
        """What a boot ROM is offered from the pool is a lease; what hosts.csv reserves needs no disk."""
        for _, pi in self.seats:
            pi.journal.told[:] = [attrs.evolve(pi.journal.told[0], stage=Stage.ROM)]
        self.assertEqual([text.split()[0] for text in self.complaints(leases={})], ["pi2"])

    def test_two_addresses(self) -> None:
        """A board was told one address and then another."""
        self.seats[1][1].journal.told.insert(0, told(IPv4Address("127.77.64.9")))
        self.assertIn("several addresses", self.complaints()[0])

    def test_shared_address(self) -> None:
        """Two boards were told the same address."""
        first = self.seats[0][1].journal.told[0]
        self.seats[1][1].journal.told[:] = [first]
        leases = dict.fromkeys(self.truth.leases, first.address)
        self.assertEqual(self.complaints(leases=leases), [f"{first.address} was told to pi1 and to pi2"])

    def test_not_the_reserved_one(self) -> None:
        """A board was told another address than hosts.csv says."""
        wrong = IPv4Address("127.77.9.9")
        self.seats[0][1].journal.told[:] = [told(wrong)]
        leases = {**self.truth.leases, self.seats[0][0].board.mac: wrong}
        self.assertEqual(self.complaints(leases=leases), ["pi1 was told 127.77.9.9, hosts.csv says 127.77.16.0"])

    def test_unnoticed(self) -> None:
        """A board is up and the manager has not noticed, or the other way round."""
        self.assertEqual(len(self.complaints(up=frozenset())), 2)
        self.seats[0][1].journal.enter(Step.HUNG, 2.0)
        self.assertEqual(self.complaints(), ["pi1 is not up, the manager says that it is"])

    def test_wrong_card(self) -> None:
        """A board runs something that is not the image."""
        self.seats[0][1].card.keep("e" * 64)
        self.assertEqual(self.complaints(), ["pi1 runs something else than the image"])

    def test_damage(self) -> None:
        """A board loaded a file that was not what it should be."""
        self.seats[0][1].journal.damaged.append("kernel8.img")
        self.assertEqual(self.complaints(), ["pi1 loaded a damaged kernel8.img"])

    def test_installed_twice(self) -> None:
        """One intent was completed twice."""
        self.assertEqual(self.complaints(installed={"a": 2}), ["intent a was completed 2 times"])

    def test_own_mistake(self) -> None:
        """A mistake of the simulator is not passed over."""
        self.seats[0][1].journal.mistakes = 1
        self.assertIn("simulator", self.complaints()[0])


class ReadTests(SynchronousTestCase):
    """The manager's files, by their own schema."""

    def test_read(self) -> None:
        """Leases that live, who was seen up, and how often each intent was completed."""
        directory = Path(self.mktemp())
        directory.mkdir()
        mac, address = bytes.fromhex("b827eb000001"), IPv4Address("127.77.16.0")
        rows = [
            ("state.db", STATE, "INSERT INTO leases VALUES (?, ?, 'bound', 9e9, 'os')", (int(address), mac)),
            ("state.db", STATE, "INSERT INTO leases VALUES (?, ?, 'released', 9e9, 'os')", (1, b"gone!!")),
            ("state.db", STATE, "INSERT INTO intents VALUES ('a', 1.0, 1, '{}')", ()),
            ("history.db", HISTORY, "INSERT INTO events VALUES (1, 1.0, ?, 'NodeUp', '{}')", (mac,)),
            ("history.db", HISTORY, "INSERT INTO events VALUES (2, 1.0, ?, 'Installed', '{\"intent\":\"a\"}')", (mac,)),
        ]
        for name, schema, statement, values in rows:
            with closing(sqlite3.connect(directory / name)) as file, file:
                if not file.execute("SELECT * FROM sqlite_master").fetchone():
                    for step in (step for version in schema.migrations for step in version):
                        file.execute(step)
                file.execute(statement, values)
        found = truth.read(directory)
        self.assertEqual((found.leases, found.up, found.intents), ({mac: address}, {mac}, 1))
        self.assertEqual(found.installed, {"a": 1})
