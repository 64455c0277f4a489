"""Where the cgroups of containers and build steps lie, and what killed processes have left there.

A group is PARENT/onggi-TAG/ID. PARENT is what the engine was started with, or what a client asked for (CgroupParent): ours
begins one below it, so that what is ours is known by its name, with no row to tell (doctor/__init__.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from onggi.engine.tasks import logged
from onggi.kernel import cgroups

log = logging.getLogger("onggi.engine")
_SPARE = "spare-"
"""Groups that the launcher keeps ready (kernel/cgroups/cradle.py)."""
_PAUSES_S = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class CgroupParents:
    """The groups above those of one engine's containers."""

    def __init__(self, tag: str, parent: str) -> None:
        self._name = f"onggi-{tag}"
        self.own = f"{parent.rstrip('/')}/{self._name}"
        self._asked: set[str] = set()

    def path(self, container_id: str, asked: str = "") -> str:
        """Of a container's group, below the parent that was `asked` for or the engine's."""
        asked = asked.rstrip("/")
        if not asked:
            return f"{self.own}/{container_id}"
        parent = f"{asked}/{self._name}"
        self._asked.add(parent)
        return f"{parent}/{container_id}"

    def is_kept(self, path: str) -> bool:
        """Whether the group `path` (as a trace tells it) is a parent, or one that the launcher keeps ready there."""
        return any(path.endswith(parent) or f"{parent}/{_SPARE}" in path for parent in (self.own, *self._asked))

    def clean(self, known: Collection[str]) -> None:
        """End and remove groups that belong to none of the `known` containers, below any parent there has ever been.

        Blocking. Holds: nothing is started yet.
        """
        if self.own.startswith(cgroups.NOWHERE):
            return
        self._asked |= {path for path in cgroups.find(self._name) if path != self.own}
        for parent in (self.own, *self._asked):
            for name in cgroups.names_below(parent) - set(known):
                left = cgroups.open(f"{parent}/{name}")
                left.kill_all()
                with logged(f"removal of cgroup {parent}/{name}, which has no container"):
                    left.remove()
                    log.info("cgroup %s/%s had no container: it is removed", parent, name)

    async def remove(self) -> None:
        """No container is left. A group above ours may be an administrator's: it stays, as with runc."""
        # The launcher's children take away theirs as they end, beside us.
        for parent in (self.own, *sorted(self._asked)):
            for pause_s in _PAUSES_S:
                await asyncio.sleep(pause_s)
                if await asyncio.to_thread(_is_removed, parent):
                    break
            else:
                log.warning("cgroup %s stays for now: something is in it", parent)


def _is_removed(parent: str) -> bool:
    try:
        cgroups.open(parent).remove()
    except OSError:
        return False
    return True
