"""Devices by name (Container Device Interface): `vendor/class=name`, described by files that their drivers install.

Source: github.com/cncf-tags/container-device-interface, SPEC.md 1.0. Files in JSON or YAML (plainyaml.py: what
nvidia-ctk and its like write); one that can't be read is named when a device isn't found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from onggi.engine.config import DeviceRequest
from onggi.errors import InvalidArgument
from onggi.kernel.cgroups.resources import DeviceRule
from onggi.oci.runtime import Device, Hook, Hooks, Mount, Spec
from onggi.plainyaml import parse

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
_NVIDIA = "nvidia.com/gpu"


class _Node(msgspec.Struct, rename="camel"):
    path: str
    host_path: str = ""
    type: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class _Mount(msgspec.Struct, rename="camel"):
    host_path: str
    container_path: str
    options: list[str] = []
    type: str = ""


class _Hook(msgspec.Struct, rename="camel"):
    hook_name: str
    path: str
    args: list[str] = []
    env: list[str] = []
    timeout: int | None = None


class Edits(msgspec.Struct, rename="camel"):
    """What a device changes in a container."""

    env: list[str] = []
    device_nodes: list[_Node] = []
    mounts: list[_Mount] = []
    hooks: list[_Hook] = []
    additional_gids: list[int] = msgspec.field(default_factory=list, name="additionalGids")


class _NamedDevice(msgspec.Struct, rename="camel"):
    name: str
    container_edits: Edits = msgspec.field(default_factory=Edits)


class _File(msgspec.Struct, rename="camel"):
    kind: str
    devices: list[_NamedDevice] = []
    container_edits: Edits = msgspec.field(default_factory=Edits)
    """Made once for each container that has any of the devices."""


@dataclass(slots=True)
class Registry:
    """What the files say now. A file of a later directory wins over the same kind and name in an earlier one."""

    devices: dict[str, tuple[Edits, Edits]] = field(default_factory=dict)
    """Qualified name → the edits of its file, and its own."""
    unread: list[str] = field(default_factory=list)


def read(directories: Iterable[str] = DIRECTORIES) -> Registry:
    """Blocking. A file that can't be read is passed over, and named in the error about a device that wasn't found."""
    found = Registry()
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            path = os.path.join(directory, name)
            if name.endswith((".json", ".yaml", ".yml")):
                _read_file(path, found)
    return found


def _read_file(path: str, found: Registry) -> None:
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 22)
        if path.endswith(".json"):
            content = msgspec.json.decode(data, type=_File)
        else:
            content = msgspec.convert(parse(data.decode()), _File)
    except (OSError, ValueError) as error:  # of msgspec, of plainyaml, of a text that isn't UTF-8
        found.unread.append(f"{path}: {error}")
        return
    for device in content.devices:
        found.devices[f"{content.kind}={device.name}"] = (content.container_edits, device.container_edits)


def names_of(requests: Iterable[DeviceRequest], registry: Callable[[], Registry]) -> list[str]:
    """Qualified names that the requests ask for. Raises InvalidArgument in dockerd's words."""
    found: list[str] = []
    for request in requests:
        if request.driver == "cdi":
            if request.options:
                raise InvalidArgument("unexpected options in CDI device request")
            if request.count:
                raise InvalidArgument("unexpected count in CDI device request")
            found += request.device_ids or ()
        else:
            found += _gpus(request, registry())
    return list(dict.fromkeys(found))


def _gpus(request: DeviceRequest, registry: Registry) -> list[str]:
    """--gpus: NVIDIA's devices, which its toolkit names by index and by id, and `all`."""
    groups = " ".join(f"[{' '.join(group)}]" for group in request.capabilities or ())
    known = [name for name in registry.devices if name.startswith(f"{_NVIDIA}=")]
    wants_gpu = any("gpu" in group for group in request.capabilities or ())
    if request.driver not in ("", "nvidia") or not wants_gpu or not known:
        raise InvalidArgument(f'could not select device driver "{request.driver}" with capabilities: [{groups}]')
    if request.device_ids:
        return [f"{_NVIDIA}={identifier}" for identifier in request.device_ids]
    return [f"{_NVIDIA}=all"] if request.count < 0 else [f"{_NVIDIA}={index}" for index in range(request.count)]


def inject(spec: Spec, names: list[str], registry: Registry, node_of: Callable[[str, str, str], tuple[list[Device], list[DeviceRule]]]) -> None:  # fmt: skip
    """The devices' edits go into `spec`; `node_of` (path on the host, in the container, access) looks at a node of the host.

    Raises InvalidArgument for one that no file describes.
    """
    missing = [name for name in names if name not in registry.devices]
    if missing:
        hint = f" ({'; '.join(registry.unread)})" if registry.unread else ""
        raise InvalidArgument(f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}{hint}")
    edits: list[Edits] = []
    for name in names:
        for one in registry.devices[name]:
            if not any(one is other for other in edits):
                edits.append(one)
    for one in edits:
        _edit(spec, one, node_of)


def _edit(spec: Spec, edits: Edits, node_of: Callable[[str, str, str], tuple[list[Device], list[DeviceRule]]]) -> None:
    if spec.process is not None:
        spec.process.env = [*spec.process.env, *edits.env]
        spec.process.user.additional_gids = [*spec.process.user.additional_gids, *edits.additional_gids]
    if spec.linux is not None:
        for node in edits.device_nodes:
            access = node.permissions or "rwm"
            if node.major is not None and node.type:
                mode = node.file_mode if node.file_mode is not None else 0o666
                nodes = [Device(node.path, node.type, node.major, node.minor or 0, mode, node.uid, node.gid)]
                rules = [DeviceRule(allow=True, type=node.type, major=node.major, minor=node.minor, access=access)]
            else:
                nodes, rules = node_of(node.host_path or node.path, node.path, access)
            spec.linux.devices = [*spec.linux.devices, *nodes]
            if spec.linux.resources is not None:
                allowed = [*(spec.linux.resources.devices or ()), *rules]
                spec.linux.resources = msgspec.structs.replace(spec.linux.resources, devices=allowed)
    spec.mounts += [
        Mount(one.container_path, one.type or "bind", one.host_path, one.options or ["bind", "ro", "nosuid", "nodev"])
        for one in edits.mounts
    ]
    for hook in edits.hooks:
        _add_hook(spec, hook)


_HOOKS = {
    "prestart": "prestart", "createRuntime": "create_runtime", "createContainer": "create_container",
    "startContainer": "start_container", "poststart": "poststart", "poststop": "poststop",
}  # fmt: skip


def _add_hook(spec: Spec, hook: _Hook) -> None:
    field_name = _HOOKS.get(hook.hook_name)
    if field_name is None:
        raise InvalidArgument(f'CDI device injection failed: unknown hook name "{hook.hook_name}"')
    spec.hooks = spec.hooks or Hooks()
    kept = getattr(spec.hooks, field_name)
    setattr(spec.hooks, field_name, [*kept, Hook(hook.path, hook.args, hook.env, hook.timeout)])
