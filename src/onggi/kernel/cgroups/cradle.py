"""A v1 group that is made ahead, with the process in it that will make a container's first one.

Writing a process into a v1 group waits for a grace period of RCU now and then, 10 ms on a quiet machine (percpu_down_write
of cgroup_threadgroup_rwsem in kernel/cgroup/cgroup.c). A child is born into its parent's groups without that: so the
parent goes in while nobody waits, and the group gets the container's name when there is one (v1 groups can be renamed;
cgroup1_rename). v2 needs none of this: clone3 takes the group.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from onggi.kernel.cgroups.v1 import CgroupV1, mounted_hierarchies

PREFIX: Final = "spare-"


class Cradle:
    """The group of the calling process, below `parent`, until it is named or left."""

    def __init__(self, parent: str) -> None:
        self._parent = parent.strip("/")
        self._group = CgroupV1(_spare_path(self._parent, os.getpid()), mounted_hierarchies())
        try:
            self._group.make()
            self._group.add(os.getpid())
        except OSError:
            self.leave()
            raise

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

    def leave(self) -> None:
        """Out into the parent, so that the group can be ended and removed."""
        CgroupV1(self._parent, mounted_hierarchies()).add(os.getpid())

    def remove(self) -> None:
        """Leave, and remove the group unless it has become a container's."""
        self.leave()
        CgroupV1(_spare_path(self._parent, os.getpid()), mounted_hierarchies()).remove()


def sweep(parent: str) -> None:
    """Remove the cradles that killed processes have left below `parent`."""
    for directory in CgroupV1(parent.strip("/"), mounted_hierarchies()).directories:
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                if name.startswith(PREFIX) and not os.path.exists(f"/proc/{name.removeprefix(PREFIX)}"):
                    os.rmdir(f"{directory}/{name}")


def _spare_path(parent: str, pid: int) -> str:
    return f"{parent}/{PREFIX}{pid}"
