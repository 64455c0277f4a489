"""Which system calls a container may make when nobody says otherwise, and profiles that users bring.

The rules have the meaning of moby's default profile (github.com/moby/profiles, seccomp/default.json, v0.2.3): what an
image does under docker it may do here. They are written down by condition, since that is how they are read: always,
by capability, by architecture. The kernels that moby asks a version of (4.8) are older than any that runs onggi.

Invariant: what a program may do depends on the capabilities of its container alone, so the filter is kept by that set.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

import msgspec

from onggi.errors import InvalidArgument
from onggi.kernel.seccomp import Action, Argument, Compare, Profile, Rule, compile_profile, native_architecture

_ALWAYS = [
    "_llseek",
    "_newselect",
    "accept",
    "accept4",
    "access",
    "adjtimex",
    "alarm",
    "bind",
    "brk",
    "cachestat",
    "capget",
    "capset",
    "chdir",
    "chmod",
    "chown",
    "chown32",
    "clock_adjtime",
    "clock_adjtime64",
    "clock_getres",
    "clock_getres_time64",
    "clock_gettime",
    "clock_gettime64",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "close",
    "close_range",
    "connect",
    "copy_file_range",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_ctl_old",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "epoll_wait_old",
    "eventfd",
    "eventfd2",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fadvise64_64",
    "fallocate",
    "fanotify_mark",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchown32",
    "fchownat",
    "fcntl",
    "fcntl64",
    "fdatasync",
    "fgetxattr",
    "flistxattr",
    "flock",
    "fork",
    "fremovexattr",
    "fsetxattr",
    "fstat",
    "fstat64",
    "fstatat64",
    "fstatfs",
    "fstatfs64",
    "fsync",
    "ftruncate",
    "ftruncate64",
    "futex",
    "futex_requeue",
    "futex_time64",
    "futex_wait",
    "futex_waitv",
    "futex_wake",
    "futimesat",
    "get_robust_list",
    "get_thread_area",
    "getcpu",
    "getcwd",
    "getdents",
    "getdents64",
    "getegid",
    "getegid32",
    "geteuid",
    "geteuid32",
    "getgid",
    "getgid32",
    "getgroups",
    "getgroups32",
    "getitimer",
    "getpeername",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getrandom",
    "getresgid",
    "getresgid32",
    "getresuid",
    "getresuid32",
    "getrlimit",
    "getrusage",
    "getsid",
    "getsockname",
    "getsockopt",
    "gettid",
    "gettimeofday",
    "getuid",
    "getuid32",
    "getxattr",
    "getxattrat",
    "inotify_add_watch",
    "inotify_init",
    "inotify_init1",
    "inotify_rm_watch",
    "io_cancel",
    "io_destroy",
    "io_getevents",
    "io_pgetevents",
    "io_pgetevents_time64",
    "io_setup",
    "io_submit",
    "ioctl",
    "ioprio_get",
    "ioprio_set",
    "ipc",
    "kill",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "lchown",
    "lchown32",
    "lgetxattr",
    "link",
    "linkat",
    "listen",
    "listmount",
    "listxattr",
    "listxattrat",
    "llistxattr",
    "lremovexattr",
    "lseek",
    "lsetxattr",
    "lstat",
    "lstat64",
    "madvise",
    "map_shadow_stack",
    "membarrier",
    "memfd_create",
    "memfd_secret",
    "mincore",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "mlock",
    "mlock2",
    "mlockall",
    "mmap",
    "mmap2",
    "mprotect",
    "mq_getsetattr",
    "mq_notify",
    "mq_open",
    "mq_timedreceive",
    "mq_timedreceive_time64",
    "mq_timedsend",
    "mq_timedsend_time64",
    "mq_unlink",
    "mremap",
    "mseal",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "msync",
    "munlock",
    "munlockall",
    "munmap",
    "name_to_handle_at",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pause",
    "pidfd_open",
    "pidfd_send_signal",
    "pipe",
    "pipe2",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    "poll",
    "ppoll",
    "ppoll_time64",
    "prctl",
    "pread64",
    "preadv",
    "preadv2",
    "prlimit64",
    "process_mrelease",
    "process_vm_readv",
    "process_vm_writev",
    "pselect6",
    "pselect6_time64",
    "ptrace",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readahead",
    "readlink",
    "readlinkat",
    "readv",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmmsg_time64",
    "recvmsg",
    "remap_file_pages",
    "removexattr",
    "removexattrat",
    "rename",
    "renameat",
    "renameat2",
    "restart_syscall",
    "riscv_hwprobe",
    "rmdir",
    "rseq",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigqueueinfo",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getaffinity",
    "sched_getattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_rr_get_interval",
    "sched_rr_get_interval_time64",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
    "sched_yield",
    "seccomp",
    "select",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "semtimedop_time64",
    "send",
    "sendfile",
    "sendfile64",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "setfsgid",
    "setfsgid32",
    "setfsuid",
    "setfsuid32",
    "setgid",
    "setgid32",
    "setgroups",
    "setgroups32",
    "setitimer",
    "setpgid",
    "setpriority",
    "setregid",
    "setregid32",
    "setresgid",
    "setresgid32",
    "setresuid",
    "setresuid32",
    "setreuid",
    "setreuid32",
    "setrlimit",
    "setsid",
    "setsockopt",
    "setuid",
    "setuid32",
    "setxattr",
    "setxattrat",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
    "shutdown",
    "sigaltstack",
    "signalfd",
    "signalfd4",
    "sigprocmask",
    "sigreturn",
    "socketcall",
    "socketpair",
    "splice",
    "stat",
    "stat64",
    "statfs",
    "statfs64",
    "statmount",
    "statx",
    "symlink",
    "symlinkat",
    "sync",
    "sync_file_range",
    "syncfs",
    "sysinfo",
    "tee",
    "tgkill",
    "time",
    "timer_create",
    "timer_delete",
    "timer_getoverrun",
    "timer_gettime",
    "timer_gettime64",
    "timer_settime",
    "timer_settime64",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_gettime64",
    "timerfd_settime",
    "timerfd_settime64",
    "times",
    "tkill",
    "truncate",
    "truncate64",
    "ugetrlimit",
    "umask",
    "uname",
    "unlink",
    "unlinkat",
    "uretprobe",
    "utime",
    "utimensat",
    "utimensat_time64",
    "utimes",
    "vfork",
    "vmsplice",
    "wait4",
    "waitid",
    "waitpid",
    "write",
    "writev",
]

_BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

_BY_ARCHITECTURE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "riscv64": "riscv_flush_icache",
}

ARCHITECTURES = {"x86_64": ("x86_64", "x86", "x32"), "aarch64": ("aarch64", "arm")}
"""The native architecture and those whose programs its kernel runs too."""

_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET: clone(2) with none of them is a plain fork."""

_ENOSYS = 38


def _allow(names: str, *arguments: Argument) -> Rule:
    return Rule(tuple(names.split()), Action.ALLOW, arguments=arguments)


def default_profile(capabilities: frozenset[str]) -> Profile:
    """The default profile of a container that has `capabilities` in its bounding set."""
    architecture = native_architecture()
    rules = [Rule(tuple(_ALWAYS), Action.ALLOW)]
    # Address families 38 (AF_ALG) and 40 (AF_VSOCK) reach the kernel's crypto and the hypervisor: every other one is fine.
    rules += [_allow("socket", Argument(0, op, family)) for op, family in _SOCKET_FAMILIES]
    rules += [
        _allow("personality", Argument(0, Compare.EQ, persona)) for persona in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
    ]
    rules += [_allow(names) for cap, names in _BY_CAPABILITY.items() if cap in capabilities]
    if architecture in _BY_ARCHITECTURE:
        rules.append(_allow(_BY_ARCHITECTURE[architecture]))
    if "CAP_SYS_ADMIN" not in capabilities:
        rules.append(_allow("clone", Argument(0, Compare.MASKED_EQ, _NEW_NAMESPACES, 0)))
        # clone3's flags lie in memory that BPF can't read. ENOSYS, not EPERM: glibc then falls back to clone.
        rules.append(Rule(("clone3",), Action.ERRNO, _ENOSYS))
    return Profile(Action.ERRNO, 1, ARCHITECTURES.get(architecture, (architecture,)), tuple(rules))


_SOCKET_FAMILIES = ((Compare.LT, 38), (Compare.EQ, 39), (Compare.GT, 40))


@functools.lru_cache(maxsize=64)
def default_filter(capabilities: frozenset[str]) -> bytes:
    """The compiled default profile for `capabilities` (names with CAP_)."""
    return compile_profile(default_profile(capabilities))


class SpecArgument(msgspec.Struct, rename="camel"):
    """One condition, as docker's profiles and the runtime spec write it (config-linux.md, "Seccomp")."""

    index: int
    value: int
    op: str
    value_two: int = 0


class Condition(msgspec.Struct, rename="camel"):
    """Docker's includes and excludes."""

    caps: list[str] = []
    arches: list[str] = []
    min_kernel: str = ""


class SpecRule(msgspec.Struct, rename="camel"):
    """One entry of `syscalls`; `includes` and `excludes` are docker's alone."""

    action: str
    names: list[str] = []
    name: str = ""
    args: list[SpecArgument] | None = None
    errno_ret: int | None = None
    includes: Condition | None = None
    excludes: Condition | None = None


class ArchMap(msgspec.Struct, rename="camel"):
    """A native architecture with those that come with it."""

    architecture: str
    sub_architectures: list[str] | None = None


class SpecProfile(msgspec.Struct, rename="camel"):
    """A profile in docker's form, of which the runtime spec's is a part."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] | None = None
    arch_map: list[ArchMap] | None = None
    syscalls: list[SpecRule] | None = None


_ACTIONS = {
    "SCMP_ACT_ALLOW": Action.ALLOW,
    "SCMP_ACT_ERRNO": Action.ERRNO,
    "SCMP_ACT_KILL": Action.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": Action.KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": Action.KILL_THREAD,
    "SCMP_ACT_LOG": Action.LOG,
    "SCMP_ACT_NOTIFY": Action.NOTIFY,
    "SCMP_ACT_TRACE": Action.TRACE,
    "SCMP_ACT_TRAP": Action.TRAP,
}

_GO_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def profile_from_docker_json(text: bytes, capabilities: frozenset[str]) -> Profile:
    """The profile that `--security-opt seccomp=FILE` brought, its conditions resolved for `capabilities`.

    Raises InvalidArgument, in docker's words.
    """
    try:
        spec = msgspec.json.decode(text, type=SpecProfile)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"decoding seccomp profile failed: {error}") from error
    return profile_from_spec(spec, capabilities)


def profile_from_spec(spec: SpecProfile, capabilities: frozenset[str] = frozenset()) -> Profile:
    """The profile of a runtime spec (which has no conditions) or of docker's form (which has)."""
    if spec.architectures and spec.arch_map:
        raise InvalidArgument(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
        )
    rules = [_rule(rule) for rule in spec.syscalls or () if _applies(rule, capabilities)]
    return Profile(
        _action(spec.default_action),
        1 if spec.default_errno_ret is None else spec.default_errno_ret,
        tuple(_architectures(spec)),
        tuple(rules),
    )


KNOWN_ARCHITECTURES = frozenset(
    """x86 x86_64 x32 arm aarch64 loongarch64 m68k mips mips64 mips64n32 mipsel mipsel64 mipsel64n32 ppc ppc64 ppc64le s390
    s390x parisc parisc64 riscv64 sh sheb""".split()
)
"""The runtime spec's (config-linux.md, "Seccomp")."""
_RUN_HERE = {"x86_64": {"x86_64", "x86", "x32"}, "aarch64": {"aarch64", "arm"}}
"""Whose programs a machine runs: calls of others never come, and need no rules."""


def _architectures(spec: SpecProfile) -> Iterable[str]:
    native = native_architecture()
    given = [name.removeprefix("SCMP_ARCH_").lower() for name in spec.architectures or ()]
    for name in given:
        if name not in KNOWN_ARCHITECTURES:
            raise InvalidArgument(f"seccomp: unknown architecture {name!r}")
    wanted = [native, *(name for name in given if name in _RUN_HERE.get(native, {native}))]
    for entry in spec.arch_map or ():
        if entry.architecture.removeprefix("SCMP_ARCH_").lower() == native:
            wanted += [name.removeprefix("SCMP_ARCH_").lower() for name in entry.sub_architectures or ()]
    return dict.fromkeys(wanted)


def _applies(rule: SpecRule, capabilities: frozenset[str]) -> bool:
    native = native_architecture()

    def here(arches: list[str]) -> bool:
        return any(_GO_ARCHITECTURES.get(arch, arch) == native for arch in arches)

    if rule.includes:
        if rule.includes.arches and not here(rule.includes.arches):
            return False
        if not capabilities.issuperset(rule.includes.caps) or not _kernel_is_at_least(rule.includes.min_kernel):
            return False
    if rule.excludes:
        if here(rule.excludes.arches):
            return False
        if capabilities.intersection(rule.excludes.caps):
            return False
    return True


def _kernel_is_at_least(version: str) -> bool:
    if not version:
        return True
    try:
        wanted = tuple(int(part) for part in version.split("."))
    except ValueError as error:
        raise InvalidArgument(f"seccomp: invalid kernel version {version!r}: use MAJOR.MINOR") from error
    running = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdigit())
    return running >= wanted


def _rule(rule: SpecRule) -> Rule:
    if rule.name and rule.names:
        raise InvalidArgument(
            "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"
        )
    names = tuple(rule.names or [rule.name])
    arguments = tuple(_argument(argument) for argument in rule.args or ())
    return Rule(names, _action(rule.action), 1 if rule.errno_ret is None else rule.errno_ret, arguments)


def _argument(argument: SpecArgument) -> Argument:
    try:
        compare = Compare[argument.op.removeprefix("SCMP_CMP_")]
    except KeyError as error:
        raise InvalidArgument(f"seccomp: unknown comparison {argument.op!r}") from error
    if not 0 <= argument.index <= 5:
        raise InvalidArgument(f"seccomp: a system call has no argument {argument.index}")
    return Argument(argument.index, compare, argument.value, argument.value_two)


def _action(name: str) -> Action:
    try:
        return _ACTIONS[name]
    except KeyError as error:
        raise InvalidArgument(f"seccomp: unknown action {name!r}") from error
