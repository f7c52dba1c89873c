"""
The pages of the site: templates, what they show, and the resource that serves them.
"""
