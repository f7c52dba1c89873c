# -*- test-case-name: tests.test_switching_counting -*-
"""
What came of the datagrams to one switch: an :data:`piman.switching.agent.Exchange` that counts.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from piman.distribution import Distribution
from piman.switching.agent import Answer, Exchange, Request, Target
from piman.switching.session import Credentials, SwitchTimeout


class CountedExchange:
    """
    Hands requests on.

    :ivar seconds: how long answers took; requests without one are not among them.
    :ivar timeouts: requests that no answer came to in time, each repetition counted.
    :ivar errors: requests that failed otherwise: wrong keys, answers that make no sense.
    """

    def __init__(self, clock: IReactorTime, exchange: Exchange) -> None:
        self.seconds = Distribution()
        self.timeouts = 0
        self.errors = 0
        self._clock = clock
        self._exchange = exchange

    @property
    def requests(self) -> int:
        """Requests that are over."""
        return self.seconds.total + self.timeouts + self.errors

    def __call__(self, target: Target, credentials: Credentials, request: Request, wait: float) -> "Deferred[Answer]":
        """Send once; as the exchange behind does."""
        began = self._clock.seconds()
        return self._exchange(target, credentials, request, wait).addCallbacks(
            self._answered, self._failed, callbackArgs=(began,)
        )

    def _answered(self, answer: Answer, began: float) -> Answer:
        self.seconds.take(self._clock.seconds() - began)
        return answer

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(SwitchTimeout):
            self.timeouts += 1
        else:
            self.errors += 1
        return failure
