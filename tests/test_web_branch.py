"""
Tests for :mod:`piman.web.branch`.
"""

from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.static import Data

from piman.web.branch import Branch


class BranchTests(SynchronousTestCase):
    """A tree of two resources."""

    def ask(self, path: str) -> tuple[int, str]:
        """Status and text."""
        root = Resource()
        inner = Branch({"leaf": Data(b"found", "text/plain")})
        root.putChild(b"branch", inner)
        response = self.successResultOf(StubTreq(root).get(f"http://piman/{path}"))
        return response.code, self.successResultOf(response.text())

    def test_children(self) -> None:
        """What hangs there answers."""
        self.assertEqual(self.ask("branch/leaf"), (200, "found"))

    def test_nothing(self) -> None:
        """Where nothing hangs, and at the branch itself, the answer says what there is."""
        for path in ("branch", "branch/", "branch/other", "branch/leaf2?x=%ff"):
            status, text = self.ask(path)
            self.assertEqual((status, "no-such-path" in text, "Known here: leaf." in text), (404, True, True), path)
