"""`RUN --mount=…` and `--device=…`: their words, as BuildKit's frontend reads them (frontend/dockerfile/instructions). Pure."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from onggi.build.suggest import suggestion
from onggi.errors import InvalidArgument
from onggi.sizes import memory_size

_TYPES: Final = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING: Final = ("shared", "private", "locked")
_KEYS: Final = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid",
    "src", "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

Expander = Callable[[str], str]


@dataclass(slots=True)
class RunMount:
    """One mount of a RUN. `env` None: not asked for. `size` in bytes, 0 without limit. Unset numbers are None."""

    kind: str = "bind"
    origin: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    size: int = 0
    identifier: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class RunDevice:
    name: str
    required: bool


def check_mount(text: str) -> None:
    """What can be said of a mount before variables are replaced. Raises InvalidArgument."""
    for field in _fields(text, "mounts"):
        key, separator, value = field.partition("=")
        if separator and key.lower() == "from" and "$" in value[:-1]:
            raise InvalidArgument("'from' doesn't support variable expansion, define alias stage instead")


def origin_of(text: str) -> str:
    """The stage, context or image that a mount reads, "" for none: known without variables."""
    for field in _fields(text, "mounts"):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            return value
    return ""


def parse_mount(text: str, expand: Expander) -> RunMount:
    """Raises InvalidArgument in BuildKit's words."""
    reading = _Reading()
    for field in _fields(text, "mounts"):
        key, separator, value = field.partition("=")
        reading.take(key.lower(), expand(value) if separator else None, field)
    return reading.done()


def parse_device(text: str) -> RunDevice:
    """`name[,required]`. Raises InvalidArgument."""
    name, required = "", False
    for field in _fields(text, "devices"):
        key, separator, value = field.partition("=")
        match key.lower(), bool(separator):
            case "required", False:
                required = True
            case "required", True:
                required = _boolean("required", value)
            case "name", True:
                if name:
                    raise InvalidArgument(f"device name already set to {name}")
                name = value
            case _ if not name:
                name = field
            case _, False:
                raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
            case _:
                hint = suggestion(key, ("name", "required"))
                raise InvalidArgument(f"unexpected key '{key}' in '{field}'{hint}")
    return RunDevice(name, required)


class _Reading:
    """One mount as its fields come."""

    def __init__(self) -> None:
        self._mount = RunMount()
        self._read_only: bool | None = None

    def take(self, key: str, value: str | None, field: str) -> None:
        mount = self._mount
        match key:
            case "readonly" | "ro":
                self._read_only = True if value is None else _boolean(key, value)
                return
            case "readwrite" | "rw":
                self._read_only = False if value is None else not _boolean(key, value)
                return
            case "required":
                if mount.kind not in ("secret", "ssh"):
                    raise InvalidArgument(f"unexpected key '{key}' for mount type '{mount.kind}'")
                mount.required = True if value is None else _boolean(key, value)
                return
        if value is None:
            raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
        match key:
            case "type":
                mount.kind = _one_of(value, _TYPES, "mount type")
            case "from":
                mount.origin = value
            case "source" | "src":
                mount.source = value
            case "target" | "dst" | "destination":
                mount.target = value
            case "size":
                if mount.kind != "tmpfs":
                    raise InvalidArgument(f"unexpected key '{key}' for mount type '{mount.kind}'")
                mount.size = _size(key, value)
            case "id":
                mount.identifier = value
            case "sharing":
                mount.sharing = _one_of(value, _SHARING, "sharing value")
            case "mode":
                mount.mode = _number(value, 8, "mode")
            case "uid":
                mount.uid = _number(value, 10, "uid")
            case "gid":
                mount.gid = _number(value, 10, "gid")
            case "env":
                mount.env = value
            case _:
                raise InvalidArgument(f"unexpected key '{key}' in '{field}'{suggestion(key, _KEYS)}")

    def done(self) -> RunMount:
        mount = self._mount
        if mount.kind in ("bind", "tmpfs"):
            for name, given in (("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)):
                if given is not None:
                    raise InvalidArgument(f'{name} not allowed for "{mount.kind}" type mounts')
        mount.read_only = mount.kind not in ("cache", "tmpfs") if self._read_only is None else self._read_only
        if mount.kind == "secret":
            _check_secret(mount)
        if mount.sharing and mount.kind != "cache":
            raise InvalidArgument(f"invalid cache sharing set for {mount.kind} mount")
        return mount


def _check_secret(mount: RunMount) -> None:
    if mount.origin:
        raise InvalidArgument("secret mount should not have a from")
    if mount.sharing:
        raise InvalidArgument("secret mount should not define sharing")
    if not (mount.source or mount.target or mount.identifier):
        raise InvalidArgument("invalid secret mount. one of source, target required")
    if mount.source and mount.identifier:
        raise InvalidArgument("both source and id can't be set")


def _fields(text: str, what: str) -> list[str]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise InvalidArgument(f"failed to parse csv {what}: {error}") from None
    return rows[0] if rows else [""]


def _one_of(value: str, known: tuple[str, ...], what: str) -> str:
    if value.lower() not in known:
        raise InvalidArgument(f'unsupported {what} "{value}"{suggestion(value.lower(), known)}')
    return value.lower()


def _boolean(key: str, value: str) -> bool:
    if value not in _TRUE | _FALSE:
        raise InvalidArgument(f"invalid value for {key}: {value}")
    return value in _TRUE


def _number(value: str, base: int, name: str) -> int:
    digits = "01234567" if base == 8 else "0123456789"
    if not value or value.strip(digits) or len(value) > 11 or int(value, base) > 0xFFFFFFFF:
        raise InvalidArgument(f"invalid value {value} for {name}")
    return int(value, base)


def _size(key: str, value: str) -> int:
    try:
        return memory_size(value)
    except InvalidArgument:
        raise InvalidArgument(f"invalid value for {key}: {value}") from None
