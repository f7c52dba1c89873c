"""
The manager's API: what pages, ``piman-ctl`` and foreign tools ask, and who may ask it.
"""
