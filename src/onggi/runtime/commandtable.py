"""The command line of `onggi-runtime` as a table: runc's commands and flags, and those of crun's that it has besides.

Source: `--help` of runc 1.3 and crun 1.28. What a flag means stands where its command is carried out.
"""

from __future__ import annotations

import os
from typing import Final

from onggi.runtime.flags import Command, Flag

_RUNTIME_DIRECTORY: Final = os.environ.get("XDG_RUNTIME_DIR", "") if os.geteuid() != 0 else ""
DEFAULT_ROOT: Final = f"{_RUNTIME_DIRECTORY or '/run'}/onggi-runtime"

GLOBAL: Final = (
    Flag("debug", "enable debug logging"),
    Flag("log", "set the log file to write logs to: a path, file:PATH or syslog:NAME", "text", default="/dev/stderr"),
    Flag("log-format", "set the log format ('text' or 'json')", "text", default="text"),
    Flag("log-level", "accepted for compatibility: errors and warnings are logged, --debug adds the rest", "text"),
    Flag("root", "root directory for storage of container state (on a tmpfs)", "text", default=DEFAULT_ROOT),
    Flag("systemd-cgroup", "read cgroupsPath as slice:prefix:name, as with systemd; the groups are made directly"),
    Flag("cgroup-manager", "'cgroupfs', 'systemd' (as --systemd-cgroup) or 'disabled'", "text", default="cgroupfs"),
    Flag("rootless", "accepted for compatibility ('true', 'false', or 'auto')", "text", default="auto"),
    Flag("version", "print the version", short="v"),
)

_BUNDLE: Final = Flag(
    "bundle", "path to the root of the bundle directory, defaults to the current directory", "text", "b"
)
_CONSOLE: Final = Flag(
    "console-socket", "path to an AF_UNIX socket which will receive the master end of the console", "text"
)
_PIDFD: Final = Flag("pidfd-socket", "path to an AF_UNIX socket which will receive a pidfd of the process", "text")
_PID_FILE: Final = Flag("pid-file", "specify the file to write the process id to", "text")
_PRESERVE: Final = Flag("preserve-fds", "pass N additional file descriptors to the container", "text", default="0")
_DETACH: Final = Flag("detach", "detach from the container's process", short="d")
_FORMAT: Final = Flag("format", "select one of: table or json", "text", "f", "table")
_SUBREAPER: Final = Flag("no-subreaper", "ignored: nobody's children are adopted")
_NO_PIVOT: Final = Flag("no-pivot", "move the root over the host's instead of pivoting into it (root on a ramdisk)")
_MAKING: Final = (
    _BUNDLE,
    Flag("config", "override the name of the configuration in the bundle", "text", "f", "config.json"),
    _CONSOLE,
    _PIDFD,
    _PID_FILE,
    _NO_PIVOT,
    Flag("no-new-keyring", "do not create a new session keyring for the container"),
    _PRESERVE,
    _SUBREAPER,
)
_EXEC: Final = (
    _CONSOLE,
    _PIDFD,
    Flag("cwd", "current working directory in the container", "text"),
    Flag("env", "set environment variables", "list", "e"),
    Flag("tty", "allocate a pseudo-TTY", short="t"),
    Flag("user", "UID (format: <uid>[:<gid>])", "text", "u"),
    Flag("additional-gids", "additional gids", "list", "g"),
    Flag("process", "path to the process.json", "text", "p"),
    _DETACH,
    _PID_FILE,
    Flag("process-label", "set the asm process label for the process, used with selinux", "text"),
    Flag("apparmor", "set the apparmor profile for the process", "text"),
    Flag("no-new-privs", "set the no new privileges value for the process"),
    Flag("cap", "add a capability to the bounding set for the process", "list", "c"),
    _PRESERVE,
    Flag("cgroup", "run the process in existing sub-cgroups: [<controller>[,<controller>]:]<cgroup>", "list"),
    Flag("ignore-paused", "allow exec in a paused container"),
)
_UPDATE: Final = (
    Flag("resources", "path to the file with the resources to update, '-' for standard input", "text", "r"),
    Flag("blkio-weight", "specifies per cgroup weight, range is from 10 to 1000", "text"),
    Flag("cpu-period", "CPU CFS period to be used for hardcapping (in usecs)", "text"),
    Flag("cpu-quota", "CPU CFS hardcap limit (in usecs)", "text"),
    Flag("cpu-burst", "CPU CFS hardcap burst limit (in usecs)", "text"),
    Flag("cpu-share", "CPU shares (relative weight vs. other containers)", "text", aliases=("cpu-shares",)),
    Flag("cpu-rt-period", "CPU realtime period to be used for hardcapping (in usecs)", "text"),
    Flag("cpu-rt-runtime", "CPU realtime hardcap limit (in usecs)", "text"),
    Flag("cpuset-cpus", "CPU(s) to use", "text"),
    Flag("cpuset-mems", "memory node(s) to use", "text"),
    Flag("cpu-idle", "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE", "text"),
    Flag("memory", "memory limit (in bytes)", "text"),
    Flag("memory-reservation", "memory reservation or soft limit (in bytes)", "text"),
    Flag("memory-swap", "total memory usage (memory + swap), -1 for unlimited", "text"),
    Flag("pids-limit", "maximum number of pids allowed in the container", "text"),
    Flag("l3-cache-schema", "the string of Intel RDT/CAT L3 cache schema", "text"),
    Flag("mem-bw-schema", "the string of Intel RDT/MBA memory bandwidth schema", "text"),
    Flag("kernel-memory", "no effect: the kernel has no such limit any more", "text"),
    Flag("kernel-memory-tcp", "no effect", "text"),
)
_CRIU: Final = (
    Flag("image-path", "path for criu image files", "text"),
    Flag("work-path", "path for work files and logs", "text"),
    Flag("tcp-established", "allow open tcp connections"),
    Flag("ext-unix-sk", "allow external unix sockets"),
    Flag("shell-job", "allow shell jobs"),
    Flag("lazy-pages", "use userfaultfd to lazily restore memory pages"),
    Flag("file-locks", "handle file locks, for safety"),
    Flag("manage-cgroups-mode", "cgroups mode: soft|full|strict|ignore", "text", default="soft"),
    Flag("empty-ns", "create a namespace, but don't restore its properties", "list"),
    Flag("auto-dedup", "enable auto deduplication of memory images"),
)
_CHECKPOINT: Final = (
    *_CRIU,
    Flag("parent-path", "path for previous criu image files in pre-dump", "text"),
    Flag("leave-running", "leave the process running after checkpointing"),
    Flag("tcp-skip-in-flight", "skip in-flight tcp connections"),
    Flag("link-remap", "allow one to link unlinked files back when possible"),
    Flag("status-fd", "criu writes \\0 to this descriptor once lazy-pages is ready", "text"),
    Flag("page-server", "ADDRESS:PORT of the page server", "text"),
    Flag("pre-dump", "dump container's memory information only, leave the container running after this"),
    Flag("network-lock", "how the network is locked", "text"),
)
_RESTORE: Final = (
    *_CRIU,
    _CONSOLE,
    _BUNDLE,
    _DETACH,
    _PID_FILE,
    _SUBREAPER,
    _NO_PIVOT,
    Flag("lsm-profile", "an LSM profile to be used during restore in the form of TYPE:NAME", "text"),
    Flag("lsm-mount-context", "an LSM mount context to be used during restore", "text"),
    Flag("tcp-close", "restore connected sockets in closed state"),
)

_ID: Final = "<container-id>"
COMMANDS: Final = (
    Command("checkpoint", "not supported", f"checkpoint [command options] {_ID}", _CHECKPOINT),
    Command("create", "create a container", f"create [command options] {_ID}", _MAKING),
    Command(
        "delete",
        "delete any resources held by the container",
        f"delete [command options] {_ID}",
        (
            Flag("force", "forcibly delete the container if it is still running (uses SIGKILL)", short="f"),
            Flag("regex", "the id is a regular expression", short="r"),
        ),
    ),
    Command(
        "events",
        "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
        f"events [command options] {_ID}",
        (
            Flag("interval", "set the stats collection interval", "text", default="5s"),
            Flag("stats", "display the container's stats then exit"),
        ),
    ),
    Command(
        "exec",
        "execute new process inside the container",
        f"exec [command options] {_ID} <command> [command options]  || -p process.json {_ID}",
        _EXEC,
        most=None,
        flags_anywhere=False,
    ),
    Command("features", "show the enabled features", "features", least=0, most=0),
    Command(
        "kill",
        "send the specified signal (default: SIGTERM) to the container's init process",
        f"kill [command options] {_ID} [signal]",
        (
            Flag("all", "send the signal to all processes inside the container", short="a"),
            Flag("regex", "the id is a regular expression", short="r"),
        ),
        most=2,
    ),
    Command(
        "list",
        "list containers started with the given root",
        "list [command options]",
        (_FORMAT, Flag("quiet", "display only container IDs", short="q")),
        least=0,
        most=0,
    ),
    Command("pause", "pause suspends all processes inside the container", f"pause {_ID}"),
    Command(
        "ps",
        "display the processes running inside a container",
        f"ps [command options] {_ID} [ps options]",
        (_FORMAT,),
        most=None,
        flags_anywhere=False,
    ),
    Command("restore", "not supported", f"restore [command options] {_ID}", _RESTORE),
    Command("resume", "resume all processes that have been previously paused", f"resume {_ID}", aliases=("unpause",)),
    Command(
        "run",
        "create and run a container",
        f"run [command options] {_ID}",
        (*_MAKING, _DETACH, Flag("keep", "do not delete the container after it exits")),
    ),
    Command(
        "spec",
        "create a new specification file",
        "spec [command options]",
        (
            _BUNDLE,
            Flag("rootless", "generate a configuration for a rootless container"),
            Flag("file", "destination file", "text", "f", "config.json"),
        ),
        least=0,
        most=0,
    ),
    Command("start", "execute the user defined process in a created container", f"start {_ID}"),
    Command("state", "output the state of a container", f"state {_ID}"),
    Command("update", "update container resource constraints", f"update [command options] {_ID}", _UPDATE),
)
