"""Words of a mount's options: which are flags, which are attributes, which go to the file system.

Source: mount(8), config-linux.md "Linux mount options" of the runtime spec.
"""

from __future__ import annotations

import msgspec

from onggi.kernel.mounts import MountAttr, MountFlag

_SET = {
    "ro": MountAttr.RDONLY, "nosuid": MountAttr.NOSUID, "nodev": MountAttr.NODEV, "noexec": MountAttr.NOEXEC,
    "noatime": MountAttr.NOATIME, "nodiratime": MountAttr.NODIRATIME, "nosymfollow": MountAttr.NOSYMFOLLOW,
    "strictatime": MountAttr.STRICTATIME, "relatime": MountAttr.NONE,
}  # fmt: skip
_CLEAR = {
    "rw": MountAttr.RDONLY, "suid": MountAttr.NOSUID, "dev": MountAttr.NODEV, "exec": MountAttr.NOEXEC,
    "diratime": MountAttr.NODIRATIME, "symfollow": MountAttr.NOSYMFOLLOW, "atime": MountAttr.NOATIME,
}  # fmt: skip
_TIMES = {"noatime", "strictatime", "relatime", "atime", "norelatime", "nostrictatime"}
_PROPAGATION = {
    "private": MountFlag.PRIVATE, "shared": MountFlag.SHARED, "slave": MountFlag.SLAVE, "unbindable": MountFlag.UNBINDABLE,
}  # fmt: skip
_IGNORED = {
    "defaults",
    "async",
    "silent",
    "loud",
    "norelatime",
    "nostrictatime",
    "nomand",
    "auto",
    "noauto",
    "user",
    "nouser",
    "copy",
    "nocopy",
}


class MountOptions(msgspec.Struct):
    """What a mount's option words say. `recursive_*` hold for all below it (mount_setattr with AT_RECURSIVE)."""

    set: MountAttr = MountAttr.NONE
    clear: MountAttr = MountAttr.NONE
    recursive_set: MountAttr = MountAttr.NONE
    recursive_clear: MountAttr = MountAttr.NONE
    propagation: list[tuple[MountFlag, bool]] = []
    bind: bool = False
    recursive: bool = False
    copy_up: bool = False
    id_map: bool = False
    id_map_below: bool = False
    data: dict[str, str | None] = {}


def parse_options(words: list[str]) -> MountOptions:
    """Later words win. What is no option of ours is the file system's: `size=64m`, `newinstance`."""
    options = MountOptions()
    for word in words:
        if word in ("bind", "rbind"):
            options.bind, options.recursive = True, word == "rbind"
        elif word in _SET:
            options.set |= _SET[word]
            options.clear = (options.clear | MountAttr.ATIME) if word in _TIMES else options.clear & ~_SET[word]
        elif word in _CLEAR:
            options.clear |= MountAttr.ATIME if word in _TIMES else _CLEAR[word]
            options.set &= ~_CLEAR[word]
        elif word[:1] == "r" and word[1:] in _SET:
            options.recursive_set |= _SET[word[1:]]
            options.recursive_clear |= MountAttr.ATIME if word[1:] in _TIMES else MountAttr.NONE
        elif word[:1] == "r" and word[1:] in _CLEAR:
            options.recursive_clear |= MountAttr.ATIME if word[1:] in _TIMES else _CLEAR[word[1:]]
        elif word in _PROPAGATION:
            options.propagation.append((_PROPAGATION[word], False))
        elif word[:1] == "r" and word[1:] in _PROPAGATION:
            options.propagation.append((_PROPAGATION[word[1:]], True))
        elif word in ("idmap", "ridmap"):
            options.id_map, options.id_map_below = True, word == "ridmap"
        elif word == "tmpcopyup":
            options.copy_up = True
        elif word not in _IGNORED and word:
            key, separator, value = word.partition("=")
            options.data[key] = value if separator else None
    return options
