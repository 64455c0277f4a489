"""Words of a mount's options: which are flags, which are attributes, which go to the file system.

Source: mount(8), config-linux.md "Linux mount options" of the runtime spec; uidMappings in a word are crun's (crun(1)).
"""

from __future__ import annotations

import functools
from typing import Final

import msgspec

from onggi.kernel.mounts import MountAttr, MountFlag

_SET: Final = {
    "ro": MountAttr.RDONLY, "nosuid": MountAttr.NOSUID, "nodev": MountAttr.NODEV, "noexec": MountAttr.NOEXEC,
    "noatime": MountAttr.NOATIME, "nodiratime": MountAttr.NODIRATIME, "nosymfollow": MountAttr.NOSYMFOLLOW,
    "strictatime": MountAttr.STRICTATIME, "relatime": MountAttr.NONE,
}  # fmt: skip
_CLEAR: Final = {
    "rw": MountAttr.RDONLY, "suid": MountAttr.NOSUID, "dev": MountAttr.NODEV, "exec": MountAttr.NOEXEC,
    "diratime": MountAttr.NODIRATIME, "symfollow": MountAttr.NOSYMFOLLOW, "atime": MountAttr.NOATIME,
    "norelatime": MountAttr.NONE, "nostrictatime": MountAttr.STRICTATIME,
}  # fmt: skip
_TIMES: Final = {"noatime", "strictatime", "relatime", "atime", "nostrictatime"}
"""One choice of four: the kernel wants all of its bits cleared to set another (mount_setattr(2))."""
_PROPAGATION: Final = {
    "private": MountFlag.PRIVATE, "shared": MountFlag.SHARED, "slave": MountFlag.SLAVE, "unbindable": MountFlag.UNBINDABLE,
}  # fmt: skip
_SUPERBLOCK: Final = {"sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime"}
"""Of a file system, not of a mount: a bind mount has nothing to do with them (fs_context.c, common_set_sb_flag)."""
_IGNORED: Final = {
    "defaults", "silent", "loud", "iversion", "noiversion", "auto", "noauto", "user", "nouser", "copy", "nocopy", "bind",
}  # fmt: skip


def known_words() -> list[str]:
    """All words that mean the same for every file system."""
    attributes = [prefix + word for word in (*_SET, *_CLEAR) for prefix in ("", "r")]
    propagation = [prefix + word for word in _PROPAGATION for prefix in ("", "r")]
    others = ["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"]
    return sorted({*attributes, *propagation, *_SUPERBLOCK, *_IGNORED, *others})


class MountOptions(msgspec.Struct):
    """What a mount's option words say. `recursive_*` hold for all below it (mount_setattr with AT_RECURSIVE).

    `id_map_words` is what follows `idmap=`.
    """

    set: MountAttr = MountAttr.NONE
    clear: MountAttr = MountAttr.NONE
    recursive_set: MountAttr = MountAttr.NONE
    recursive_clear: MountAttr = MountAttr.NONE
    propagation: list[tuple[MountFlag, bool]] = []
    bind: bool = False
    recursive: bool = False
    remount: bool = False
    copy_up: bool = False
    id_map: bool = False
    id_map_below: bool = False
    id_map_words: str = ""
    data: dict[str, str | None] = {}


def parse_options(words: list[str]) -> MountOptions:
    """Later words win. What is no option of ours is the file system's: `size=64m`, `newinstance`.

    The answer is shared: containers have the same few lists of words, and a start waits for this.
    """
    return _parsed(tuple(words))


@functools.lru_cache(maxsize=256)
def _parsed(words: tuple[str, ...]) -> MountOptions:
    options = MountOptions()
    for word in words:
        if word in ("bind", "rbind"):
            # As runc and crun have it: `bind` beside `rbind` takes nothing away.
            options.bind, options.recursive = True, options.recursive or word == "rbind"
        elif word in _SET or word in _CLEAR:
            options.set, options.clear = _changed(word, options.set, options.clear)
        elif word[:1] == "r" and (word[1:] in _SET or word[1:] in _CLEAR):
            options.recursive_set, options.recursive_clear = _changed(
                word[1:], options.recursive_set, options.recursive_clear
            )
        elif word in _PROPAGATION:
            options.propagation.append((_PROPAGATION[word], False))
        elif word[:1] == "r" and word[1:] in _PROPAGATION:
            options.propagation.append((_PROPAGATION[word[1:]], True))
        elif word in ("idmap", "ridmap") or word.startswith(("idmap=", "ridmap=")):
            options.id_map, options.id_map_below = True, word[0] == "r"
            options.id_map_words = word.partition("=")[2]
        elif word == "tmpcopyup":
            options.copy_up = True
        elif word == "remount":
            options.remount = True
        elif word not in _IGNORED and word:
            key, separator, value = word.partition("=")
            options.data[key] = value if separator else None
    if options.bind:
        for word in _SUPERBLOCK:
            options.data.pop(word, None)
    return options


def _changed(word: str, set: MountAttr, clear: MountAttr) -> tuple[MountAttr, MountAttr]:
    """What is to be set and cleared after one more word."""
    if word in _TIMES:
        return set & ~MountAttr.ATIME | _SET.get(word, MountAttr.NONE), clear | MountAttr.ATIME
    if word in _SET:
        return set | _SET[word], clear & ~_SET[word]
    return set & ~_CLEAR[word], clear | _CLEAR[word]
