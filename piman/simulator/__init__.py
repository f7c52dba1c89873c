"""
A rack of Raspberry Pis that is not there.

Boards as programs without sockets (:mod:`piman.simulator.pi`), a network of real sockets on loopback under them
(:mod:`piman.simulator.network`), a manager of their own and a live table (:mod:`piman.simulator.rack`).
"""
