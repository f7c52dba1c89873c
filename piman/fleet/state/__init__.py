"""
What is kept in ``state_dir``, and what memory knows of it: leases and the pool, intents, operations, history, journal.

:mod:`piman.fleet.state.database` has the files and their writer threads; the tables over them lie beside it.
"""
