"""
What a rack needs to run.

Its files (``plan``), its manager as a child process (``manager``, on a ``leash``), the hand at the power switch
(``harness``), the boards' agents, and in the end the comparison with the manager's files (``truth``).
"""
