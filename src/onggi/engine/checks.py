"""What dockerd says at create to a config that can't be carried out, and what it fills in where nothing was said.

Pure but for the machine's CPUs. What only a start can find out (a network that isn't there) is the start's error.
"""

from __future__ import annotations

import ipaddress
import os

import msgspec

from onggi.engine import health, limits, logconfig, restart
from onggi.engine.config import ContainerConfig, HostConfig
from onggi.engine.files import EMBEDDED_DNS
from onggi.engine.signals import signal_number
from onggi.errors import InvalidArgument
from onggi.kernel import capabilities, cgroups
from onggi.runtime import defaults

RUNTIME = "onggi-runtime"
_RUNTIMES = frozenset({"", RUNTIME, "runc", "io.containerd.runc.v2"})
"""There is one; clients that name docker's mean it."""
_SECURITY_OPTIONS = frozenset("no-new-privileges apparmor seccomp label systempaths writable-cgroups".split())
_SHM_BYTES = 64 << 20


def check(config: ContainerConfig, host: HostConfig, log_driver: str, log_options: dict[str, str]) -> list[str]:
    """Warnings; fills in what docker fills in. Raises InvalidArgument in dockerd's words."""
    warnings = limits.check(host)
    restart.check(host.restart_policy, auto_remove=host.auto_remove)
    health.check(config.healthcheck)
    if config.stop_signal:
        signal_number(config.stop_signal)
    if not host.log_config.type:
        host.log_config = msgspec.structs.replace(
            host.log_config, type=log_driver, config=log_options | host.log_config.config
        )
    logconfig.check(host.log_config)
    _check_platform_words(host)
    warnings += _network(host)
    _security(host)
    _fill(host)
    return warnings


def _check_platform_words(host: HostConfig) -> None:
    if host.runtime not in _RUNTIMES:
        raise InvalidArgument(f"unknown or invalid runtime name: {host.runtime}")
    if host.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation ({host.isolation}): linux only supports 'default'")
    if host.storage_opt:
        raise InvalidArgument("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    limits.rlimits(host.ulimits)
    for rule in host.device_cgroup_rules or ():
        limits.parse_device_rule(rule)
    for request in host.device_requests or ():
        if request.count and request.device_ids:
            raise InvalidArgument("cannot set both Count and DeviceIDs on device request")


def _network(host: HostConfig) -> list[str]:
    warnings = []
    mode = host.network_mode = "bridge" if host.network_mode in ("", "default") else host.network_mode
    if mode == "host" and host.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    if mode.startswith("container:"):
        if host.port_bindings or host.publish_all_ports:
            raise InvalidArgument("conflicting options: port publishing and the container type network mode")
        if host.dns:
            raise InvalidArgument("conflicting options: dns and the network mode")
        if host.extra_hosts:
            raise InvalidArgument("conflicting options: custom host-to-IP mapping and the network mode")
    if mode == "host" and host.links:
        raise InvalidArgument("conflicting options: host type networking can't be used with links")
    for server in host.dns or ():
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {server}") from None
        if server == EMBEDDED_DNS:
            raise InvalidArgument(f"bad nameserver address: {server} is the engine's own")
    for word in host.extra_hosts or ():
        name, _, address = word.partition(":")
        if not name or not address:
            raise InvalidArgument(f"bad format for add-host: {word!r}")
    return warnings


def _security(host: HostConfig) -> None:
    for option in host.security_opt or ():
        key = option.partition("=")[0].partition(":")[0]
        if key not in _SECURITY_OPTIONS:
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    for field, names in (("CapAdd", host.cap_add), ("CapDrop", host.cap_drop)):
        for name in names or ():
            full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
            if full != "CAP_ALL" and full not in capabilities.CAPS:
                raise InvalidArgument(f'invalid {field}: unknown capability: "{full}"')
    if not host.privileged and host.masked_paths is None:
        host.masked_paths, host.readonly_paths = list(defaults.masked_paths()), list(defaults.READ_ONLY_PATHS)
    elif host.privileged:
        host.masked_paths, host.readonly_paths = None, None


def _fill(host: HostConfig) -> None:
    host.runtime = RUNTIME
    host.ipc_mode = host.ipc_mode or "private"
    host.cgroupns_mode = host.cgroupns_mode or ("private" if cgroups.is_unified() else "host")
    host.shm_size = host.shm_size or _SHM_BYTES
    if host.memory and not host.memory_swap:
        host.memory_swap = host.memory * 2
    host.memory_swappiness = None if host.memory_swappiness == -1 else host.memory_swappiness
    host.pids_limit = host.pids_limit or None


def available_cpus() -> set[int]:
    """CPUs that this process, and so every container, may be given."""
    return os.sched_getaffinity(0)
