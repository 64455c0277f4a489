"""No control group: the container stays in its maker's, nothing is limited or counted (crun's
--cgroup-manager=disabled, and an ordinary user to whom none is delegated).
"""

from __future__ import annotations

import errno
from typing import Never, Self

from onggi.kernel.cgroups.face import CgroupStats
from onggi.kernel.cgroups.resources import Resources


class NoCgroup:
    """What can be done without a group is done, the rest raises OSError ENOTSUP."""

    unified = False

    def exists(self) -> bool:
        return False

    def make(self) -> None:
        return

    def apply(self, resources: Resources) -> None:
        """Device rules are left out too: without a group there is nothing that could hold them."""
        if resources.memory or resources.cpu or resources.pids or resources.unified:
            self._refuse("limits")

    def below(self, path: str, controllers: list[str]) -> Self:  # noqa: ARG002 - the face has it
        self._refuse(f"cgroup {path!r}")

    def hands_down(self) -> bool:
        return False

    def add(self, pid: int) -> None:  # noqa: ARG002 - the face has it
        return

    def clone_fd(self) -> int | None:
        return None

    def view(self) -> dict[str, str]:
        return {}

    def pids(self) -> list[int]:
        return []

    def freeze(self) -> None:
        self._refuse("pause")

    def thaw(self) -> None:
        self._refuse("resume")

    def is_frozen(self) -> bool:
        return False

    def kill_all(self) -> None:
        return

    def oom_kills(self) -> int:
        return 0

    def memory_peak(self) -> int:
        return 0

    def oom_events(self) -> int | None:
        return None

    def stats(self) -> CgroupStats:
        return CgroupStats()

    def remove(self) -> None:
        return

    @staticmethod
    def _refuse(what: str) -> Never:
        raise OSError(
            errno.ENOTSUP,
            f"{what}: the container has no cgroup (none is delegated to this user, or it was asked for without one)",
        )
