"""The cgroup that the user may make groups in, if there is one.

A group is the user's to divide when systemd has delegated it (`Delegate=yes` in a unit, or a user's own manager). v1 can't
be delegated safely, and isn't (cgroup-v2.rst, "Delegation").
"""

from __future__ import annotations

import contextlib
import os
from typing import Final, NamedTuple

from onggi.kernel import cgroups

NONE: Final = cgroups.NOWHERE
LEAF: Final = "engine"
_NEEDED: Final = ("memory", "pids", "cpu")


class Delegation(NamedTuple):
    """`parent`: below which containers get groups, or NONE. `warnings`: what can't be limited and what mends it."""

    parent: str
    warnings: list[str]


def find() -> Delegation:
    """Where this process lives, made ready: it moves to a leaf, so that controllers can be handed to the others."""
    if not cgroups.is_unified():
        return Delegation(NONE, ["this machine has cgroup v1: limits, pause and stats need v2 when rootless (boot with systemd.unified_cgroup_hierarchy=1)"])  # fmt: skip
    path = _own()
    base = path.removesuffix(f"/{LEAF}")
    directory = f"{cgroups.ROOT}{base}"
    if not all(os.access(f"{directory}/{name}", os.W_OK) for name in ("", "cgroup.procs", "cgroup.subtree_control")):
        return Delegation(NONE, [f"no cgroup is delegated to this user ({path} is not): limits, pause and stats are off (start it as systemd-run --user -p Delegate=yes onggid --rootless, or as the user unit)"])  # fmt: skip
    os.makedirs(f"{directory}/{LEAF}", exist_ok=True)
    for pid in _read(f"{directory}/cgroup.procs").split():
        with contextlib.suppress(OSError):
            _write(f"{directory}/{LEAF}/cgroup.procs", pid)
    offered = _read(f"{directory}/cgroup.controllers").split()
    missing = [name for name in _NEEDED if name not in offered]
    if not missing:
        return Delegation(base, [])
    place, line = "/etc/systemd/system/user@.service.d", "[Service]\\nDelegate=cpu cpuset io memory pids\\n"
    text = (
        f"controllers {' '.join(missing)} are not delegated: their limits are off (sudo mkdir -p {place}; "
        f"printf '{line}' | sudo tee {place}/delegate.conf; sudo systemctl daemon-reload; log in anew)"
    )
    return Delegation(base, [text])


def _own() -> str:
    line = next(line for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::"))
    return line.removeprefix("0::")


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
