"""
What is seen of a rack: on the terminal while it runs (``view``, laid out by ``screen``), and in the end (``report``).
"""
