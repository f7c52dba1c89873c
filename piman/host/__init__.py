"""
What the manager's own machine offers: sockets, frames, its neighbours on the link, and its clock.
"""
