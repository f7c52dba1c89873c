"""
What an operator orders of many nodes at once: words, plan, execution, report.

:mod:`piman.fleet.operations.book` is what the command line, the API and the pages call.
"""
