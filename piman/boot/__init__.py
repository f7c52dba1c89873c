"""
What nodes boot from: the boot files that each of them sees, and the root file systems.
"""
