"""How much a container may write: a project of its own on a file system that limits projects (kernel/projectquota.py).

Upper and work directory are one project: overlayfs renames from one to the other, which a border of projects forbids (EXDEV).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from typing import Final

from onggi.kernel import projectquota
from onggi.kernel.fds import Fd
from onggi.store.durable import disk_errors

_FIRST: Final = 1 << 20
"""Lower numbers are /etc/projid's: people's own."""
_LAST: Final = (1 << 31) - 1


class DiskLimits:
    """For the containers below one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        with _opened(directory) as fd:
            self.are_possible = projectquota.is_on(fd)

    def set(self, container: str, size_bytes: int) -> None:
        """`container` has empty directories `upper` and `work`. Raises OSError, OnggiError for a full disk."""
        with disk_errors("limit a container's files"):
            project = self._free_project()
            parts = [f"{container}/upper", f"{container}/work"]
            with _opened(self._directory) as fd:
                projectquota.limit(fd, project, size_bytes)
            for part in parts:
                with _opened(part) as fd:
                    projectquota.put_in_project(fd, project)

    def lift(self, container: str) -> None:
        """Its files may go now: nothing is kept of the limit. What isn't there is fine."""
        if not self.are_possible:
            return
        try:
            with _opened(f"{container}/upper") as fd:
                project = projectquota.project_of(fd)
                if project >= _FIRST:
                    projectquota.limit(fd, project, 0)
        except FileNotFoundError:
            return

    def _free_project(self) -> int:
        """One that no container here has. By chance, since files of a removed one may be there for a while."""
        taken = set(self._projects(os.listdir(self._directory)))
        while (project := _FIRST + secrets.randbelow(_LAST - _FIRST)) in taken:
            pass
        return project

    def _projects(self, names: Iterable[str]) -> Iterable[int]:
        for name in names:
            try:
                with _opened(f"{self._directory}/{name}/upper") as fd:
                    yield projectquota.project_of(fd)
            except OSError:
                continue


def _opened(path: str) -> Fd:
    return Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
