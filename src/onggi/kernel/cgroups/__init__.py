"""Control groups, v1 and v2 behind one face: limits, membership, freezing, killing, counters.

Begin in face.py (what a cgroup can do), then v1.py and v2.py. resources.py is the runtime spec's vocabulary.
A machine is v2 when /sys/fs/cgroup itself is the unified hierarchy; with v1 hierarchies there, a v2 mount beside them
has no controllers and is left alone (hybrid).
Blocking code: the shim calls it, and the engine for single files that the kernel answers from memory.
"""

from __future__ import annotations

from onggi.kernel.cgroups import finding, membership
from onggi.kernel.cgroups.abilities import abilities
from onggi.kernel.cgroups.face import Cgroup, CgroupStats
from onggi.kernel.cgroups.machine import ROOT, is_unified
from onggi.kernel.cgroups.none import NoCgroup
from onggi.kernel.cgroups.resources import Pids, Resources
from onggi.kernel.cgroups.v1 import CgroupV1, mounted_hierarchies

if is_unified():
    # For all that a process forks, but not on a machine of v1: every onggi-runtime would read it for nothing.
    from onggi.kernel.cgroups.v2 import CgroupV2

__all__ = [
    "NOWHERE",
    "ROOT",
    "Cgroup",
    "CgroupStats",
    "Pids",
    "Resources",
    "abilities",
    "create",
    "find",
    "is_unified",
    "names_below",
    "open",
    "open_beside",
]

NOWHERE = "none:"
"""A path that begins so is no group: for a user to whom none is delegated."""


def create(path: str, resources: Resources) -> Cgroup:
    """The cgroup `path` (below the root of each hierarchy), made and limited.

    Raises OSError with the file's name; what was made is removed then. A directory that is there already is taken over,
    as runc does.
    """
    group = open(path)
    try:
        group.make()
        group.apply(resources)
    except OSError:
        group.remove()
        raise
    return group


def open(path: str) -> Cgroup:
    """The cgroup `path` as it is; nothing is made."""
    if path.startswith(NOWHERE):
        return NoCgroup()
    return CgroupV2(f"{ROOT}/{path.strip('/')}") if is_unified() else CgroupV1(path.strip("/"), mounted_hierarchies())


def open_beside(path: str, pid: int) -> Cgroup:
    """The group for a process that joins `pid`, the first one of the container in `path`.

    v2 lets processes into leaves alone: where a container has divided its group (systemd, dind), it is that of `pid`.
    """
    group = open(path)
    return open(membership.paths(pid).get("", path)) if group.unified and group.hands_down() else group


def find(name: str) -> set[str]:
    """Paths of all groups that are called `name`, in whichever hierarchy and wherever they lie. Blocking (finding.py)."""
    return finding.find(name, ROOT if is_unified() else "")


def names_below(path: str) -> set[str]:
    """What the groups directly below `path` are called, in whichever hierarchy."""
    return finding.names_below(path, ROOT if is_unified() else "")
