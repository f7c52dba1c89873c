"""
Who may ask for what on the web site: one guard in front of everything.  docs/decisions/site-access.md
"""
