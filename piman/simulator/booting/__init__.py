"""
What a virtual board does from power-on to up.

Its hardware (``boards``, ``card``), the ``machine`` that runs its programs, the programs (``firmware``, ``installer``
and the clients that they call), and the ``journal`` of what it experiences.
"""
