"""
What may stand in ``piman.yaml``: its keys, their defaults, and how each value is read.

:mod:`piman.config` puts the pieces together; nothing else needs this package directly.
"""
