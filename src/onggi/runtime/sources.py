"""Mounts that must be opened before the rest of the container's is made.

In the parent, in the host's mount namespace: those with mapped ids (only who has rights to the file system may map them),
and, for a container in a user namespace, everything of the host's, since its root can't walk to what the host's root
keeps to itself (0700 on the way). In the child, before its tree becomes private: those that shall go on propagating with
the host, which a copy made later can't.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final

from onggi.errors import InvalidArgument
from onggi.kernel import capabilities, mounts, userns
from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import AT_FDCWD, Fd
from onggi.kernel.mounts import MountAttr, MountFlag
from onggi.kernel.userns import IdMaps, IdRange
from onggi.oci.runtime import Device, Linux
from onggi.runtime.devices import node_type
from onggi.runtime.plan import RootfsPlan
from onggi.runtime.rootfs import OVERLAY_OPTIONS, PreparedMount, explain
from onggi.runtime.spaces import Spaces, id_maps
from onggi.runtime.steps import StepFailed

_ADMIN: Final = 1 << capabilities.CAPS["CAP_SYS_ADMIN"]
_PROPAGATING: Final = MountFlag.SLAVE | MountFlag.SHARED


class Sources:
    """`root` (None: open_rootfs opens it), and in each PreparedMount that needs it its `opened`."""

    __slots__ = ("_is_slave", "_maps", "_opened", "_prepared", "_rootfs", "_spaces", "nodes", "root")

    def __init__(self, prepared: list[PreparedMount], rootfs: RootfsPlan, linux: Linux, spaces: Spaces) -> None:
        """The parent's part. Raises StepFailed, InvalidArgument, OSError."""
        self.root: Fd | None = None
        self._prepared, self._rootfs, self._spaces = prepared, rootfs, spaces
        self._is_slave = linux.rootfs_propagation in ("slave", "rslave")
        self._maps = dict[object, Fd]()
        self._opened: list[Fd] = []
        everything = spaces.has_user and bool(capabilities.get_caps().effective & _ADMIN)
        if everything:
            self._open_root()
            if rootfs.lower and spaces.maps is not None:
                self.root = self._map_layers(rootfs, spaces.maps)
        for mount in prepared:
            is_mapped = any(mount.id_mappings) or mount.options.id_map
            if is_mapped and mount.type != "bind":
                raise StepFailed(errno.EINVAL, f"{mount.destination}: only a bind mount can have mapped ids")
            if is_mapped or (everything and mount.type == "bind"):
                self._open(mount, is_mapped=is_mapped)
        for namespace in self._maps.values():
            namespace.close()
        self.nodes: list[Fd] = []
        wanted = [device for device in linux.devices if device.type != "p"]
        if everything and wanted and spaces.maps is not None:
            self.nodes = self._make_nodes(wanted, spaces.maps)

    def _make_nodes(self, devices: list[Device], maps: userns.IdMaps) -> list[Fd]:
        """Mounts of the spec's devices, which the container's own root may not make: nodes.py."""
        from onggi.kernel import nodes  # few containers need it

        wanted = [
            nodes.Node(
                node_type(device) | (0o666 if device.file_mode is None else stat.S_IMODE(device.file_mode)),
                os.makedev(device.major, device.minor),
                userns.outside(maps.uids, device.uid or 0),
                userns.outside(maps.gids, device.gid or 0),
            )
            for device in devices
        ]
        made = nodes.detached(wanted)
        self._opened += made
        return made

    def open_propagating(self) -> None:
        """The child's part, in its own copy of the host's tree."""
        if self._is_slave and self.root is None:
            self._open_root()
        for mount in self._prepared:
            propagates = any(flag & _PROPAGATING for flag, _ in mount.options.propagation)
            if propagates and mount.type == "bind" and not mount.subpath and mount.opened is None:
                self._open(mount, is_mapped=False)

    def _open_root(self) -> None:
        if self._rootfs.path:
            self.root = mounts.open_tree(AT_FDCWD, self._rootfs.path, clone=True, recursive=True)
            propagation = MountFlag.SLAVE if self._is_slave else MountFlag.PRIVATE
            mounts.mount_setattr(self.root, propagation=propagation, recursive=True)
            self._opened.append(self.root)

    def _map_layers(self, rootfs: RootfsPlan, maps: IdMaps) -> Fd:
        """The engine's layers belong to root on disk, whoever is root inside."""
        from onggi.kernel.mappedlayers import mapped_overlay  # few containers need it

        namespace = self._maps[maps] = userns.namespace(maps)
        owner = userns.outside(maps.uids, 0), userns.outside(maps.gids, 0)
        root = mapped_overlay(
            rootfs.lower, rootfs.upper, rootfs.work, options=OVERLAY_OPTIONS, userns=namespace, owner=owner
        )
        self._opened.append(root)
        return root

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
        if mount.options.id_map_words:
            maps = maps_of_words(mount.options.id_map_words, self._spaces.maps)
        elif uids and gids:
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


def maps_of_words(words: str, container: IdMaps | None) -> IdMaps:
    """`uids=0-1000-10#20-2000-1;gids=@0-5-10`: ids in the source, ids here, how many; with @ the container's instead of ours.

    Raises InvalidArgument.
    """
    found: dict[str, tuple[IdRange, ...]] = {"uids": (), "gids": ()}
    for part in words.split(";"):
        kind, _, ranges = part.partition("=")
        if kind not in found:
            raise InvalidArgument(f"idmap={words}: {kind!r} is neither uids nor gids")
        theirs = getattr(container, kind) if container is not None else ()
        found[kind] = tuple(_range(text, theirs, words) for text in ranges.split("#"))
        userns.check(found[kind], f"idmap={words}", needs_root=False)
    if not all(found.values()):
        raise InvalidArgument(f"idmap={words}: uids and gids belong together")
    return IdMaps(found["uids"], found["gids"])


def _range(text: str, container: tuple[IdRange, ...], words: str) -> IdRange:
    try:
        inside, outside, size = (int(number) for number in text.removeprefix("@").split("-"))
    except ValueError:
        raise InvalidArgument(f"idmap={words}: {text!r} is no ID-ID-LENGTH") from None
    if text.startswith("@"):
        for entry in container:
            if entry.inside <= outside and outside + size <= entry.inside + entry.size:
                return IdRange(inside, entry.outside + outside - entry.inside, size)
        raise InvalidArgument(f"idmap={words}: {text} is not in the container's user namespace")
    return IdRange(inside, outside, size)
