"""Resources in docker's words: checked as dockerd checks them, and turned into the runtime spec's."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from onggi.engine.config import Resources as DockerResources
from onggi.engine.config import ThrottleDevice, Ulimit, go_name
from onggi.errors import InvalidArgument
from onggi.kernel import cgroups
from onggi.kernel.cgroups.resources import BlockIO, Cpu, DeviceRule, Memory, Pids, Resources, WeightDevice
from onggi.kernel.cgroups.resources import ThrottleDevice as SpecThrottle
from onggi.oci.runtime import Rlimit
from onggi.sizes import memory_size

MINIMUM_MEMORY = 6 << 20
_MOST_CPUS = 8192
"""As the kernel's CONFIG_NR_CPUS may be at most."""
_THROTTLES = (
    ("blkio_device_read_bps", "BPS Block I/O read limit", "BPS read"),
    ("blkio_device_write_bps", "BPS Block I/O write limit", "BPS write"),
    ("blkio_device_read_iops", "IOPS Block read limit", "IOPS read"),
    ("blkio_device_write_iops", "IOPS Block write limit", "IOPS write"),
)


def check(host: DockerResources, *, update: bool = False) -> list[str]:
    """Warnings; what this kernel can't limit is dropped with one. Raises InvalidArgument in dockerd's words.

    Source of rules and texts: moby daemon/daemon_unix.go, verifyPlatformContainerResources.
    """
    warnings = _check_memory(host, update=update)
    warnings += _check_cpu(host)
    for field, text, available in (
        ("CPUs", host.cpuset_cpus, _list_of("/sys/devices/system/cpu/online")),
        ("memory nodes", host.cpuset_mems, _list_of("/sys/devices/system/node/online")),
    ):
        _check_set(field, text, available)
    return warnings + _check_block_io(host)


def _list_of(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "0"


def _check_set(field: str, text: str, available: str) -> None:
    if not text:
        return
    try:
        wanted = parse_set(text)
    except ValueError as error:
        raise InvalidArgument(
            f"Invalid value {text} for cpuset {'cpus' if field == 'CPUs' else 'mems'}: {error}"
        ) from None
    if not wanted <= parse_set(available):
        raise InvalidArgument(f"Requested {field} are not available - requested {text}, available: {available}")


def parse_set(text: str) -> set[int]:
    """`0-2,7` → numbers. Raises ValueError in the words of moby's pkg/parsers."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or int(last) < int(first):
            raise ValueError(f"invalid format: {text}")
        if int(last) > _MOST_CPUS:
            raise ValueError(f"value of out range, maximum is {_MOST_CPUS}")
        found |= set(range(int(first), int(last) + 1))
    return found


def _check_memory(host: DockerResources, *, update: bool) -> list[str]:
    can, warnings = cgroups.abilities(), []
    host.memory_swappiness = None if host.memory_swappiness == -1 else host.memory_swappiness
    if host.memory and host.memory < MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if host.memory > 0 and host.memory_swap != -1 and "swap" not in can:
        warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
        )
        host.memory_swap = -1
    if host.memory and 0 < host.memory_swap < host.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not host.memory and host.memory_swap > 0 and not update:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory_swappiness is not None and "swappiness" not in can:
        warnings.append(_lacks("memory swappiness capabilities", "Memory swappiness"))
        host.memory_swappiness = None
    if host.memory_swappiness is not None and not 0 <= host.memory_swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    if 0 < host.memory_reservation < MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if host.memory and host.memory < host.memory_reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.oom_kill_disable is not None and "oom_kill_disable" not in can:
        if host.oom_kill_disable:
            warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        host.oom_kill_disable = None
    if host.oom_kill_disable and not host.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
        )
    return warnings


def _lacks(what: str, dropped: str) -> str:
    return f"Your kernel does not support {what} or the cgroup is not mounted. {dropped} discarded."


def _check_cpu(host: DockerResources) -> list[str]:
    if host.nano_cpus > 0 and host.cpu_period > 0:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.nano_cpus > 0 and host.cpu_quota > 0:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if not 0 <= host.nano_cpus <= (os.cpu_count() or 1) * 10**9:
        cpus = os.cpu_count() or 1
        raise InvalidArgument(f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    if host.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.cpu_realtime_period and host.cpu_realtime_runtime > host.cpu_realtime_period:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")
    if host.cpu_percent > 0:
        host.cpu_percent = 0
        return ["linux does not support CPU percent. Percent discarded."]
    return []


def _check_block_io(host: DockerResources) -> list[str]:
    can, warnings = cgroups.abilities(), []
    if host.blkio_weight and "blkio_weight" not in can:
        warnings.append(_lacks("Block I/O weight", "Weight"))
        host.blkio_weight = 0
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if host.io_maximum_iops:
        raise InvalidArgument("invalid option: QoS maximum IOPs configuration is not supported on linux")
    if host.io_maximum_bandwidth:
        raise InvalidArgument("invalid option: QoS maximum bandwidth configuration is not supported on linux")
    if host.blkio_weight_device and "blkio_weight_device" not in can:
        warnings.append(_lacks("Block I/O weight_device", "Weight-device"))
        host.blkio_weight_device = []
    for name, what, dropped in _THROTTLES:
        entries = getattr(host, name) or ()
        if any(entry.rate < 0 for entry in entries):
            raise InvalidArgument(f"invalid JSON: {go_name(name)}: a rate can't be negative")
        if entries and "blkio_throttle" not in can:
            warnings.append(_lacks(what, f"Block I/O {dropped} limit"))
            setattr(host, name, [])
    return warnings


def to_spec(host: DockerResources, *, devices: list[DeviceRule]) -> Resources:
    """The runtime spec's resources. Raises InvalidArgument for a device that isn't there."""
    memory = None
    if (
        host.memory
        or host.memory_swap
        or host.memory_reservation
        or host.memory_swappiness not in (None, -1)
        or host.oom_kill_disable
    ):
        # Docker: swap as much as memory when nothing is said.
        swap = max(-1, host.memory_swap) or (host.memory * 2 if host.memory else None)
        memory = Memory(
            limit=host.memory or None,
            swap=swap,
            reservation=host.memory_reservation if host.memory_reservation > 0 else None,
            swappiness=None if host.memory_swappiness == -1 else host.memory_swappiness,
            disable_oom_killer=bool(host.oom_kill_disable),
        )
    period, quota = host.cpu_period or None, host.cpu_quota or None
    if host.nano_cpus:
        period, quota = 100_000, host.nano_cpus * 100_000 // 10**9
    cpu = Cpu(
        shares=host.cpu_shares or None,
        period=period,
        quota=quota,
        realtime_period=host.cpu_realtime_period or None,
        realtime_runtime=host.cpu_realtime_runtime or None,
        cpus=host.cpuset_cpus,
        mems=host.cpuset_mems,
    )
    return Resources(
        devices=devices,
        memory=memory,
        cpu=cpu if cpu != Cpu() else None,
        pids=Pids(host.pids_limit) if host.pids_limit else None,
        block_io=_block_io(host),
    )


def _device_numbers(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"stat {path}: {(error.strerror or '').lower()}") from None
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f"{path} is no block device")
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def _throttles(entries: list[ThrottleDevice] | None) -> list[SpecThrottle]:
    return [SpecThrottle(*_device_numbers(entry.path), entry.rate) for entry in entries or ()]


def _block_io(host: DockerResources) -> BlockIO | None:
    block = BlockIO(
        weight=host.blkio_weight or None,
        weight_device=[
            WeightDevice(*_device_numbers(entry.path), entry.weight) for entry in host.blkio_weight_device or ()
        ],
        throttle_read_bps_device=_throttles(host.blkio_device_read_bps),
        throttle_write_bps_device=_throttles(host.blkio_device_write_bps),
        throttle_read_iops_device=_throttles(host.blkio_device_read_iops),
        throttle_write_iops_device=_throttles(host.blkio_device_write_iops),
    )
    return None if block == BlockIO() else block


def disk_bytes(options: Mapping[str, str] | None, *, are_possible: bool) -> int:
    """What --storage-opt lets a container write, 0 for no limit. Raises InvalidArgument in dockerd's words."""
    size = 0
    for key, text in (options or {}).items():
        if key.lower() != "size":
            raise InvalidArgument(f"Unknown option {key}")
        if not are_possible:
            raise InvalidArgument(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option (or ext4 with 'prjquota')"
            )
        size = memory_size(text)
        if size <= 0:
            raise InvalidArgument(f"invalid size: '{text}'")
    return size


def rlimits(ulimits: list[Ulimit] | None) -> list[Rlimit]:
    """Raises InvalidArgument for a name that no kernel has."""
    from onggi.kernel.process import RLIMITS

    found = []
    for limit in ulimits or ():
        name = f"RLIMIT_{limit.name.upper()}"
        if name not in RLIMITS:
            raise InvalidArgument(f"invalid ulimit type: {limit.name}")
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidArgument(
                f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
            )
        found.append(Rlimit(name, limit.hard % 2**64, limit.soft % 2**64))
    return found


def parse_device_rule(text: str) -> DeviceRule:
    """--device-cgroup-rule `c 1:3 rwm`. Raises InvalidArgument."""
    words = text.split()
    if len(words) != 3 or words[0] not in "acb" or ":" not in words[1] or not set(words[2]) <= set("rwm"):
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    numbers = [None if part == "*" else part for part in words[1].split(":")]
    if any(part is not None and not part.isdigit() for part in numbers):
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    major, minor = (None if part is None else int(part) for part in numbers)
    return DeviceRule(allow=True, type=words[0], major=major, minor=minor, access=words[2])
