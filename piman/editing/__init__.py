"""
The operator's files, changed from outside: ``piman.yaml`` and ``hosts.csv`` as documents that keep every byte that
nobody changed.  docs/decisions/editing.md

Nothing here knows HTTP, nor whether a manager runs.
"""
