"""
What a virtual board is plugged into: the interface (``surroundings``), loopback sockets under it, faults on the line.
"""
