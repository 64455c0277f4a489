"""How much a container or a volume may write: a project of its own where the file system limits projects (kernel/projectquota.py)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Final

from onggi.kernel import projectquota
from onggi.kernel.fds import Fd
from onggi.store.durable import disk_errors

_FIRST: Final = 1 << 20
"""Lower numbers are /etc/projid's: people's own."""
_LAST: Final = (1 << 31) - 1


class DiskLimits:
    """For what is below one directory, all of it on one file system."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        with _opened(directory) as fd:
            self.are_possible = projectquota.is_on(fd)

    def set(self, directories: Sequence[str], size_bytes: int) -> None:
        """What all of `directories` may have together; they are empty now. One project, since a file that is renamed from one to
        another mustn't cross a border of projects (EXDEV). Raises OSError, OnggiError for a full disk.
        """
        with disk_errors("limit a directory"), _opened(self._directory) as whole:
            project = _free_project(whole)
            projectquota.limit(whole, project, size_bytes)
            for directory in directories:
                with _opened(directory) as fd:
                    projectquota.put_in_project(fd, project)

    def lift(self, directory: str) -> None:
        """Before its files go: nothing is kept of the limit. What isn't there is fine."""
        if not self.are_possible:
            return
        try:
            with _opened(directory) as fd:
                project = projectquota.project_of(fd)
                if project >= _FIRST:
                    projectquota.limit(fd, project, 0)
        except FileNotFoundError:
            return


def _free_project(directory: Fd) -> int:
    """One without a limit. By chance, since files of one that was removed may be there for a while."""
    while projectquota.limit_of(directory, project := _FIRST + secrets.randbelow(_LAST - _FIRST)):
        pass
    return project


def _opened(path: str) -> Fd:
    return Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
