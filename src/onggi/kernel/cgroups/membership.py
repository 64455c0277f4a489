"""Which cgroups a process is in: /proc/PID/cgroup (cgroups(7))."""

from __future__ import annotations

import contextlib

from onggi.kernel.cgroups import files
from onggi.kernel.cgroups.v1 import mounted_hierarchies


def paths(pid: int) -> dict[str, str]:
    """Controller → path below its hierarchy's root; "" is v2's. Empty when the process is gone."""
    found = {}
    with contextlib.suppress(ProcessLookupError):
        for line in files.read(f"/proc/{pid}/cgroup").splitlines():
            _, names, path = line.split(":", 2)
            found.update(dict.fromkeys(names.split(","), path))
    return found


def thaw(pid: int) -> None:
    """Thaws the v1 freezer group that `pid` is in, whoever has frozen it: a frozen process dies of no signal.

    On v2 it does (cgroup-v2.rst, "cgroup.freeze"), and nothing is done. Raises OSError.
    """
    path, mount = paths(pid).get("freezer"), mounted_hierarchies().get("freezer")
    if path is not None and path != "/" and mount is not None:
        files.write(f"{mount}{path}/freezer.state", "THAWED")
