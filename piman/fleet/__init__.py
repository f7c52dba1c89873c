"""
What the manager knows and decides about nodes; no sockets, no operator's files.
"""
