"""A directory of this machine as a build context, read straight from the disk."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from onggi.build.context import Context
from onggi.build.entries import DIRECTORY, FILE, SYMLINK, Entry
from onggi.ignore import IgnoreRules


def read_directory(root: Path, rules: IgnoreRules) -> Context:
    """Everything below `root` that `rules` let through; owners are left out, as clients do."""
    spool = os.memfd_create("context")
    entries: list[Entry] = []
    inodes: dict[int, Entry] = {}
    offset = 0
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted([*names, *files]):
            path = Path(directory) / name
            shown = str(path.relative_to(root))
            if rules.ignores(shown):
                continue
            status = path.lstat()
            mode, time = stat.S_IMODE(status.st_mode), status.st_mtime_ns
            if stat.S_ISDIR(status.st_mode):
                entries.append(Entry(shown, DIRECTORY, mode, time))
            elif stat.S_ISLNK(status.st_mode):
                entries.append(Entry(shown, SYMLINK, 0o777, time, link=os.readlink(path)))
            else:
                data = path.read_bytes()
                os.pwrite(spool, data, offset)
                entry = Entry(shown, FILE, mode, time, len(data), offset, hashlib.sha256(data).digest())
                offset += len(data)
                if status.st_nlink > 1:
                    entry.inode = inodes.setdefault(status.st_ino, entry).inode or len(inodes)
                entries.append(entry)
    return Context(entries, spool)
