"""
What ``twistd --help`` shows of piman.  Inert: nothing of piman is imported until a command is chosen.
"""

from twisted.application.service import ServiceMaker

piman = ServiceMaker(
    "piman",
    "piman.service",
    "Network boot and management for a fleet of Raspberry Pis: the manager.",
    "piman",
)

piman_ctl = ServiceMaker(
    "piman-ctl",
    "piman.control",
    "The operator's hand: restart, reinstall, status, why, events, map, check, simulate.",
    "piman-ctl",
)

piman_agent = ServiceMaker(
    "piman-agent",
    "piman.monitor.agent",
    "The agent that runs on each node and tells how it is.",
    "piman-agent",
)
