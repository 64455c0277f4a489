"""Containers straight from `init.spawn`, without engine, launcher or shim: what tests of the container's side start."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onggi.kernel import cgroups, process
from onggi.kernel.cgroups import Cgroup, Resources
from onggi.oci.runtime import Mount, Process, Spec
from onggi.runtime import defaults, init
from onggi.runtime.init import ExecPlan, Spawned
from onggi.runtime.plan import InitPlan, LinkPlan, RootfsPlan

APPLETS = (
    "sh true false ls cat id echo sleep mount umount ps stat hostname env pwd mkdir grep head wc tr dd readlink touch rm "
    "ln kill mknod chmod tty stty unshare ifconfig ip nslookup nc sysctl df printf mv cp sed sort cut tail"
).split()


def make_rootfs(directory: Path) -> Path:
    """A small image: busybox, users, groups."""
    for name in ("bin", "etc", "tmp", "root", "work"):
        (directory / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", directory / "bin/busybox")
    for name in APPLETS:
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000:Bob:/home/bob:/bin/sh\n", encoding="ascii"
    )
    (directory / "etc/group").write_text("root:x:0:\nwheel:x:10:root\nbob:x:1000:\nstaff:x:50:bob\n", encoding="ascii")
    return directory


@dataclass
class Result:
    """How it ended and what it said."""

    code: int
    out: str


@dataclass
class Box:
    """One container to be: change `spec` and the rest, then `run` or `start` it. `bare`: its root is `rootfs` itself."""

    rootfs: Path
    scratch: Path
    cgroup: Cgroup
    spec: Spec = field(default_factory=defaults.default_spec)
    user: str = ""
    groups: list[str] = field(default_factory=list)
    seccomp: bytes = b""
    seccomp_flags: int = 0
    links: list[LinkPlan] = field(default_factory=list)
    dns: bool = False
    init: bool = False
    preserve_fds: int = 0
    bare: bool = False
    running: list[Spawned] = field(default_factory=list)

    @property
    def process(self) -> Process:
        assert self.spec.process is not None
        return self.spec.process

    def mount(self, source: Path | str, destination: str, *options: str, type: str = "bind") -> None:
        words = list(options) or (["rbind"] if type == "bind" else [])
        self.spec.mounts.append(Mount(destination, type, str(source), words))

    def with_python(self) -> str:
        """Host's interpreter and libraries, read-only; returns what to run. For what busybox can't ask of the kernel."""
        for path in ("/usr", "/lib", "/lib64", sys.base_prefix):
            if os.path.exists(path) and not any(mount.destination == path for mount in self.spec.mounts):
                self.mount(os.path.realpath(path), path, "rbind", "ro")
        return f"{sys.base_prefix}/bin/python3"

    def python(self, script: str) -> Result:
        return self.run(self.with_python(), "-I", "-S", "-c", script)

    @property
    def upper(self) -> Path:
        return self.scratch / "upper"

    def plan(self, *args: str) -> InitPlan:
        for name in ("upper", "work"):
            (self.scratch / name).mkdir(exist_ok=True)
        self.process.args = list(args)
        return InitPlan(
            spec=self.spec,
            rootfs=RootfsPlan(path=str(self.rootfs))
            if self.bare
            else RootfsPlan(
                lower=[str(self.rootfs)], upper=str(self.scratch / "upper"), work=str(self.scratch / "work")
            ),
            links=self.links,
            user=self.user,
            groups=self.groups,
            seccomp=self.seccomp,
            seccomp_flags=self.seccomp_flags,
            dns=self.dns,
            init=self.init,
            preserve_fds=self.preserve_fds,
        )

    def start(
        self, *args: str, stdout: int = 1, stdin: int = 0, tty: bool = False, exec_fifo: int | None = None
    ) -> Spawned:
        plan = self.plan(*args)
        spawned = init.spawn(
            plan, stdio=(stdin, stdout, stdout), tty=tty, cgroup=self.cgroup, exec_fifo=exec_fifo, supervised=False
        )
        self.running.append(spawned)
        return spawned

    def run(self, *args: str, tty: bool = False) -> Result:
        """Start it and wait for its end; with a terminal what that shows is its output."""
        with _pipe() as (reader, writer), open(os.devnull, "rb") as null:
            spawned = self.start(*args, stdout=writer, stdin=null.fileno(), tty=tty)
            os.close(writer)
            out = read_all(spawned.console.fileno() if spawned.console else reader)
            return Result(self.wait(spawned), out)

    def sh(self, script: str, **options: bool) -> Result:
        return self.run("sh", "-c", script, **options)

    def exec(
        self, target: Spawned, *args: str, tty: bool = False, user: str = "", process: Process | None = None
    ) -> Result:
        """A process in the running `target`; waits for its end."""
        wanted = process or Process(
            args=list(args), env=list(self.process.env), capabilities=self.process.capabilities, cwd=self.process.cwd
        )
        with _pipe() as (reader, writer), open(os.devnull, "rb") as null:
            plan = ExecPlan(
                pid=target.pid,
                process=wanted,
                cgroup=self.cgroup,
                tty=tty,
                user=user,
                seccomp=self.seccomp,
                linux=self.spec.linux,
            )
            spawned = init.exec_in(plan, stdio=None if tty else (null.fileno(), writer, writer), supervised=False)
            self.running.append(spawned)
            os.close(writer)
            out = read_all(spawned.console.fileno() if spawned.console else reader)
            return Result(self.wait(spawned), out)

    @staticmethod
    def wait(spawned: Spawned) -> int:
        _, status = os.waitpid(spawned.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        self.cgroup.kill_all()
        for spawned in self.running:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(spawned.pid, 0)
            for fd in (spawned.pidfd, spawned.console, spawned.root, *spawned.dns_fds):
                if fd:
                    fd.close()
        self.cgroup.remove()


@contextlib.contextmanager
def box(rootfs: Path, scratch: Path, resources: Resources | None = None) -> Iterator[Box]:
    """A container of its own, and nothing of it afterwards."""
    scratch.mkdir(parents=True, exist_ok=True)
    parent = f"/onggi-box-{uuid.uuid4().hex[:8]}"
    made = Box(rootfs, scratch, cgroups.create(f"{parent}/one", resources or Resources()))
    try:
        yield made
    finally:
        made.end()
        cgroups.open(parent).remove()


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        for fd in (reader, writer):
            with contextlib.suppress(OSError):
                os.close(fd)


def read_all(fd: int) -> str:
    data = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
        while piece := os.read(fd, 1 << 16):
            data += piece
    return data.decode()


def pidfd_alive(spawned: Spawned) -> bool:
    with contextlib.suppress(ProcessLookupError):
        process.pidfd_send_signal(spawned.pidfd, 0)
        return True
    return False
