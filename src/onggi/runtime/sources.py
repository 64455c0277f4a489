"""Mounts that must be opened before the child is in its namespaces: in the host's, with our own rights.

Three kinds: those that shall go on propagating with the host (a copy made later belongs to a tree that is private);
those with mapped ids (only who has rights to the file system may map them); and, for a container in a user namespace,
everything of the host's, since its root can't walk to what the host's root keeps to itself (0700 on the way).
"""

from __future__ import annotations

import contextlib
import errno
from typing import Final

from onggi.kernel import capabilities, mounts, userns
from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import AT_FDCWD, Fd
from onggi.kernel.mounts import MountAttr, MountFlag
from onggi.oci.runtime import Linux
from onggi.runtime.plan import RootfsPlan
from onggi.runtime.rootfs import PreparedMount, explain
from onggi.runtime.spaces import Spaces, id_maps
from onggi.runtime.steps import StepFailed

_ADMIN: Final = 1 << capabilities.CAPS["CAP_SYS_ADMIN"]
_PROPAGATING: Final = MountFlag.SLAVE | MountFlag.SHARED


class Sources:
    """Opened in the parent: `root` (None: the child opens it), and in each PreparedMount that needs it its `opened`."""

    __slots__ = ("_maps", "_opened", "_spaces", "root")

    def __init__(self, prepared: list[PreparedMount], rootfs: RootfsPlan, linux: Linux, spaces: Spaces) -> None:
        """Raises StepFailed, InvalidArgument, OSError."""
        self.root: Fd | None = None
        self._spaces, self._maps = spaces, dict[object, Fd]()
        everything = spaces.has_user and bool(capabilities.get_caps().effective & _ADMIN)
        slave = linux.rootfs_propagation in ("slave", "rslave")
        if (everything or slave) and rootfs.path:
            self.root = mounts.open_tree(AT_FDCWD, rootfs.path, clone=True, recursive=True)
            propagation = MountFlag.SLAVE if slave else MountFlag.PRIVATE
            mounts.mount_setattr(self.root, propagation=propagation, recursive=True)
        self._opened = [] if self.root is None else [self.root]
        for mount in prepared:
            is_mapped = any(mount.id_mappings) or mount.options.id_map
            if is_mapped and mount.type != "bind":
                raise StepFailed(errno.EINVAL, f"{mount.destination}: only a bind mount can have mapped ids")
            propagates = any(flag & _PROPAGATING for flag, _ in mount.options.propagation)
            if mount.type == "bind" and (everything or is_mapped or propagates):
                self._open(mount, is_mapped=is_mapped)
        for namespace in self._maps.values():
            namespace.close()

    def _open(self, mount: PreparedMount, *, is_mapped: bool) -> None:
        options = mount.options
        with contextlib.ExitStack() as undo:
            try:
                opened = mounts.open_tree(AT_FDCWD, mount.source, clone=True, recursive=options.recursive)
                undo.callback(opened.close)
                for flag, recursive in options.propagation or [(MountFlag.PRIVATE, True)]:
                    mounts.mount_setattr(opened, propagation=flag, recursive=recursive)
                if is_mapped:
                    mounts.mount_setattr(
                        opened, set=MountAttr.IDMAP, userns=self._user_namespace(mount), recursive=options.id_map_below
                    )
            except OSError as error:
                explain(mount, error)
            undo.pop_all()
        mount.opened = opened
        self._opened.append(opened)

    def _user_namespace(self, mount: PreparedMount) -> Fd:
        """The one that maps the mount's ids: with its own mappings, or with the container's."""
        uids, gids = mount.id_mappings
        if uids and gids:
            maps = id_maps(uids, gids, needs_root=False)
        elif uids or gids:
            raise StepFailed(errno.EINVAL, f"{mount.destination}: uidMappings and gidMappings belong together")
        elif self._spaces.maps is not None:
            maps = self._spaces.maps
        else:
            joined = next((fd for fd, flag in self._spaces.joined if flag == CloneFlag.NEWUSER), None)
            if joined is None:
                raise StepFailed(errno.EINVAL, f"{mount.destination}: idmap needs mappings, or a user namespace")
            return joined
        if maps not in self._maps:
            self._maps[maps] = userns.namespace(maps)
        return self._maps[maps]

    def numbers(self) -> list[int]:
        """The descriptors that the child needs."""
        return [fd.fileno() for fd in self._opened]

    def close(self) -> None:
        """The parent's copies."""
        for fd in self._opened:
            fd.close()
