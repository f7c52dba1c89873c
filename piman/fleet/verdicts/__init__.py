"""
What a verdict over a node is made of: the faults with their remedies, the case, and the judges of each part of a boot.

:mod:`piman.fleet.diagnosis` puts them together.
"""
