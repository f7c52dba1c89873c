"""
What the tests of the fleet share: arbitrary values of any class, and a reactor without a reactor.
"""

from enum import Enum
from ipaddress import IPv4Address
from queue import SimpleQueue
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import attrs
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from piman.fleet.events import CATALOGUE
from piman.fleet.model import MACAddress

PATIENCE_SECONDS = 30.0
"""How long a test waits for a writer thread before it fails; no test needs it to pass."""

MAC = MACAddress.parse("b8:27:eb:00:00:01")
OTHER_MAC = MACAddress.parse("b8:27:eb:00:00:02")
ADDRESS = IPv4Address("172.30.4.13")


class ThreadedClock(Clock):
    """A Clock to which threads can hand calls; :meth:`wait` runs them in the test's thread."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[tuple[Any, tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, callable: Any, *args: Any) -> None:
        """Keep the call for :meth:`wait`."""
        self._calls.put((callable, args))

    def wait(self, deferred: "Deferred[Any]") -> Any:
        """The result of the Deferred, or the exception that it failed with."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        while not results:
            function, arguments = self._calls.get(timeout=PATIENCE_SECONDS)
            function(*arguments)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Arbitrary values of an annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is UnionType:
        return st.one_of(*(st.none() if argument is NoneType else values(argument) for argument in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=4).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if annotation is MACAddress:
        return st.sampled_from([MAC, OTHER_MAC]) | st.binary(min_size=6, max_size=6).map(MACAddress)
    if annotation is float:
        return st.floats(allow_nan=False)
    if annotation is str:
        return st.text(alphabet=st.characters(exclude_categories=()), max_size=300)
    if annotation is IPv4Address:
        return st.integers(min_value=0, max_value=2**32 - 1).map(IPv4Address)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(list(annotation))
    if attrs.has(annotation):
        return instances(annotation)
    return st.from_type(annotation)


def instances(kind: type[Any], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Arbitrary values of an attrs class; ``fixed`` overrides single fields."""
    hints = get_type_hints(kind)
    free = {field.name: values(hints[field.name]) for field in attrs.fields(kind) if field.name not in fixed}
    return st.builds(kind, **free, **fixed)


def any_event(**fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An arbitrary event of any class of the catalogue."""
    return st.one_of(*(instances(kind, **fixed) for kind in CATALOGUE))
