"""Where COPY writes: directories and names below a root that an image has laid out, and may have filled with links.

Runs in a worker process. Everything is opened in the root as in a chroot; what is made is made by name in a directory that is held
open. A link at the destination is followed inside the root, as docker does.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Final

from onggi.errors import InvalidArgument
from onggi.kernel.fds import Fd
from onggi.kernel.paths import Resolve, open_in_root, openat2

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS_LIMIT: Final = 40


@dataclass(frozen=True, slots=True)
class Owner:
    uid: int
    gid: int


class Destination:
    """Directories that are made belong to `owner` and have `mode`."""

    def __init__(self, root: Fd, owner: Owner, mode: int = 0o755) -> None:
        self.root = root
        self.owner = owner
        self._mode = mode

    def directory(self, path: str) -> int:
        """The directory `path`, made with its parents where they are missing. Raises InvalidArgument when it is something else.

        What is made belongs to the owner.
        """
        try:
            return open_in_root(self.root, path or "/", _DIRECTORY).detach()
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            raise self._no_directory(path) from None
        parts = [part for part in path.split("/") if part not in ("", ".")]
        fd = open_in_root(self.root, "/", _DIRECTORY).detach()
        walked = ""
        for part in parts:
            walked = f"{walked}/{part}"
            try:
                below = self._enter(fd, part, walked)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _enter(self, fd: int, part: str, walked: str) -> int:
        try:
            return open_in_root(self.root, walked, _DIRECTORY).detach()
        except NotADirectoryError:
            raise self._no_directory(walked) from None
        except FileNotFoundError:
            if part == "..":
                raise
        try:
            os.mkdir(part, 0o755, dir_fd=fd)
        except FileExistsError:
            # A link to nowhere: making its target could be anywhere (CVE-2024-45310).
            raise InvalidArgument(
                f"cannot copy to non-directory: {walked} is a link whose target doesn't exist"
            ) from None
        made = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        if self.owner.uid or self.owner.gid:
            os.fchown(made, self.owner.uid, self.owner.gid)
        if self._mode != 0o755:
            os.fchmod(made, self._mode)
        return made

    def place(self, destination: str, name: str, *, several: bool) -> tuple[int, str]:
        """The open directory and the name that one file of this `name` gets.

        It goes into the destination when that is a directory or is said to be one (by a slash, or by more than one source).
        """
        inner, _, last = name.rpartition("/")
        if several or destination.endswith("/") or self._is_directory(destination):
            return self.directory(f"{destination.rstrip('/')}/{inner}"), last
        target = self._followed(destination)
        directory, _, last = target.rpartition("/")
        return self.directory(directory or "/"), last

    def _is_directory(self, path: str) -> bool:
        try:
            open_in_root(self.root, path, os.O_PATH | os.O_DIRECTORY).close()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return False
        return True

    def _followed(self, path: str) -> str:
        """`path` with a link at its end replaced by what it means, as often as needed."""
        for _ in range(_LINKS_LIMIT):
            try:
                with open_in_root(self.root, path.rpartition("/")[0] or "/", os.O_PATH | os.O_DIRECTORY) as parent:
                    target = os.readlink(path.rpartition("/")[2], dir_fd=parent.fileno())
            except OSError:
                return path
            path = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
        raise InvalidArgument(f"too many links in the destination {path}")

    def below(self, top: int, path: str) -> Fd:
        """A directory that was copied or was there before, `path` below the destination. Links lead on inside the root only."""
        if not path:
            return Fd(os.dup(top))
        try:
            return openat2(top, path, _DIRECTORY, Resolve.BENEATH | Resolve.NO_MAGICLINKS)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        # A link that is there before, absolute or upwards: as in a chroot, part by part.
        fd = Fd(os.dup(top))
        for part in path.split("/"):
            fd = self._through(fd, part)
        return fd

    def _through(self, fd: Fd, part: str) -> Fd:
        try:
            return openat2(fd, part, _DIRECTORY, Resolve.BENEATH | Resolve.NO_MAGICLINKS)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        target = os.readlink(part, dir_fd=fd.fileno())
        if not target.startswith("/"):
            raise InvalidArgument(f"cannot copy through the link {part} -> {target}")
        return open_in_root(self.root, target, _DIRECTORY)

    def subdirectory(self, parent: int, name: str) -> tuple[int, bool]:
        """The directory `name`, and whether it was made now; a link to a directory does for one."""
        is_new = True
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                return self._through(Fd(os.dup(parent)), name).detach(), False
            is_new = False
            if not stat.S_ISDIR(status.st_mode):
                raise InvalidArgument(f'cannot copy to non-directory: "{name}"') from None
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent), is_new

    def new_file(self, directory: int, name: str, mode: int) -> int:
        try:
            return os.open(name, _NEW_FILE, mode, dir_fd=directory)
        except FileExistsError:
            self.clear(directory, name)
            return os.open(name, _NEW_FILE, mode, dir_fd=directory)

    @staticmethod
    def clear(directory: int, name: str) -> None:
        """Nothing has the name any more. Raises InvalidArgument for a directory."""
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            raise InvalidArgument(f'cannot overwrite directory "{name}" with non-directory') from None

    @staticmethod
    def _no_directory(path: str) -> InvalidArgument:
        return InvalidArgument(f'cannot copy to non-directory: "{path}"')
