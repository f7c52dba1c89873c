"""
What an agent's errors mean, and one step of a walk.
"""

from twisted.trial.unittest import SynchronousTestCase

from piman.switching.session import (
    INDICATIONS,
    STATUS,
    Community,
    Secret,
    SwitchBusy,
    SwitchRefused,
    User,
    failure_of_indication,
    failure_of_status,
    step,
)

COLUMN = (1, 3, 6, 1, 2, 1, 105, 1, 1, 1, 3)


class FailureTests(SynchronousTestCase):
    """Errors are split by what the caller does next."""

    def test_complete(self) -> None:
        """All error statuses of RFC 3416, section 3, have a sentence and a remedy."""
        self.assertEqual(sorted(STATUS), list(range(1, 19)))
        for failure in [*map(failure_of_status, STATUS), *map(failure_of_indication, INDICATIONS)]:
            self.assertTrue(failure.reason)
            self.assertTrue(failure.remedy.endswith("."))

    def test_give_up(self) -> None:
        """What needs an operator is a refusal, and names the error."""
        for status, name in ((16, "authorizationError"), (6, "noAccess"), (17, "notWritable"), (7, "wrongType")):
            failure = failure_of_status(status)
            self.assertIsInstance(failure, SwitchRefused)
            self.assertEqual(failure.code, name)
            self.assertIn(name, failure.reason)
        for name in ("unknownUserName", "wrongDigest", "decryptionError"):
            self.assertEqual(failure_of_indication(name).code, name)

    def test_retry(self) -> None:
        """What may pass by itself is worth another attempt."""
        for status in (5, 12, 13, 14):
            self.assertIsInstance(failure_of_status(status), SwitchBusy)
        self.assertIsInstance(failure_of_indication("notInTimeWindow"), SwitchBusy)

    def test_unknown(self) -> None:
        """An error that no standard knows is a refusal, too."""
        self.assertIsInstance(failure_of_status(99), SwitchRefused)
        self.assertIn("strange", failure_of_indication("strange").reason)

    def test_secrets(self) -> None:
        """Neither a community nor a key is shown when its value is printed."""
        shown = repr((Community("hush-a"), User(name="u", auth=Secret("sha", "hush-b"), priv=Secret("des", "hush-c"))))
        self.assertNotIn("hush", shown)


class StepTests(SynchronousTestCase):
    """One answer of a walk."""

    def test_rows(self) -> None:
        """Rows below the column are taken, and the last one is where to ask on."""
        taken = step(COLUMN, COLUMN, (((*COLUMN, 1, 1), 1), ((*COLUMN, 1, 2), 2)))
        self.assertEqual(taken.rows, (((1, 1), 1), ((1, 2), 2)))
        self.assertEqual(taken.cursor, (*COLUMN, 1, 2))

    def test_next_column(self) -> None:
        """The first object of another column ends the walk."""
        taken = step(COLUMN, COLUMN, (((*COLUMN, 1, 1), 1), ((*COLUMN[:-1], 4, 1, 1), 2)))
        self.assertEqual((taken.rows, taken.cursor), ((((1, 1), 1),), None))

    def test_end_of_mib(self) -> None:
        """So does the end of the MIB."""
        self.assertIsNone(step(COLUMN, COLUMN, ((COLUMN, None),)).cursor)

    def test_not_increasing(self) -> None:
        """An agent that stays or goes back is refused by name: the walk would never end."""
        for oid in ((*COLUMN, 1, 2), (*COLUMN, 1, 1)):
            with self.assertRaises(SwitchRefused) as caught:
                step(COLUMN, (*COLUMN, 1, 2), ((oid, 1),))
            self.assertIn("never end", caught.exception.reason)

    def test_loop_within(self) -> None:
        """Also within one answer."""
        with self.assertRaises(SwitchRefused):
            step(COLUMN, COLUMN, (((*COLUMN, 2), 1), ((*COLUMN, 1), 1)))

    def test_nothing(self) -> None:
        """An answer without any object is refused."""
        with self.assertRaises(SwitchRefused):
            step(COLUMN, COLUMN, ())
