"""The last stretch of a child: from root in the container to the user's program. Shared by start and exec.

Runs between clone3 (or setns) and exec: prebuilt structures, system calls, nothing else (S-11, S-20). The order is
the point:
1. bounding set dropped, while CAP_SETPCAP is there;
2. groups, gid, uid with keepcaps, then the sets, then ambient;
3. the working directory, checked to be inside the root (CVE-2024-21626);
4. every descriptor but stdio will be closed at exec;
5. the filter, last, so that a tight profile can't stop our own steps. Without no_new_privs that takes CAP_SYS_ADMIN, which
   stays permitted until then: exec takes it, since the bounding set hasn't got it (capabilities(7), "Transformation").
"""

from __future__ import annotations

import _signal as signal  # lean.py
import codecs
import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterable
from typing import Never

from onggi.errors import InvalidArgument
from onggi.kernel import capabilities, paths, process
from onggi.kernel.faults import point
from onggi.kernel.fds import Fd
from onggi.kernel.syscalls import libc
from onggi.oci.runtime import Capabilities, Linux, Process
from onggi.runtime.attributes import Attributes
from onggi.runtime.steps import CANNOT_RUN, FILE_FOR_DIRECTORY, NOT_FOUND, ChildLink, StepFailed
from onggi.runtime.users import Identity

# A codec is a module, imported when it is first used: here, and not in a child that reads a file of ASCII (S-11).
codecs.lookup("ascii")

# Looked up here: a child that is inside looks for no symbol.
_execve = libc.execve
_ADMIN = 1 << capabilities.CAPS["CAP_SYS_ADMIN"]
_SIGNALS = tuple(signal.valid_signals())
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Program:
    """What to become, prepared before the clone: masks, limits, words as C has them."""

    def __init__(
        self, spec: Process, filter: bytes, *, own: int, preserve_fds: int = 0, linux: Linux | None = None
    ) -> None:
        """`own` are the capabilities that can be given. Raises InvalidArgument for what the spec may not say."""
        if not spec.args:
            raise InvalidArgument("no command specified")
        if any(word.startswith("=") for word in spec.env):
            raise InvalidArgument("invalid environment variable: name cannot be empty")
        caps = spec.capabilities or Capabilities()
        self.spec = spec
        # What we haven't got ourselves (in a container, in a guest) nobody can be given: left out, as runc does.
        self.bounding = capabilities.parse_caps(caps.bounding) & own
        self.effective = capabilities.parse_caps(caps.effective) & own
        self.permitted = capabilities.parse_caps(caps.permitted) & own
        self.inheritable = capabilities.parse_caps(caps.inheritable) & own
        self.ambient = capabilities.parse_caps(caps.ambient) & own
        self.filter, self.filter_flags = filter, 0
        if filter:
            # On this side of the clone, and only for who has one: it takes as long as a dozen other modules.
            from onggi.kernel import seccomp  # noqa: F401 - the child needs it
        self.found = b""
        self.lent = _ADMIN & own if filter and not spec.no_new_privileges else 0
        self.attributes = Attributes(spec, linux)
        self.arguments = [_bytes(word) for word in spec.args]
        self.environment = [_bytes(word) for word in spec.env]
        self.has_home = any(word.startswith(b"HOME=") for word in self.environment)
        self.first_fd = 3 + preserve_fds
        self.keeps_groups = False
        capabilities.last_cap()  # read while the host's /proc is there

    def add_home(self, home: str) -> None:
        self.environment.append(b"HOME=" + os.fsencode(home))
        self.has_home = True


def _bytes(word: str) -> bytes:
    raw = os.fsencode(word)
    if b"\0" in raw:
        raise InvalidArgument(f"a NUL byte in {word!r}")
    return raw


def leave_parent(keep: Iterable[int], *, supervised: bool) -> None:
    """A process of its own: untraceable, of its own session, with the signals' defaults, with `keep` alone open.

    It dies with its parent if `supervised`.
    """
    # An object that dies here must not print: a traceback opens source files, by paths that are the container's soon.
    sys.unraisablehook = _say_nothing
    # An import reads files by names that are the container's soon, and costs a start a millisecond: it fails (S-11).
    # So does the first use of a codec but UTF-8, which is there from the start.
    sys.meta_path.clear()
    process.set_dumpable(False)
    # Whatever the parent had open would be a way out for who gets at this process (CVE-2024-21626).
    process.close_others((*keep, 0, 1, 2))
    if supervised:
        process.set_pdeathsig(signal.SIGKILL)
    for number in _SIGNALS:
        # An ignored signal stays ignored over exec; CPython ignores two itself, its parent may ignore more.
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    process.reset_internal_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0)
    os.setsid()


def _say_nothing(_: object) -> None:
    return


def apply_limits(program: Program) -> None:
    """Limits, scheduling and no_new_privs: while still root."""
    program.attributes.apply()
    if program.spec.no_new_privileges:
        process.set_no_new_privs()


def drop_rights(program: Program, identity: Identity) -> None:
    """Steps 1 and 2."""
    capabilities.drop_bounding(program.bounding)
    process.set_keepcaps(True)
    if not program.keeps_groups:
        os.setgroups(list(identity.groups))
    elif set(identity.groups) - {identity.gid}:
        raise StepFailed(errno.EPERM, "additional groups: setgroups is denied in a user namespace of one's own ids")
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    # A process that isn't root keeps none of the sets over exec unless they are ambient: as the kernel's rules have it.
    capabilities.set_caps(program.effective | program.lent, program.permitted | program.lent, program.inheritable)
    if program.ambient:
        capabilities.set_ambient(program.ambient)
    process.set_keepcaps(False)


def confine(program: Program) -> None:
    """Step 5 at once, for a process of ours that stays in the container instead of becoming the program."""
    if program.filter:
        from onggi.kernel import seccomp  # there since Program

        seccomp.load(program.filter, program.filter_flags)
        program.filter = b""
    capabilities.set_caps(program.effective, program.permitted, program.inheritable)


def hand_over_filter(program: Program, link: ChildLink) -> None:
    """Step 5 for a filter with a listener, which our parent passes on before any call can wait for an answer."""
    program.found = find_program(program.arguments[0], program.environment)
    from onggi.kernel import seccomp  # there since Program

    link.hand_over(seccomp.load(program.filter, program.filter_flags | seccomp.FilterFlag.NEW_LISTENER))
    program.filter = b""


def enter_directory(path: str) -> None:
    """Step 3. Raises StepFailed in runc's words."""
    try:
        os.chdir(path or "/")
        where = paths.current_directory()
    except OSError as error:
        raise StepFailed(
            error.errno or errno.EIO,
            f'chdir to cwd ("{path}") set in config.json failed: {_words(error)}',
            _code(error),
        ) from None
    if not where.startswith("/"):
        raise StepFailed(
            errno.EPERM,
            "current working directory is outside of container mount namespace root -- possible container breakout detected",
        )


def exec_program(program: Program) -> Never:
    """Steps 4 and 5, and the program. Returns only by raising StepFailed."""
    found = program.found or find_program(program.arguments[0], program.environment)
    argv = (ctypes.c_char_p * (len(program.arguments) + 1))(*program.arguments, None)
    envp = (ctypes.c_char_p * (len(program.environment) + 1))(*program.environment, None)
    process.close_range(program.first_fd, on_exec=True)
    if program.filter:
        from onggi.kernel import seccomp  # there since Program

        point("init.filter")
        seccomp.load(program.filter, program.filter_flags)
    point("init.exec")
    _execve(found, argv, envp)
    number = ctypes.get_errno()
    name = program.arguments[0].decode("utf-8", "replace")
    text = f"exec {name}: {os.strerror(number).lower()}"
    raise StepFailed(number, text, NOT_FOUND if number == errno.ENOENT else CANNOT_RUN)


def find_program(name: bytes, environment: list[bytes]) -> bytes:
    """Where PATH has `name`, as Go's exec.LookPath finds it. Raises StepFailed: 127 not found, 126 can't be run."""
    shown = name.decode("utf-8", "replace")
    if b"/" in name:
        _check_executable(name, shown)
        return name
    search = next((word[5:] for word in reversed(environment) if word.startswith(b"PATH=")), DEFAULT_PATH.encode())
    for directory in search.split(b":"):
        candidate = (directory or b".") + b"/" + name
        try:
            status = os.stat(candidate)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
            return candidate
    raise StepFailed(errno.ENOENT, f'exec: "{shown}": executable file not found in $PATH', NOT_FOUND)


def _check_executable(path: bytes, shown: str) -> None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise StepFailed(errno.ENOENT, f'exec: "{shown}": stat {shown}: no such file or directory', NOT_FOUND) from None
    except OSError as error:
        raise StepFailed(
            error.errno or errno.EIO, f'exec: "{shown}": stat {shown}: {_words(error)}', _code(error)
        ) from None
    if stat.S_ISDIR(status.st_mode):
        raise StepFailed(errno.EISDIR, f'exec: "{shown}": is a directory: permission denied', CANNOT_RUN)
    if not status.st_mode & 0o111:
        raise StepFailed(errno.EACCES, f'exec: "{shown}": permission denied', CANNOT_RUN)


def _words(error: OSError) -> str:
    text = os.strerror(error.errno).lower() if error.errno else "error"
    return f"{text}: {FILE_FOR_DIRECTORY}" if error.errno == errno.ENOTDIR else text


def _code(error: OSError) -> int:
    """As dockerd reads runc's words: 127 for what isn't there or lies below a file."""
    return NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else CANNOT_RUN


def take_stdio(stdio: tuple[int, int, int]) -> None:
    """`stdio` become 0, 1 and 2, whatever numbers they have."""
    for target, fd in enumerate(stdio):
        if fd == target:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, target, inheritable=True)


def take_terminal(slave: Fd) -> None:
    from_fd = slave.fileno()
    take_stdio((from_fd, from_fd, from_fd))
