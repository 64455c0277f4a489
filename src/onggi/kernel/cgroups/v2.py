"""cgroup v2: one directory in the unified hierarchy. Source: Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from typing import Self

from onggi.kernel.cgroups import devices, files
from onggi.kernel.cgroups.face import BlockEntry, CgroupStats
from onggi.kernel.cgroups.resources import BlockIO, Cpu, Memory, Resources
from onggi.kernel.cgroups.v1 import _kill, check_usage, rdma_line
from onggi.kernel.namespaces import is_rootless

_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb", "rdma")


def weight_of_shares(shares: int) -> int:
    """2–262144 shares as a weight of 1–10000; 1024, the default, is 100, which is v2's: runc since 1.3.2, crun since 1.24.

    The straight line that the spec had before (KEP-2254) gave the default 39: half of what anything else on the host has.
    """
    if shares <= 2:
        return 0 if not shares else 1
    if shares >= 262144:
        return 10000
    import math  # which a start on v1 does without

    power = math.log2(shares)
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


class CgroupV2:
    """The directory `path`."""

    unified = True

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    def exists(self) -> bool:
        return os.path.isdir(self.path)

    def make(self) -> None:
        """Controllers are handed down from the root to the parent; a leaf that holds processes hands nothing on."""
        root = "/sys/fs/cgroup"
        below = os.path.relpath(self.path, root).split("/")
        current = root
        for name in below:
            self._delegate(current)
            current = f"{current}/{name}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(current, 0o755)

    @staticmethod
    def _delegate(directory: str) -> None:
        available = set(files.read(f"{directory}/cgroup.controllers").split())
        enabled = set(files.read(f"{directory}/cgroup.subtree_control").split())
        for name in _CONTROLLERS:
            if name in available and name not in enabled:
                # One at a time: a controller that is refused (EBUSY) must not keep the others away.
                with contextlib.suppress(OSError):
                    files.write(f"{directory}/cgroup.subtree_control", f"+{name}")

    def _write(self, name: str, value: str | int) -> None:
        files.write(f"{self.path}/{name}", value)

    def apply(self, resources: Resources) -> None:
        if resources.devices and not is_rootless():  # who has no rights on the host gets no devices by path either
            devices.set_filter(self.path, resources.devices)
        if resources.memory:
            self._memory(resources.memory)
        if resources.cpu:
            self._cpu(resources.cpu)
        if resources.pids and resources.pids.limit is not None:
            self._write("pids.max", resources.pids.limit if resources.pids.limit >= 0 else "max")
        if resources.block_io:
            self._io(resources.block_io)
        for page in resources.hugepage_limits:
            self._write(f"hugetlb.{page.page_size}.max", page.limit)
            if os.path.exists(f"{self.path}/hugetlb.{page.page_size}.rsvd.max"):
                self._write(f"hugetlb.{page.page_size}.rsvd.max", page.limit)
        if resources.network:
            raise OSError(errno.EINVAL, "network classes and priorities are cgroup v1's, and this machine has v2")
        for device, limits in resources.rdma.items():
            self._write("rdma.max", rdma_line(device, limits))
        for name, value in resources.unified.items():
            if "/" in name:
                raise OSError(errno.EINVAL, f"unified resource {name!r} must be a file name")
            try:
                self._write(name, value)
            except FileNotFoundError:
                controller = name.partition(".")[0]
                text = f"unified resource {name!r} can't be set: controller {controller!r} not available"
                raise OSError(errno.ENOENT, text) from None

    def _memory(self, memory: Memory) -> None:
        def text(value: int) -> str | int:
            return "max" if value < 0 else value

        if memory.check_before_update and memory.limit is not None:
            check_usage(memory.limit, f"{self.path}/memory.current")
        if memory.swap is not None and os.path.exists(f"{self.path}/memory.swap.max"):
            # v1's sum of both becomes swap alone; 0 with a limit of -1 stands for nothing said.
            if memory.swap < 0:
                self._write("memory.swap.max", "max")
            elif memory.limit is not None and memory.limit >= 0:
                if memory.swap < memory.limit:
                    raise OSError(errno.EINVAL, "memory+swap limit should be >= memory limit")
                self._write("memory.swap.max", memory.swap - memory.limit)
            elif memory.swap > 0:
                raise OSError(errno.EINVAL, "unable to set swap limit without memory limit")
        if memory.limit is not None:
            self._write("memory.max", text(memory.limit))
        if memory.reservation is not None:
            self._write("memory.low", text(memory.reservation))

    def _cpu(self, cpu: Cpu) -> None:
        if cpu.shares:
            self._write("cpu.weight", weight_of_shares(cpu.shares))
        if cpu.quota or cpu.period:
            quota = cpu.quota if cpu.quota and cpu.quota > 0 else "max"
            self._write("cpu.max", f"{quota} {cpu.period or 100000}")
        if cpu.burst:
            self._write("cpu.max.burst", cpu.burst)
        if cpu.idle is not None:
            self._write("cpu.idle", cpu.idle)
        if cpu.cpus:
            self._write("cpuset.cpus", cpu.cpus)
        if cpu.mems:
            self._write("cpuset.mems", cpu.mems)

    def _io(self, block: BlockIO) -> None:
        # BFQ takes the weight as it is; io.cost has another scale, 1 to 10000. A kernel with neither can't weigh.
        bfq, cost = (os.path.exists(f"{self.path}/{name}") for name in ("io.bfq.weight", "io.weight"))
        weights = [("default", block.weight)] if block.weight else []
        weights += [(f"{one.major}:{one.minor}", one.weight) for one in block.weight_device if one.weight]
        for whose, weight in weights if bfq or cost else ():
            if bfq:
                self._write("io.bfq.weight", f"{whose} {weight}")
            else:
                self._write("io.weight", f"{whose} {1 + (weight - 10) * 9999 // 990}")
        for key, throttled in (("rbps", block.throttle_read_bps_device), ("wbps", block.throttle_write_bps_device),
                               ("riops", block.throttle_read_iops_device), ("wiops", block.throttle_write_iops_device)):  # fmt: skip
            for rate in throttled:
                self._write("io.max", f"{rate.major}:{rate.minor} {key}={rate.rate or 'max'}")

    def below(self, path: str, controllers: list[str]) -> Self:
        if controllers:
            raise OSError(errno.EINVAL, f"cgroup {path!r}: there are no controllers to choose from on cgroup v2")
        if not os.path.isdir(f"{self.path}/{path}"):
            raise OSError(errno.ENOENT, f"cgroup {path!r}: no such group below the container's")
        return type(self)(f"{self.path}/{path}")

    def hands_down(self) -> bool:
        return bool(files.read(f"{self.path}/cgroup.subtree_control").strip())

    def add(self, pid: int) -> None:
        self._write("cgroup.procs", pid)

    def clone_fd(self) -> int | None:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._fd

    def view(self) -> dict[str, str]:
        return {}

    def pids(self) -> list[int]:
        return files.tree_pids(self.path)

    def freeze(self) -> None:
        self._freeze(1)

    def thaw(self) -> None:
        self._freeze(0)

    def is_frozen(self) -> bool:
        return files.read(f"{self.path}/cgroup.freeze").strip() == "1"

    def _freeze(self, on: int) -> None:
        """cgroup.events is notified when the state is reached (POLLPRI)."""
        self._write("cgroup.freeze", on)
        fd = os.open(f"{self.path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            end = time.monotonic() + 10
            while f"frozen {on}" not in os.pread(fd, 4096, 0).decode():
                if not poll.poll(max(0, end - time.monotonic()) * 1000):
                    self._write("cgroup.freeze", 0)
                    raise OSError(errno.ETIMEDOUT, "cgroup.freeze: not reached after 10 s")
        finally:
            os.close(fd)

    def kill_all(self) -> None:
        """cgroup.kill (Linux 5.14) reaches all at once; older kernels: frozen, each killed, thawed."""
        end, tries = time.monotonic() + 5, 0
        while (pids := self.pids()) and time.monotonic() < end:
            try:
                self._write("cgroup.kill", 1)
            except OSError:
                with contextlib.suppress(OSError):
                    self.freeze()
                for pid in pids:
                    _kill(pid)
                with contextlib.suppress(OSError):
                    self.thaw()
            tries += 1
            time.sleep(0.0005 * min(tries, 20))

    def oom_kills(self) -> int:
        return files.pairs(f"{self.path}/memory.events").get("oom_kill", 0)

    def memory_peak(self) -> int:
        return files.number(f"{self.path}/memory.peak")

    def oom_events(self) -> int | None:
        """memory.events itself: POLLPRI at each change (cgroup-v2.rst)."""
        try:
            return os.open(f"{self.path}/memory.events", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None

    def stats(self) -> CgroupStats:
        cpu = files.pairs(f"{self.path}/cpu.stat")
        return CgroupStats(
            cpu_total_ns=cpu.get("usage_usec", 0) * 1000,
            cpu_user_ns=cpu.get("user_usec", 0) * 1000,
            cpu_system_ns=cpu.get("system_usec", 0) * 1000,
            periods=cpu.get("nr_periods", 0),
            throttled_periods=cpu.get("nr_throttled", 0),
            throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            memory_usage=files.number(f"{self.path}/memory.current"),
            memory_max_usage=files.number(f"{self.path}/memory.peak"),
            memory_failures=files.pairs(f"{self.path}/memory.events").get("oom", 0),
            memory_limit=files.number(f"{self.path}/memory.max"),
            memory_detail=files.pairs(f"{self.path}/memory.stat"),
            pids_current=files.number(f"{self.path}/pids.current"),
            pids_limit=files.number(f"{self.path}/pids.max"),
            block_bytes=_io_stat(f"{self.path}/io.stat"),
        )

    def remove(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        files.remove_tree(self.path)


def _io_stat(path: str) -> list[BlockEntry]:
    """Lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`; docker tells of the bytes alone."""
    found: list[BlockEntry] = []
    for line in files.read(path).splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        values = dict(word.partition("=")[::2] for word in words)
        for op, name in (("read", "rbytes"), ("write", "wbytes")):
            found.append(BlockEntry(int(major), int(minor), op, int(values.get(name, 0))))
    return found
