"""Typed system calls: clone3, mounts, paths, namespaces, cgroups, seccomp, capabilities, netlink, nftables, pty.

Here: one function for one call, flags as IntFlag, errno as OSError with the name of the step, descriptors that close
themselves. Begin in syscalls.py, then fds.py and clone.py.
Not here: containers. Nothing in this room knows what a container is; runtime/ puts the calls in order.
Invariants: (1) every descriptor is close-on-exec from birth; (2) a path under a root that somebody else may change is
resolved by openat2 (paths.py), never by joining strings; (3) importing a module of this room opens nothing, so that
launcher, shim and onggi-runtime stay small.
"""
