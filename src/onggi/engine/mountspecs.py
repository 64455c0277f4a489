"""`Mounts` and `Binds` of a create body: what their words mean, and what dockerd says to those that mean nothing.

Source of rules and texts: moby daemon/volume/mounts/linux_parser.go and validate.go. Pure but for bind sources, which are looked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from onggi.engine.config import BindOptions, Mount, TmpfsOptions, VolumeOptions
from onggi.errors import InvalidArgument

PROPAGATION = frozenset("rprivate private rshared shared rslave slave".split())
_KINDS = (frozenset({"ro", "rw"}), frozenset({"z", "Z"}), PROPAGATION, frozenset({"nocopy"}), frozenset({"consistent", "cached", "delegated", "default"}))  # fmt: skip
"""Mode words: of each kind one may stand."""
_OPTIONS = (("bind_options", "BindOptions", "bind"), ("volume_options", "VolumeOptions", "volume"),
            ("tmpfs_options", "TmpfsOptions", "tmpfs"), ("image_options", "ImageOptions", "image"))  # fmt: skip
_TMPFS_VALUES = frozenset("size mode uid gid nr_inodes nr_blocks mpol".split())
_TMPFS_FLAGS = frozenset(
    "defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand atime noatime diratime nodiratime "
    "bind rbind relatime norelatime strictatime nostrictatime private rprivate shared rshared slave rslave unbindable runbindable".split()
)
_TYPES = frozenset({"bind", "volume", "tmpfs", "image"})


@dataclass(frozen=True, slots=True)
class Bind:
    """`-v`: `source` is a path on the host, a volume's name, or empty for a volume without one."""

    source: str
    target: str
    words: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        return ",".join(self.words)

    @property
    def writable(self) -> bool:
        return "ro" not in self.words

    @property
    def propagation(self) -> str:
        return next((word for word in self.words if word in PROPAGATION), "")


def target(path: str) -> str:
    """A place in the container, cleaned. Raises InvalidArgument."""
    if path.startswith("/") and os.path.normpath("/" + path.lstrip("/")) == "/":
        raise InvalidArgument("invalid specification: destination can't be '/'")
    return absolute(path)


def absolute(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{path}' mount path must be absolute")
    return os.path.normpath("/" + path.lstrip("/"))


def check_mode(mode: str) -> tuple[str, ...]:
    """The words of a mode. Raises InvalidArgument."""
    words = tuple(mode.split(",")) if mode else ()
    known = frozenset().union(*_KINDS)
    if not known.issuperset(words) or any(sum(word in kind for word in words) > 1 for kind in _KINDS):
        raise InvalidArgument(f"invalid mode: {mode}")
    return words


def parse_bind(text: str) -> Bind:
    """`[source:]target[:mode]`. Raises InvalidArgument in dockerd's words."""
    whole = f"invalid volume specification: '{text}'"
    parts = text.split(":")
    if len(parts) > 3 or not parts[0] or (len(parts) > 1 and not parts[1]):
        raise InvalidArgument(whole)
    words = check_mode(parts[2] if len(parts) == 3 else "")
    if len(parts) == 2 and _is_mode(parts[1]):
        raise InvalidArgument(whole)  # a mode without a target
    bind = Bind("" if len(parts) == 1 else parts[0], parts[0] if len(parts) == 1 else parts[1], words)
    kind = "bind" if bind.source.startswith("/") else "volume"
    try:
        clean = target(bind.target)
        if kind == "bind" and "nocopy" in words:
            raise InvalidArgument("field VolumeOptions must not be specified")
        if kind == "volume" and bind.propagation:
            raise InvalidArgument("field BindOptions must not be specified")
    except InvalidArgument as error:
        raise InvalidArgument(f'{whole}: invalid mount config for type "{kind}": {error}') from None
    source = os.path.normpath(bind.source) if kind == "bind" else bind.source
    return Bind(source, clean, words)


def _is_mode(text: str) -> bool:
    try:
        return bool(check_mode(text))
    except InvalidArgument:
        return False


def check(mount: Mount) -> None:
    """Raises InvalidArgument in dockerd's words."""
    for field, name, kind in _OPTIONS:
        if kind != mount.type and getattr(mount, field) is not None and mount.type in _TYPES and kind != "image":
            raise InvalidArgument(f'{name} must not be specified on mount type "{mount.type}"')
    try:
        if mount.image_options is not None and mount.type != "image":
            raise InvalidArgument("field ImageOptions must not be specified")
        if not mount.target:
            raise InvalidArgument("field Target must not be empty")
        target(mount.target)
        if mount.type not in _TYPES:
            raise InvalidArgument("mount type unknown")
        _check_kind(mount)
    except InvalidArgument as error:
        raise InvalidArgument(f'invalid mount config for type "{mount.type}": {error}') from None


def _check_kind(mount: Mount) -> None:
    match mount.type:
        case "bind":
            _check_bind(mount, mount.bind_options or BindOptions())
        case "volume":
            _check_volume(mount, mount.volume_options or VolumeOptions())
        case "tmpfs":
            if mount.source:
                raise InvalidArgument("field Source must not be specified")
            tmpfs_words(mount)
        case _:
            if not mount.source:
                raise InvalidArgument("field Source must not be empty")
            check_subpath(mount.image_options.subpath if mount.image_options else "")


def _check_bind(mount: Mount, options: BindOptions) -> None:
    if not mount.source:
        raise InvalidArgument("field Source must not be empty")
    if options.propagation and options.propagation not in PROPAGATION:
        raise InvalidArgument(f"invalid propagation mode: {options.propagation}")
    absolute(mount.source)
    if options.read_only_non_recursive and not mount.read_only:
        raise InvalidArgument("mount source must be read-only to use ReadOnlyNonRecursive")
    if options.read_only_force_recursive:
        if not mount.read_only:
            raise InvalidArgument("mount source must be read-only to use ReadOnlyForceRecursive")
        if options.read_only_non_recursive:
            raise InvalidArgument("ReadOnlyForceRecursive and ReadOnlyNonRecursive are mutually exclusive")
    if not os.path.lexists(mount.source) and not options.create_mountpoint:
        raise InvalidArgument(f"bind source path does not exist: {mount.source}")


def _check_volume(mount: Mount, options: VolumeOptions) -> None:
    if options.subpath:
        if not mount.source:
            raise InvalidArgument("must not set Subpath when using anonymous volumes")
        check_subpath(options.subpath)
    if mount.read_only and not mount.source:
        raise InvalidArgument("must not set ReadOnly mode when using anonymous volumes")


def check_subpath(path: str) -> None:
    """As Go's filepath.IsLocal: it stays inside by its words alone; links are the kernel's to judge at the start."""
    if path and (path.startswith("/") or os.path.normpath(path).split("/")[0] == ".."):
        raise InvalidArgument("subpath must be a relative path within the volume")


def check_tmpfs(text: str) -> None:
    """Option words of `Tmpfs` (moby pkg/mount MergeTmpfsOptions). Raises InvalidArgument."""
    for word in text.split(",") if text else ():
        name, had_value, _ = word.partition("=")
        if name not in (_TMPFS_VALUES if had_value else _TMPFS_FLAGS):
            raise InvalidArgument(f'invalid tmpfs option "{name}"')


def tmpfs_words(mount: Mount) -> list[str]:
    """Option words of a tmpfs of `Mounts`. Raises InvalidArgument."""
    options = mount.tmpfs_options or TmpfsOptions()
    words = []
    if options.mode:
        words.append(f"mode={options.mode:o}")
    if options.size_bytes:
        words.append(f"size={options.size_bytes}")
    for option in options.options:
        if not 1 <= len(option) <= 2:
            raise InvalidArgument("invalid option array length")
        if option[0] not in ("exec", "noexec"):
            raise InvalidArgument(f"invalid option: {option[0]}")
        words.append("=".join(option))
    return words
