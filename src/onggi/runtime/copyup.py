"""tmpcopyup: a tmpfs that begins with what the image has in its place. Runs in the child, before the mount is attached."""

from __future__ import annotations

import os
import stat

from onggi.kernel import paths
from onggi.kernel.fds import AnyFd


def copy_up(source: AnyFd, target: AnyFd) -> None:
    """tmpcopyup: what the image has at the mount's place is there in the tmpfs too. Regular files, directories, links."""
    opened = paths.reopen(source, os.O_RDONLY | os.O_DIRECTORY)
    with opened:
        for entry in os.scandir(opened.fileno()):
            status = entry.stat(follow_symlinks=False)
            into = target if isinstance(target, int) else target.fileno()
            if entry.is_symlink():
                os.symlink(os.readlink(entry.name, dir_fd=opened.fileno()), entry.name, dir_fd=into)
            elif entry.is_dir(follow_symlinks=False):
                os.mkdir(entry.name, stat.S_IMODE(status.st_mode), dir_fd=into)
                with (
                    paths.openat2(
                        opened,
                        entry.name,
                        os.O_PATH | os.O_DIRECTORY,
                        paths.Resolve.BENEATH | paths.Resolve.NO_SYMLINKS,
                    ) as child,
                    paths.openat2(
                        into, entry.name, os.O_PATH | os.O_DIRECTORY, paths.Resolve.BENEATH | paths.Resolve.NO_SYMLINKS
                    ) as below,
                ):
                    copy_up(child, below)
            elif entry.is_file(follow_symlinks=False):
                _copy_file(opened, entry.name, into, status.st_mode)
            else:
                continue
            os.chown(entry.name, status.st_uid, status.st_gid, dir_fd=into, follow_symlinks=False)


def _copy_file(source: AnyFd, name: str, target: int, mode: int) -> None:
    resolve = paths.Resolve.BENEATH | paths.Resolve.NO_SYMLINKS
    with (
        paths.openat2(source, name, os.O_RDONLY, resolve) as reader,
        paths.openat2(target, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, resolve, stat.S_IMODE(mode)) as writer,
    ):
        while os.sendfile(writer.fileno(), reader.fileno(), None, 1 << 20):
            pass
