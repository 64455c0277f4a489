"""What a machine with v1 hierarchies has in the v2 one beside them: huge pages' limits, on most of today's distributions.

A container's group is made there only when such a limit is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import os

from onggi.kernel.cgroups import files


@functools.cache
def mount_with(controller: str) -> str:
    """Where the v2 hierarchy with `controller` is mounted, or nothing."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if right.split()[0] == "cgroup2":
                target = left.split()[4]
                if controller in files.read(f"{target}/cgroup.controllers").split():
                    return target
    return ""


def make(path: str, controller: str) -> str:
    """The group `path` there, with `controller` handed down to it. Returns its directory; raises OSError."""
    current = mount_with(controller)
    for name in path.split("/"):
        # Refused when processes are in it already; the write of the limit says so then.
        with contextlib.suppress(OSError):
            files.write(f"{current}/cgroup.subtree_control", f"+{controller}")
        current = f"{current}/{name}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(current, 0o755)
    return current


def release(controller: str) -> None:
    """The controller goes back to nobody when the hierarchy has no group left: crun takes no machine where v2 has one."""
    mount = mount_with(controller)
    # EBUSY when somebody's group came in between: it is still theirs then.
    if not any(entry.is_dir() for entry in os.scandir(mount)):
        with contextlib.suppress(OSError):
            files.write(f"{mount}/cgroup.subtree_control", f"-{controller}")


def existing(path: str, controller: str) -> list[str]:
    """The group's directory if it has been made."""
    mount = mount_with(controller)
    return [f"{mount}/{path}"] if mount and os.path.isdir(f"{mount}/{path}") else []
