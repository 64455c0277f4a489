"""Networks: bridges, addresses, published ports, names.

Here: what networks there are, which container has which address in them, the firewall table, and who answers to which name.
Begin in networks.py; planning.py completes what is asked for, members.py has who is in which, addresses.py hands out addresses, bridges.py and firewall.py make the
kernel so, watch.py sees that it stays so, ports.py publishes, resolver.py answers DNS.
Not here: the veth pair of a start, which the shim makes from a LinkPlan (runtime/links.py).
Invariants: (1) one nft table holds all of an engine's rules, and is replaced or changed in one transaction; (2) a foreign
table is never flushed; (3) an address belongs to one endpoint at a time; (4) a name of one network is not visible in another.
"""

from onggi.network.networks import Networks
from onggi.network.ports import PortRequest, Published
from onggi.network.records import Endpoint, EndpointRequest, IpamConfig, Network, mac_of

__all__ = ["Endpoint", "EndpointRequest", "IpamConfig", "Network", "Networks", "PortRequest", "Published", "mac_of"]
