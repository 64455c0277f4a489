"""The engine for an ordinary user: `onggid --rootless` enters namespaces of that user's and is root there, and only there.

Three processes, all of the user, none with a right on the host:

- outside (outside.py) stays in the host's network: it starts the other, gives it the ids of /etc/subuid by newuidmap(1), runs
  pasta or slirp4netns (uplink.py) for the way out, and binds the host's ports that containers publish.
- inside (inside.py) holds the user, mount and network namespaces, and carries connections between those ports and
  containers (relay.py), with the client's own address. Both outlive the engine, as containers do.
- the engine itself (enter.py), which joins the namespaces at each start.

Begin in enter.py. delegation.py finds the cgroup that limits can be set in; ids.py and places.py say who and where.
Not here: containers. The engine in a user namespace is the same engine; what the kernel refuses there is asked of
kernel.userns where it matters.
Invariants: (1) nothing here needs a right on the host but newuidmap's and newgidmap's; (2) what can't be had is refused or
warned of with the command that mends it; (3) sockets and state lie where only the user can go.
"""

from typing import Final

INSIDE: Final = "ONGGI_ROOTLESS_INSIDE"
"""Variable of the engine that has arrived: the cgroup it may divide, or delegation.NONE."""
