"""cgroup v1: one directory in each hierarchy. Source: Documentation/admin-guide/cgroup-v1/."""

from __future__ import annotations

import _signal as signal  # lean.py
import contextlib
import errno
import functools
import os
import time
from typing import Self

from onggi.kernel import process
from onggi.kernel.cgroups import files, hybrid
from onggi.kernel.cgroups.face import BlockEntry, CgroupStats
from onggi.kernel.cgroups.resources import (
    BlockIO,
    Cpu,
    DeviceRule,
    Memory,
    Network,
    Rdma,
    Resources,
    ThrottleDevice,
)

_CONTROLLERS = frozenset(
    {
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "freezer",
        "devices",
        "net_cls",
        "net_prio",
        "hugetlb",
        "perf_event",
        "rdma",
    }
)


@functools.cache
def mounted_hierarchies() -> dict[str, str]:
    """Controller → mount point of its hierarchy; `name=systemd` under that name. From /proc/self/mountinfo."""
    found: dict[str, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            fstype, _, options = right.split()[:3]
            if fstype != "cgroup":
                continue
            target = left.split()[4]
            for word in options.split(","):
                if word in _CONTROLLERS or word.startswith("name="):
                    found.setdefault(word, target)
    return found


class CgroupV1:
    """`path` below the root of every mounted hierarchy."""

    unified = False

    def __init__(self, path: str, hierarchies: dict[str, str], below: dict[str, str] | None = None) -> None:
        """`below`: controller → directory, where it is another one than `path`."""
        self.path, self._hierarchies = path, hierarchies
        self._by_controller = {name: f"{mount}/{path}" for name, mount in hierarchies.items()} | (below or {})
        self._directories = list(dict.fromkeys(self._by_controller.values()))

    @property
    def directories(self) -> list[str]:
        """One in each hierarchy."""
        return self._directories

    def exists(self) -> bool:
        return any(map(os.path.isdir, self._directories))

    def make(self) -> None:
        cpuset = self._by_controller.get("cpuset")
        for directory in self._directories:
            try:
                os.mkdir(directory, 0o755)
            except FileExistsError:
                continue
            except FileNotFoundError:
                os.makedirs(directory, 0o755, exist_ok=True)
                if directory == cpuset:
                    self._inherit_cpuset(os.path.dirname(directory))
        if cpuset:
            self._inherit_cpuset(cpuset)

    @staticmethod
    def _inherit_cpuset(directory: str) -> None:
        """A new cpuset is empty, and takes no process until it has CPUs and memory nodes: those of its parent."""
        parent = os.path.dirname(directory)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not files.read(f"{directory}/{name}").strip():
                value = files.read(f"{parent}/{name}").strip()
                if not value and os.path.exists(f"{os.path.dirname(parent)}/{name}"):
                    CgroupV1._inherit_cpuset(parent)
                    value = files.read(f"{parent}/{name}").strip()
                files.write(f"{directory}/{name}", value)

    def _write(self, controller: str, name: str, value: str | int) -> None:
        directory = self._by_controller.get(controller)
        if directory is None:
            raise OSError(errno.ENOENT, f"cgroup: this machine has no {controller} controller")
        files.write(f"{directory}/{controller}.{name}", value)

    def apply(self, resources: Resources) -> None:
        if resources.devices:
            self._devices(resources.devices)
        if resources.memory:
            self._memory(resources.memory)
        if resources.cpu:
            self._cpu(resources.cpu)
        if resources.pids:
            limit = resources.pids.limit
            if limit is not None:
                self._write("pids", "max", limit if limit >= 0 else "max")
        if resources.block_io:
            self._block_io(resources.block_io)
        for page in resources.hugepage_limits:
            self._huge_pages(page.page_size, page.limit)
        if resources.network:
            self._network(resources.network)
        for device, limits in resources.rdma.items():
            self._write("rdma", "max", rdma_line(device, limits))
        if resources.unified:
            raise OSError(errno.EINVAL, "unified resources are cgroup v2's, and this machine has v1")

    def _huge_pages(self, size: str, limit: int) -> None:
        """In the v2 hierarchy where the controller is there: the group is made for it, and its processes follow (add)."""
        own = self._by_controller.get("hugetlb")
        if own is not None or not hybrid.mount_with("hugetlb"):
            self._write("hugetlb", f"{size}.limit_in_bytes", limit)
            if os.path.exists(f"{own}/hugetlb.{size}.rsvd.limit_in_bytes"):
                self._write("hugetlb", f"{size}.rsvd.limit_in_bytes", limit)
            return
        directory = hybrid.make(self.path, "hugetlb")
        self._directories = [*dict.fromkeys((*self._directories, directory))]
        files.write(f"{directory}/hugetlb.{size}.max", limit)

    def _devices(self, rules: list[DeviceRule]) -> None:
        for rule in rules:
            major, minor = ("*" if n is None or n < 0 else str(n) for n in (rule.major, rule.minor))
            text = "a" if rule.type == "a" and major == minor == "*" else f"{rule.type} {major}:{minor} {rule.access}"
            self._write("devices", "allow" if rule.allow else "deny", text)

    def _memory(self, memory: Memory) -> None:
        """The kernel refuses a limit above memory+swap and a memory+swap below the limit: raise the upper one first."""
        base = self._by_controller.get("memory", "")
        if memory.check_before_update and memory.limit is not None:
            check_usage(memory.limit, f"{base}/memory.usage_in_bytes")
        if memory.use_hierarchy is not None and files.number(f"{base}/memory.use_hierarchy") != memory.use_hierarchy:
            self._write("memory", "use_hierarchy", int(memory.use_hierarchy))
        limit, swap = memory.limit, memory.swap
        has_swap = os.path.exists(f"{base}/memory.memsw.limit_in_bytes")
        if limit is not None and swap is not None and has_swap:
            current = files.number(f"{base}/memory.limit_in_bytes")
            order = [("memsw.limit_in_bytes", swap), ("limit_in_bytes", limit)]
            for name, value in order if swap < 0 or current < swap else reversed(order):
                self._write("memory", name, value)
        elif limit is not None:
            self._limit(limit)
        elif swap is not None and has_swap:
            self._write("memory", "memsw.limit_in_bytes", swap)
        if memory.reservation is not None:
            self._write("memory", "soft_limit_in_bytes", memory.reservation)
        if memory.swappiness is not None:
            self._write("memory", "swappiness", memory.swappiness)
        if memory.disable_oom_killer:
            self._write("memory", "oom_control", 1)
        if memory.kernel_tcp is not None:
            self._write("memory", "kmem.tcp.limit_in_bytes", memory.kernel_tcp)

    def _limit(self, limit: int) -> None:
        try:
            self._write("memory", "limit_in_bytes", limit)
        except OSError as error:
            if error.errno == errno.EBUSY:
                usage = files.number(f"{self._by_controller['memory']}/memory.usage_in_bytes")
                raise OSError(errno.EBUSY, f"unable to set memory limit to {limit} (current usage: {usage})") from None
            raise

    def _cpu(self, cpu: Cpu) -> None:
        self._period(cpu)
        for name, value in (("shares", cpu.shares), ("cfs_burst_us", cpu.burst), ("rt_period_us", cpu.realtime_period),
                            ("rt_runtime_us", cpu.realtime_runtime), ("idle", cpu.idle)):  # fmt: skip
            if value:
                self._write("cpu", name, value)
        if cpu.cpus:
            self._write("cpuset", "cpus", cpu.cpus)
        if cpu.mems:
            self._write("cpuset", "mems", cpu.mems)

    def _period(self, cpu: Cpu) -> None:
        """The kernel refuses a period whose quota would be more than the parent's share: then the quota goes first."""
        steps = [(name, value) for name, value in (("cfs_period_us", cpu.period), ("cfs_quota_us", cpu.quota)) if value]
        try:
            for name, value in steps:
                self._write("cpu", name, value)
        except OSError as error:
            if error.errno != errno.EINVAL or len(steps) < 2:
                raise
            for name, value in reversed(steps):
                self._write("cpu", name, value)

    def _network(self, network: Network) -> None:
        if network.class_id is not None:
            self._write("net_cls", "classid", network.class_id)
        for interface in network.priorities:
            self._write("net_prio", "ifpriomap", f"{interface.name} {interface.priority}")

    def _block_io(self, block: BlockIO) -> None:
        base = self._by_controller.get("blkio", "")
        prefix = "bfq." if os.path.exists(f"{base}/blkio.bfq.weight") else ""
        if block.weight:
            self._write("blkio", f"{prefix}weight", block.weight)
        if block.leaf_weight:
            self._write("blkio", f"{prefix}leaf_weight", block.leaf_weight)
        for device in block.weight_device:
            numbers = f"{device.major}:{device.minor}"
            if device.weight:
                self._write("blkio", f"{prefix}weight_device", f"{numbers} {device.weight}")
            if device.leaf_weight:
                self._write("blkio", f"{prefix}leaf_weight_device", f"{numbers} {device.leaf_weight}")
        rates: tuple[tuple[str, list[ThrottleDevice]], ...] = (
            ("read_bps_device", block.throttle_read_bps_device), ("write_bps_device", block.throttle_write_bps_device),
            ("read_iops_device", block.throttle_read_iops_device), ("write_iops_device", block.throttle_write_iops_device),
        )  # fmt: skip
        for name, devices in rates:
            for rate in devices:
                self._write("blkio", f"throttle.{name}", f"{rate.major}:{rate.minor} {rate.rate}")

    def below(self, path: str, controllers: list[str]) -> Self:
        there = {
            name: f"{directory}/{path}"
            for name, directory in self._by_controller.items()
            if (name in controllers or not controllers) and os.path.isdir(f"{directory}/{path}")
        }
        if not there or any(name not in there for name in controllers):
            raise OSError(errno.ENOENT, f"cgroup {path!r}: no such group below the container's")
        return type(self)(self.path, self._hierarchies, there)

    def hands_down(self) -> bool:
        return False

    def add(self, pid: int) -> None:
        """0 is the calling process, in any pid namespace."""
        for directory in self._directories:
            files.write(f"{directory}/cgroup.procs", pid)

    def clone_fd(self) -> int | None:
        return None

    def view(self) -> dict[str, str]:
        """By the mount's own name, which for joined controllers is `cpu,cpuacct`."""
        found = {}
        for name, directory in self._by_controller.items():
            mount = directory[: -len(self.path) - 1]
            found[os.path.basename(mount) if not name.startswith("name=") else name.removeprefix("name=")] = directory
        return found

    def pids(self) -> list[int]:
        return files.tree_pids(self._main())

    def _main(self) -> str:
        """The directory that is asked who belongs to the group: the freezer's, since only it can stop all of them."""
        return self._by_controller.get("freezer") or self._directories[0]

    def freeze(self) -> None:
        self._freezer("FROZEN")

    def thaw(self) -> None:
        self._freezer("THAWED")

    def is_frozen(self) -> bool:
        return files.read(f"{self._by_controller.get('freezer', '')}/freezer.state").strip() in {"FROZEN", "FREEZING"}

    def _freezer(self, state: str) -> None:
        """FREEZING until the last task has stopped; a task that is born meanwhile needs the write again (runc does so)."""
        path = f"{self._by_controller['freezer']}/freezer.state"
        end = time.monotonic() + 10
        while True:
            files.write(path, state)
            for _ in range(25):
                if files.read(path).strip() == state:
                    return
                time.sleep(0.0005)
            if time.monotonic() > end:
                files.write(path, "THAWED")
                raise OSError(errno.ETIMEDOUT, f"freezer: not {state} after 10 s")

    def kill_all(self) -> None:
        """Frozen first when more than one try is needed: a fork bomb is quicker than a loop of signals."""
        end, tries = time.monotonic() + 5, 0
        while pids := self.pids():
            frozen = tries > 0 and "freezer" in self._by_controller
            if frozen:
                with contextlib.suppress(OSError):
                    self.freeze()
                    pids = self.pids()
            for pid in pids:
                _kill(pid)
            if frozen:
                with contextlib.suppress(FileNotFoundError):
                    # Somebody else, who kills it too, has removed it meanwhile.
                    self.thaw()
            if time.monotonic() > end:
                return
            tries += 1
            time.sleep(0.0005 * min(tries, 20))

    def oom_kills(self) -> int:
        return files.pairs(f"{self._by_controller.get('memory', '')}/memory.oom_control").get("oom_kill", 0)

    def memory_peak(self) -> int:
        return files.number(f"{self._by_controller.get('memory', '')}/memory.max_usage_in_bytes")

    def oom_events(self) -> int | None:
        """An eventfd (cgroup-v1/memory.rst, "OOM Control"). It is told before the kill is counted."""
        memory = self._by_controller.get("memory", "")
        try:
            control = os.open(f"{memory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        events = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            files.write(f"{memory}/cgroup.event_control", f"{events} {control}")
        except OSError:
            os.close(events)
            raise
        finally:
            os.close(control)
        return events

    def stats(self) -> CgroupStats:
        where = self._by_controller.get
        cpu, account, memory, pids, block = (where(name, "") for name in ("cpu", "cpuacct", "memory", "pids", "blkio"))
        usage = files.read(f"{account}/cpuacct.usage_percpu").split()
        modes, throttling = _modes(account), files.pairs(f"{cpu}/cpu.stat")
        return CgroupStats(
            cpu_total_ns=files.number(f"{account}/cpuacct.usage"),
            cpu_user_ns=modes[0],
            cpu_system_ns=modes[1],
            percpu_ns=[int(value) for value in usage],
            periods=throttling.get("nr_periods", 0),
            throttled_periods=throttling.get("nr_throttled", 0),
            throttled_ns=throttling.get("throttled_time", 0),
            memory_usage=files.number(f"{memory}/memory.usage_in_bytes"),
            memory_max_usage=files.number(f"{memory}/memory.max_usage_in_bytes"),
            memory_failures=files.number(f"{memory}/memory.failcnt"),
            memory_limit=files.number(f"{memory}/memory.limit_in_bytes"),
            memory_detail=files.pairs(f"{memory}/memory.stat"),
            pids_current=files.number(f"{pids}/pids.current"),
            pids_limit=files.number(f"{pids}/pids.max"),
            block_bytes=_block(f"{block}/blkio.throttle.io_service_bytes_recursive"),
            block_operations=_block(f"{block}/blkio.throttle.io_serviced_recursive"),
        )

    def remove(self) -> None:
        beside = hybrid.existing(self.path, "hugetlb")
        for directory in dict.fromkeys((*self._directories, *beside)):
            files.remove_tree(directory)
        if beside:
            hybrid.release("hugetlb")


def check_usage(limit: int, path: str) -> None:
    """Raises OSError EBUSY when more than `limit` is used already: the kernel would kill for it."""
    used = files.number(path)
    if 0 <= limit < used:
        raise OSError(errno.EBUSY, f"unable to set memory limit to {limit} (current usage: {used})")


def rdma_line(device: str, limits: Rdma) -> str:
    """Of rdma.max, alike in both versions (cgroup-v1/rdma.rst)."""
    handles, objects = ("max" if n is None else n for n in (limits.hca_handles, limits.hca_objects))
    return f"{device} hca_handle={handles} hca_object={objects}"


def _kill(pid: int) -> None:
    """By pidfd, opened while the process was in the group: a number that has been given away in between is not hit."""
    with contextlib.suppress(OSError), process.pidfd_open(pid) as pidfd:
        process.pidfd_send_signal(pidfd, signal.SIGKILL)


def _modes(account: str) -> tuple[int, int]:
    """(user, system) in ns: cpuacct.usage_user and _sys, exact where cpuacct.stat counts ticks."""
    return files.number(f"{account}/cpuacct.usage_user"), files.number(f"{account}/cpuacct.usage_sys")


def _block(path: str) -> list[BlockEntry]:
    found = []
    for line in files.read(path).splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            found.append(BlockEntry(int(major), int(minor), words[1], int(words[2])))
    return found
