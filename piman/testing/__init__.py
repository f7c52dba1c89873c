"""
Proved fakes for tests and plugin authors.

Each fake passes the contract suite in ``tests/contract`` that the real thing passes too.
"""
