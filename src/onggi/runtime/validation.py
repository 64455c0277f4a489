"""What config.json may not say, found before anything is made: for `onggi-runtime`, whose specs are a stranger's.

Pure but for questions to the kernel about itself. Texts are runc's where it has one (libcontainer/configs/validate).
What single parts of a spec mean is checked where they are read: spaces.py, options.py, attributes.py, sources.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from onggi.errors import InvalidArgument
from onggi.kernel import capabilities
from onggi.oci.runtime import Capabilities, Hook, Linux, Process, Spec

_PROPAGATIONS: Final = {"", *(r + word for r in ("", "r") for word in ("private", "shared", "slave", "unbindable"))}
_DEVICE_TYPES: Final = {"c", "u", "b", "p"}
_SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")


def check(spec: Spec) -> None:
    """Raises InvalidArgument with the first problem."""
    for problem in _problems(spec):
        raise InvalidArgument(problem)


def check_process(process: Process) -> None:
    """Of an exec. Raises InvalidArgument with the first problem."""
    for problem in _process(process):
        raise InvalidArgument(problem)


def known_capabilities(process: Process) -> tuple[Process, list[str]]:
    """`process` without capabilities that no kernel has, and their names: they are only warned of (spec 1.3)."""
    if process.capabilities is None:
        return process, []
    unknown: list[str] = []
    kept: dict[str, list[str]] = {}
    for name in _SETS:
        given: list[str] = getattr(process.capabilities, name)
        unknown += [word for word in given if word.upper() not in capabilities.CAPS and word not in unknown]
        kept[name] = [word for word in given if word.upper() in capabilities.CAPS]
    return msgspec.structs.replace(process, capabilities=Capabilities(**kept)), unknown


def _is_version(text: str) -> bool:
    """1.x.y, with whatever is said of a build behind it. (Without `re`: it takes longer than all checks.)"""
    numbers = text.partition("-")[0].partition("+")[0].split(".")
    return len(numbers) == 3 and numbers[0] == "1" and all(number.isdecimal() for number in numbers)


def _is_device_name(text: str) -> bool:
    """As dev_valid_name in net/core/dev.c."""
    return 0 < len(text.encode()) < 16 and text not in {".", ".."} and not any(c.isspace() or c in "/:" for c in text)


def _problems(spec: Spec) -> Iterator[str]:
    linux = spec.linux or Linux()
    kinds = {entry.type for entry in linux.namespaces}
    if not _is_version(spec.oci_version):
        yield f"ociVersion {spec.oci_version!r} is not supported (1.0.0 to 1.3)"
    if spec.root is None or not spec.root.path:
        yield "root must be specified"
    if spec.process is None:
        yield "process property must not be empty"
    else:
        yield from _process(spec.process)
    if spec.hostname and "uts" not in kinds:
        yield "unable to set hostname without a private UTS namespace"
    if spec.domainname and "uts" not in kinds:
        yield "unable to set domainname without a private UTS namespace"
    if "mount" not in kinds and (linux.masked_paths or linux.readonly_paths):
        yield "unable to restrict sys entries without a private MNT namespace"
    yield from _hooks(spec)
    yield from _linux(linux, kinds)


def _process(process: Process) -> Iterator[str]:
    if not process.args:
        yield "args must not be empty"
    if process.cwd == "":
        yield "Cwd property must not be empty"
    elif not process.cwd.startswith("/"):
        yield "Cwd must be an absolute path"
    types = [limit.type for limit in process.rlimits]
    for name in types:
        if types.count(name) > 1:
            yield f"rlimit {name} is there more than once"
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        yield f"oomScoreAdj {process.oom_score_adj} is not in -1000 to 1000"


def _hooks(spec: Spec) -> Iterator[str]:
    hooks = spec.hooks
    if hooks is None:
        return
    every: list[Hook] = [
        *hooks.prestart, *hooks.create_runtime, *hooks.create_container, *hooks.start_container, *hooks.poststart,
        *hooks.poststop,
    ]  # fmt: skip
    for hook in every:
        if not hook.path.startswith("/"):
            yield f"hook path {hook.path!r} is not absolute"
        if hook.timeout is not None and hook.timeout <= 0:
            yield f"hook {hook.path}: timeout must be greater than zero"


def _linux(linux: Linux, kinds: set[str]) -> Iterator[str]:
    if linux.rootfs_propagation not in _PROPAGATIONS:
        yield f"rootfsPropagation={linux.rootfs_propagation} is not supported"
    for device in linux.devices:
        if device.type not in _DEVICE_TYPES:
            yield f"device {device.path}: unknown type {device.type!r}"
        if not device.path.startswith("/"):
            yield f"device path {device.path!r} is not absolute"
    if linux.net_devices and "network" not in kinds:
        yield "unable to move network devices without a private NET namespace"
    for name, moved in linux.net_devices.items():
        for word in (name, moved.name or name):
            if not _is_device_name(word):
                yield f"invalid network device name {word!r}"
    if linux.intel_rdt is not None:
        from onggi.runtime import resctrl  # few containers have it

        resctrl.check(linux.intel_rdt)
