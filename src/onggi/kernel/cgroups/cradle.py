"""A v1 group that is made ahead, by the process that goes into it: a container's first one.

Writing a process into a v1 group waits for a grace period of RCU now and then, 10 ms on a quiet machine (percpu_down_write
of cgroup_threadgroup_rwsem in kernel/cgroup/cgroup.c). So it goes in while nobody waits, and the group gets the container's
name when there is one (v1 groups can be renamed; cgroup1_rename). v2 needs none of this: clone3 takes the group.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from onggi.kernel.cgroups.resources import Resources
from onggi.kernel.cgroups.v1 import CgroupV1, mounted_hierarchies

PREFIX: Final = "spare-"


class Cradle:
    """A group below `parent`, called after the process `owner` until it gets a name."""

    def __init__(self, parent: str, owner: int) -> None:
        self._parent = parent.strip("/")
        self._group = CgroupV1(f"{self._parent}/{PREFIX}{owner}", mounted_hierarchies())

    def enter(self, resources: Resources) -> None:
        """Make it; the calling process goes in. What it has touched in memory before isn't counted there. Raises OSError."""
        self._group.make()
        self._group.apply(resources)
        self._group.add(0)

    def become(self, path: str) -> CgroupV1 | None:
        """The group under its new name, or None when it can't have it (other parent, or the name is taken)."""
        path = path.strip("/")
        named = CgroupV1(path, mounted_hierarchies())
        if os.path.dirname(path) != self._parent or any(map(os.path.exists, named.directories)):
            return None
        for old, new in zip(self._group.directories, named.directories, strict=True):
            os.rename(old, new)
        self._group = named
        return named

    def remove(self) -> None:
        """Nobody is in it, and it hasn't become a container's; there may be none."""
        self._group.remove()


def sweep(parent: str) -> None:
    """Remove the cradles that killed processes have left below `parent`."""
    for directory in CgroupV1(parent.strip("/"), mounted_hierarchies()).directories:
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                if name.startswith(PREFIX) and not os.path.exists(f"/proc/{name.removeprefix(PREFIX)}"):
                    os.rmdir(f"{directory}/{name}")
