"""An overlay whose layers are seen through a user namespace's ids: what is root's on disk is the container's root's inside.

Nothing is chowned, so containers with and without a user namespace share their layers. Needs overlayfs on idmapped layers
(Linux 5.19) and a file system below that can be mapped: ext4, xfs, btrfs, tmpfs from 6.3 (mount_setattr(2)).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from onggi.kernel import syscalls
from onggi.kernel.capabilities import CAPS, get_caps, set_caps
from onggi.kernel.fds import AT_FDCWD, AnyFd, Fd
from onggi.kernel.mounts import MountAttr, in_a_namespace_of_its_own, mount_setattr, move_mount, open_tree, overlay


def mapped_overlay(
    lower: Sequence[str],
    upper: str,
    work: str,
    *,
    options: Mapping[str, str | None],
    userns: AnyFd,
    owner: tuple[int, int],
) -> Fd:
    """As mounts.overlay, each layer mapped by `userns`. `upper` and `work` lie in one directory, which becomes one mount.

    `owner`: ids outside of the namespace's root, who makes what overlayfs makes itself: our own aren't mapped.

    Raises OSError: EINVAL when the file system or the kernel can't map ids.
    """
    if os.path.dirname(upper) != os.path.dirname(work):
        raise ValueError("upper and work must have one parent")

    def make() -> Fd:
        # Each is mounted on itself, where nobody else sees it: overlayfs takes what the calling namespace has mounted.
        for directory in (*lower, os.path.dirname(upper)):
            with open_tree(AT_FDCWD, directory, clone=True) as mapped:
                try:
                    mount_setattr(mapped, set=MountAttr.IDMAP, userns=userns)
                except OSError as error:
                    text = f"map the ids of {directory} (its file system must be able to): {error.strerror}"
                    raise OSError(error.errno, text) from None
                with Fd(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as place:
                    move_mount(mapped, place)
        _become(owner)
        return overlay(lower, upper, work, options=options, own_namespace=True)

    return in_a_namespace_of_its_own(make)


def _become(owner: tuple[int, int]) -> None:
    """For the calling thread's files alone (setfsuid(2)); with all rights, which it loses with root's id (capabilities(7))."""
    sets = get_caps()
    syscalls.call("setfsgid", syscalls.NR.setfsgid, owner[1])
    syscalls.call("setfsuid", syscalls.NR.setfsuid, owner[0])
    # Without the right to pass over quotas: whoever writes to an overlay does so with the rights that it was made with.
    set_caps(sets.effective & ~(1 << CAPS["CAP_SYS_RESOURCE"]), sets.permitted, sets.inheritable)
