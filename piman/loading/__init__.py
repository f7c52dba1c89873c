"""
How boot files travel: blocks ready to be sent, transfers as records, their delivery, and what is told of them.

:mod:`piman.tftp` is the protocol and the service on top of it.
"""
