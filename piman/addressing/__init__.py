"""
What the DHCP server says: what a message deserves, the answer's options, and the way on which it goes.

:mod:`piman.dhcp` is the protocol and the service on top of it.
"""
