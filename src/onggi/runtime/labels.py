"""AppArmor profiles and SELinux labels: what the kernel shall confine the program with, from its exec on.

Running without the confinement that was asked for would be worse than not running: where the kernel has none, `check`
says so before anything is made. A file label for mounts confines nobody where there is no SELinux, and is left out then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from onggi.kernel import mounts
from onggi.kernel.fds import AnyFd
from onggi.kernel.paths import Resolve, openat2
from onggi.oci.runtime import Process
from onggi.runtime import wholefiles
from onggi.runtime.steps import StepFailed


def check(process: Process) -> None:
    """Raises StepFailed in runc's words."""
    if _profile(process) and not has_apparmor():
        text = "unable to apply apparmor profile: config provided but apparmor not supported"
        raise StepFailed(errno.ENOTSUP, text)
    if process.selinux_label and not has_selinux():
        raise StepFailed(
            errno.ENOTSUP, "selinux label is specified in config, but selinux is disabled or not supported"
        )


def has_apparmor() -> bool:
    """The kernel has it and it is on (Documentation/admin-guide/LSM/apparmor.rst)."""
    try:
        return wholefiles.read("/sys/module/apparmor/parameters/enabled").startswith(b"Y")
    except OSError:
        return False


def has_selinux() -> bool:
    """SELinux's file system is there, which it is when a policy is loaded."""
    return os.path.exists("/sys/fs/selinux/enforce")


def _profile(process: Process) -> str:
    return "" if process.apparmor_profile == "unconfined" else process.apparmor_profile


def set_for_exec(process: Process, proc: Callable[[], AnyFd]) -> None:
    """For the next exec of the caller. `proc` gives the root of a procfs of ours: a fake must not catch it (CVE-2019-19921)."""
    if profile := _profile(process):
        _write(proc(), ("self/attr/apparmor/exec", "self/attr/exec"), f"exec {profile}")
    if process.selinux_label:
        _write(proc(), ("self/attr/exec",), process.selinux_label)


def _write(proc: AnyFd, names: tuple[str, ...], label: str) -> None:
    """In the first file of `names` that this kernel has. A profile that isn't loaded is ENOENT too, said by the write."""
    for name in names:
        try:
            file = openat2(proc, name, os.O_WRONLY, Resolve.BENEATH | Resolve.NO_XDEV | Resolve.NO_MAGICLINKS)
        except FileNotFoundError:
            continue
        with file:
            try:
                os.write(file.fileno(), label.encode())
            except OSError as error:
                reason = os.strerror(error.errno or errno.EIO).lower()
                raise OSError(error.errno, f"label {label!r}: {reason}") from None
        return
    raise OSError(errno.ENOENT, f"label {label!r}: this kernel has no file for it")


def own_proc() -> AnyFd:
    """A procfs of the caller's pid namespace that is mounted nowhere."""
    return mounts.new_mount("proc")
