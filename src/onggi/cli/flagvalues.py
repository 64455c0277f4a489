"""Words that may stand behind a flag, for completion: what docker's client offers, and what onggid knows."""

from __future__ import annotations

_CAPABILITIES = (
    "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH",
    "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT",
    "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
)  # fmt: skip
_BOTH_FORMS = ("ALL", *(f"CAP_{name}" for name in _CAPABILITIES), *_CAPABILITIES)
_SIGNALS = (
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGKILL", "SIGPIPE", "SIGPROF",
    "SIGPWR", "SIGQUIT", "SIGRTMAX", "SIGRTMIN", "SIGSEGV", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU",
    "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
)  # fmt: skip
_LIMITS = ("core=", "cpu=", "data=", "fsize=", "locks=", "memlock=", "msgqueue=", "nice=", "nofile=", "nproc=", "rss=", "rtprio=", "rttime=", "sigpending=", "stack=")  # fmt: skip

VALUES: dict[str, tuple[str, ...]] = {
    "attach": ("stderr", "stdin", "stdout"), "cap-add": _BOTH_FORMS, "cap-drop": _BOTH_FORMS, "cgroupns": ("host", "private"),
    "detach-keys": ("ctrl-",), "driver": ("bridge", "local"), "format": ("json", "table"),
    "ipc": ("container:", "host", "none", "private", "shareable"), "log-level": ("debug", "info", "warn", "error", "fatal", "panic"),
    "log-driver": ("fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"), "pid": ("container:", "host"),
    "platform": (
        "linux/386", "linux/amd64", "linux/arm", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64", "linux/arm64/v8",
        "linux/ppc64le", "linux/riscv64", "linux/s390x", "wasip1/wasm", "windows/amd64",
    ),
    "progress": ("auto", "plain", "tty", "quiet", "rawjson"), "pull": ("always", "missing", "never"),
    "restart": ("always", "no", "on-failure", "unless-stopped"),
    "security-opt": ("apparmor=", "label=", "no-new-privileges", "seccomp=", "systempaths=unconfined"), "signal": _SIGNALS,
    "stop-signal": _SIGNALS, "storage-opt": ("size=",), "ulimit": _LIMITS, "userns": ("host",), "uts": ("host",), "volume-driver": ("local",),
    "type": ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume"),
}  # fmt: skip
"""Flag → words. One that ends with `=`, `:` or `-` is only a beginning."""

FILTERS: dict[str, tuple[str, ...]] = {
    "listing:ps": ("ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status", "volume"),
    "images:images": ("before", "dangling", "label", "reference", "since", "until"),
    "networks:ls": ("dangling", "driver", "id", "label", "name", "scope", "type"),
    "volumes:ls": ("dangling", "driver", "label", "name"),
    "events:events": ("container", "daemon", "event", "image", "label", "network", "node", "scope", "type", "volume"),
    "searching:search": ("is-official", "stars"),
    **{f"pruning:{kind}": ("label", "label!", "until") for kind in ("containers", "images", "networks", "volumes", "system", "builder")},
}  # fmt: skip
"""Command → names that its --filter knows."""
