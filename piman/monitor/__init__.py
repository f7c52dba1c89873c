"""
Watching nodes after they are up: the agent that runs on each node, and the manager's poller.
"""
