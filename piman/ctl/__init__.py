"""
The words of ``piman-ctl`` that speak with a manager, or, without one, with the switches.
"""
