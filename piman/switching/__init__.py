"""
What a PoE switch tells and is told over SNMP: object identifiers, vendors, ports, boards that were learned.

Nothing here opens a socket: :mod:`piman.snmp` is the client, and gives an :class:`piman.switching.session.Agent`.
"""
