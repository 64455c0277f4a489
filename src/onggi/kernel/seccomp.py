"""Seccomp: a profile in, a BPF program out, and the program loaded into the calling thread.

Here: libseccomp through ctypes (seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3)) and seccomp(2).
Not here: which calls a container may make (runtime/seccomp_default.py).

Compiling takes milliseconds, loading takes microseconds: a program is compiled where it is asked for first and then
kept by the whole content of its profile, never by a name, so that no container can get another one's filter.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import functools
import os
import struct

import msgspec

from onggi.kernel import syscalls

SECCOMP_SET_MODE_FILTER = 1
"""seccomp(2); operations and flags of include/uapi/linux/seccomp.h."""


class FilterFlag(enum.IntFlag):
    """SECCOMP_FILTER_FLAG_*: Linux 3.17, 4.14 (LOG), 4.17 (SPEC_ALLOW), 5.0 (NEW_LISTENER), 5.7, 5.19 (WAIT_KILLABLE_RECV)."""

    NONE = 0
    TSYNC = 1
    LOG = 2
    SPEC_ALLOW = 4
    NEW_LISTENER = 8
    TSYNC_ESRCH = 16
    WAIT_KILLABLE_RECV = 32


ENOSYS_RETURN = 0x00050000 | errno.ENOSYS
"""SECCOMP_RET_ERRNO with ENOSYS as its data."""

_X32_BIT = 0x40000000
_AUDIT_ARCH = {"x86_64": 0xC000003E, "x86": 0x40000003, "x32": 0xC000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}

_UNIFIED_NUMBERS = {
    "cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455,
    "futex_requeue": 456, "statmount": 457, "listmount": 458, "lsm_get_self_attr": 459, "lsm_set_self_attr": 460,
    "lsm_list_modules": 461, "mseal": 462, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465,
    "removexattrat": 466, "open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469, "listns": 470,
}  # fmt: skip
"""Calls that are newer than Debian 12's libseccomp; since Linux 5.1 a call has one number on every architecture."""


class Action(enum.Enum):
    """What a rule answers with; values are libseccomp's SCMP_ACT_* (seccomp.h), errno and trace data go in the low bits."""

    KILL_PROCESS = 0x80000000
    KILL_THREAD = 0x00000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    NOTIFY = 0x7FC00000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000


class Compare(enum.IntEnum):
    """Comparison of one argument (enum scmp_compare)."""

    NE = 1
    LT = 2
    LE = 3
    EQ = 4
    GE = 5
    GT = 6
    MASKED_EQ = 7


class Argument(msgspec.Struct, frozen=True):
    """Condition on argument `index`; MASKED_EQ is `(argument & value) == value_two`."""

    index: int
    op: Compare
    value: int
    value_two: int = 0


class Rule(msgspec.Struct, frozen=True):
    """`action` for each of `names` when all of `arguments` hold."""

    names: tuple[str, ...]
    action: Action
    errno: int = 1
    arguments: tuple[Argument, ...] = ()


class Profile(msgspec.Struct, frozen=True):
    """Everything a filter depends on; equal profiles have equal programs."""

    default: Action
    default_errno: int
    architectures: tuple[str, ...]
    rules: tuple[Rule, ...]
    newer_is_enosys: bool = True


class _ArgCmp(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class _SockFprog(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


@functools.cache
def _library() -> ctypes.CDLL:
    """libseccomp, opened where a profile is compiled first: never after a fork into a container."""
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    lib.seccomp_release.argtypes = [ctypes.c_void_p]
    lib.seccomp_release.restype = None
    lib.seccomp_arch_resolve_name.argtypes = [ctypes.c_char_p]
    lib.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    lib.seccomp_arch_native.restype = ctypes.c_uint32
    lib.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.seccomp_arch_remove.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    lib.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    lib.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    lib.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_ArgCmp),
    ]  # fmt: skip
    lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return lib


def _check(step: str, result: int) -> None:
    if result < 0:
        raise OSError(-result, f"{step}: {os.strerror(-result)}")


def native_architecture() -> str:
    """Libseccomp's name of this machine's architecture."""
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(os.uname().machine, os.uname().machine)


def is_known(name: str) -> bool:
    """Whether libseccomp has a number for `name`; calls of other architectures have negative ones."""
    return bool(_library().seccomp_syscall_resolve_name(name.encode()) != -1)


def _return_value(action: Action, number: int) -> int:
    value: int = action.value
    return value | (number & 0xFFFF) if action in {Action.ERRNO, Action.TRACE} else value


@functools.lru_cache(maxsize=64)
def compile_profile(profile: Profile) -> bytes:
    """The BPF program (array of struct sock_filter) of `profile`.

    Names that neither libseccomp nor we know are left out, as runc does: the default then holds for them.
    Raises OSError when libseccomp refuses a rule, ValueError for an unknown architecture.
    """
    lib = _library()
    default = _return_value(profile.default, profile.default_errno)
    context = ctypes.c_void_p(lib.seccomp_init(default))
    if not context.value:
        raise OSError(errno.ENOMEM, "seccomp_init: no filter context")
    try:
        _add_architectures(lib, context, profile.architectures)
        # SCMP_FLTATR_CTL_OPTIMIZE=8, 2: a binary tree over the numbers, so a call costs log2(400) comparisons, not 400.
        lib.seccomp_attr_set(context, 8, 2)
        # SCMP_FLTATR_CTL_NNP=3: whether no_new_privs is set is the caller's business.
        _check("seccomp_attr_set NNP", lib.seccomp_attr_set(context, 3, 0))
        for rule in profile.rules:
            _add_rule(lib, context, rule, default)
        program = _export(lib, context)
    finally:
        lib.seccomp_release(context)
    return _prefix(profile) + program


def _add_architectures(lib: ctypes.CDLL, context: ctypes.c_void_p, architectures: tuple[str, ...]) -> None:
    native = lib.seccomp_arch_native()
    for name in architectures:
        token = lib.seccomp_arch_resolve_name(name.encode())
        if token == 0:
            raise ValueError(f"seccomp: unknown architecture {name!r}")
        if token != native:
            result = lib.seccomp_arch_add(context, token)
            if result not in (0, -errno.EEXIST):
                _check(f"seccomp_arch_add {name}", result)


def _add_rule(lib: ctypes.CDLL, context: ctypes.c_void_p, rule: Rule, default: int) -> None:
    value = _return_value(rule.action, rule.errno)
    if value == default:  # libseccomp answers EACCES to a rule that changes nothing
        return
    for arguments in _one_rule_each(rule.arguments):
        array = (_ArgCmp * len(arguments))(*[_ArgCmp(a.index, int(a.op), a.value, a.value_two) for a in arguments])
        for name in rule.names:
            if not is_known(name):
                continue
            number = lib.seccomp_syscall_resolve_name(name.encode())
            result = lib.seccomp_rule_add_array(context, value, number, len(arguments), array)
            if result not in (0, -errno.EEXIST, -errno.EDOM):  # EDOM: the call does not exist on this architecture
                _check(f"seccomp_rule_add {name}", result)


def _one_rule_each(arguments: tuple[Argument, ...]) -> list[tuple[Argument, ...]]:
    """Libseccomp takes one condition for an index in a rule: several on one index mean "any of them" (runc does so)."""
    if len({a.index for a in arguments}) == len(arguments):
        return [arguments]
    return [(a,) for a in arguments]


def _export(lib: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check("seccomp_export_bpf", lib.seccomp_export_bpf(context, fd))
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


_LD, _JEQ, _JGT, _JGE, _RET, _AND = 0x20, 0x15, 0x25, 0x35, 0x06, 0x54


def _instruction(code: int, true: int, false: int, k: int) -> bytes:
    """Struct sock_filter (linux/filter.h): u16 code, u8 jump if true, u8 jump if false, u32 operand."""
    return struct.pack("=HBBI", code, true, false, k)


def _prefix(profile: Profile) -> bytes:
    """Instructions that stand before the filter: calls that are newer than libseccomp, and newer than the profile.

    Rules for calls that libseccomp doesn't know yet are answered here. Calls newer than any that the profile names get
    ENOSYS: a profile older than the C library in the image would say EPERM, and the library would not fall back.
    Layout of struct seccomp_data: nr at 0, arch at 4.
    """
    names = {name for rule in profile.rules for name in rule.names}
    program = b""
    for arch in profile.architectures:
        if arch not in _AUDIT_ARCH:
            continue
        bit = _X32_BIT if arch == "x32" else 0
        body: list[bytes] = []
        for number, value in _newer_rules(profile):
            body += [_instruction(_JEQ, 0, 1, number | bit), _instruction(_RET, 0, 0, value)]
        newest = _newest(arch, names)
        if newest and profile.newer_is_enosys and profile.default in _DENIALS:
            body += [_instruction(_JGT, 0, 1, newest | bit), _instruction(_RET, 0, 0, ENOSYS_RETURN)]
        if not body:
            continue
        # x86_64 and x32 share one AUDIT_ARCH: the number's bit tells them apart.
        if arch == "x86_64":
            body.insert(0, _instruction(_JGE, len(body), 0, _X32_BIT))
        elif arch == "x32":
            body.insert(0, _instruction(_JGE, 0, len(body), _X32_BIT))
        program += _instruction(_LD, 0, 0, 4) + _instruction(_JEQ, 0, len(body) + 1, _AUDIT_ARCH[arch])
        program += _instruction(_LD, 0, 0, 0) + b"".join(body)
    return program


_DENIALS = frozenset({Action.ERRNO, Action.KILL_PROCESS, Action.KILL_THREAD})


def _newer_rules(profile: Profile) -> list[tuple[int, int]]:
    """(number, verdict) of rules for calls that libseccomp can't express; the first rule for a number holds."""
    found: dict[int, int] = {}
    for rule in profile.rules:
        for name in rule.names:
            if not rule.arguments and name in _UNIFIED_NUMBERS and not is_known(name):
                found.setdefault(_UNIFIED_NUMBERS[name], _return_value(rule.action, rule.errno))
    return sorted(found.items())


def _newest(arch: str, names: set[str]) -> int:
    lib = _library()
    token = lib.seccomp_arch_resolve_name(arch.encode())
    found = [lib.seccomp_syscall_resolve_name_arch(token, name.encode()) for name in names]
    known = [number & ~_X32_BIT for number in found if number >= 0]
    known += [_UNIFIED_NUMBERS[name] for name in names if name in _UNIFIED_NUMBERS]
    return max(known, default=0)


def load(program: bytes, flags: int = 0) -> int:
    """The filter for the calling thread and all its children, for good. Returns the listener with NEW_LISTENER, else 0.

    Holds:
        CAP_SYS_ADMIN in the thread's user namespace, or no_new_privs.
    Raises OSError: EACCES without either, EINVAL for a program that the kernel's checker refuses.
    Source: seccomp(2), Linux 3.17.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    prog = _SockFprog(len(program) // 8, ctypes.addressof(buffer))
    return syscalls.call("seccomp", syscalls.NR.seccomp, SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(prog))
