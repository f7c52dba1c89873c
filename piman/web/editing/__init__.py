"""
``piman.yaml`` and ``hosts.csv`` in the API and on pages: looked at, judged while somebody types, kept, applied.
"""
