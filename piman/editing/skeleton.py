"""
What is offered where there is no file yet: the original's keys, blank, with a word on each.

A blank value is a field to fill; the file is written when the required ones are.
"""

CONFIGURATION = """\
# piman.yaml: what this rack is.  Every key, with its default: docs/reference/piman-yaml.md

# The Pis' VLAN; also the number in the default SNMP community private@<private_number>.
private_number:

# The manager on the Pis' LAN: its address, the mask, and the network interface with that address (ip link).
server_address:
subnet_mask:
interface:

# The PoE switches, and the Pis on each.  A Pi is on the port of its last octet; ports: {1: 172.30.4.13} says otherwise.
switches:
  - switch_address:
    pi_addresses:
      -
"""

HOSTS = """\
# Which board gets which address and name: MAC;IP;hostname;last_used.
# 0.0.0.0 as IP: a known board, any address of dhcp.pool.
B8:27:EB:;;;
"""
