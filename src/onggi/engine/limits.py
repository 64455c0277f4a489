"""Resources in docker's words: checked as dockerd checks them, and turned into the runtime spec's."""

from __future__ import annotations

import os
import stat

from onggi.engine.config import Resources as DockerResources
from onggi.engine.config import ThrottleDevice, Ulimit
from onggi.errors import InvalidArgument
from onggi.kernel.cgroups.resources import BlockIO, Cpu, DeviceRule, Memory, Pids, Resources, WeightDevice
from onggi.kernel.cgroups.resources import ThrottleDevice as SpecThrottle
from onggi.oci.runtime import Rlimit

MINIMUM_MEMORY = 6 << 20


def check(host: DockerResources) -> list[str]:
    """Warnings. Raises InvalidArgument in dockerd's words (daemon/daemon_unix.go)."""
    _check_memory(host)
    _check_cpu(host)
    if host.pids_limit is not None and host.pids_limit < -1:
        raise InvalidArgument("pids limit can not be less than -1")
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if host.memory_swappiness is not None and host.memory_swappiness != -1 and not 0 <= host.memory_swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    for field, text, available in (
        ("CPUs", host.cpuset_cpus, _list_of("/sys/devices/system/cpu/online")),
        ("memory nodes", host.cpuset_mems, _list_of("/sys/devices/system/node/online")),
    ):
        _check_set(field, text, available)
    warnings = []
    if host.oom_kill_disable and not host.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
        )
    return warnings


def _list_of(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "0"


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _check_set(field: str, text: str, available: str) -> None:
    if not text:
        return
    try:
        wanted = _numbers(text[:4096])
    except ValueError:
        raise InvalidArgument(f"Invalid value {text} for cpuset {'cpus' if field == 'CPUs' else 'mems'}") from None
    if not wanted <= _numbers(available):
        raise InvalidArgument(f"Requested {field} are not available - requested {text}, available: {available}")


def _check_memory(host: DockerResources) -> None:
    if host.memory and 0 < host.memory < MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if host.memory < 0:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if host.memory and 0 < host.memory_swap < host.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not host.memory and host.memory_swap > 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory_reservation and 0 < host.memory_reservation < MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if host.memory and host.memory_reservation and host.memory < host.memory_reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_cpu(host: DockerResources) -> None:
    if host.nano_cpus and (host.cpu_period or host.cpu_quota):
        name = "CPU Period" if host.cpu_period else "CPU Quota"
        raise InvalidArgument(f"Conflicting options: Nano CPUs and {name} cannot both be set")
    if host.nano_cpus < 0 or host.nano_cpus > (os.cpu_count() or 1) * 10**9:
        cpus = os.cpu_count() or 1
        raise InvalidArgument(f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for text, kind in ((host.cpuset_cpus, "cpu"), (host.cpuset_mems, "memory node")):
        if text and not all(part.replace("-", "", 1).isdigit() for part in text.split(",")):
            raise InvalidArgument(f"Invalid value {text} for cpuset {'cpus' if kind == 'cpu' else 'mems'}")


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
        swap = host.memory_swap or (host.memory * 2 if host.memory else None)
        memory = Memory(
            limit=host.memory or None,
            swap=swap,
            reservation=host.memory_reservation or None,
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
        raise InvalidArgument(
            f"error gathering device information while adding custom device {path!r}: {error.strerror}"
        ) from None
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
