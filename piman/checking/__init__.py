"""
``piman check``: what is wrong, before a board finds out.

:mod:`piman.checking.whole` is the one entry; each other module looks at one thing and judges it.
"""
