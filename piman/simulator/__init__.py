"""
A rack of Raspberry Pis that is not there.

:mod:`piman.simulator.pi` is one board from power-on to up: what it does is in ``booting``, what it is plugged into in
``wiring``.  :mod:`piman.simulator.rack` is a rack of them with a manager of its own, run by ``running`` and shown by
``showing``.
"""
