"""What dockerd says at create to a config that can't be carried out, and what it fills in where nothing was said.

Pure but for the machine's CPUs. What only a start can find out (a network that isn't there) is the start's error; what can be
seen from the words alone is told here, though dockerd tells some of it at the start.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import msgspec

from onggi.engine import health, limits, logdrivers, modes, mountspecs, portwords, restart, security
from onggi.engine.config import ContainerConfig, HostConfig
from onggi.engine.files import EMBEDDED_DNS
from onggi.engine.signals import signal_number
from onggi.engine.terminalsize import terminal_size
from onggi.errors import InvalidArgument
from onggi.kernel import capabilities, cgroups
from onggi.runtime import defaults

RUNTIME = "onggi-runtime"
_RUNTIMES = frozenset({"", RUNTIME, "runc", "io.containerd.runc.v2"})
"""There is one; clients that name docker's mean it."""
_SHM_BYTES = 64 << 20
_LONGEST_HOSTNAME = 64
"""__NEW_UTS_LEN of the kernel."""
_LINK_SYSCTL = re.compile(r"net\.[^.]+\.[^.]+\.(eth\d+|en[ops]\w+|wl\w+)\..+", re.ASCII)


def check(config: ContainerConfig, host: HostConfig, log_driver: str, log_options: dict[str, str]) -> list[str]:
    """Warnings; fills in what docker fills in. Raises InvalidArgument in dockerd's words."""
    _config(config)
    modes.check(config, host)
    restart.check(host.restart_policy, auto_remove=host.auto_remove)
    for mount in host.mounts or ():
        mountspecs.check(mount)
    _extra_hosts(host.extra_hosts or ())
    portwords.check(host.port_bindings)
    _capabilities(host)
    _platform_words(host)
    warnings = limits.check(host)
    _rest(host)
    if host.network_mode == "host" and host.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    _log(host, log_driver, log_options)
    _fill(host)
    return warnings


def _config(config: ContainerConfig) -> None:
    if len(config.hostname) > _LONGEST_HOSTNAME:
        raise InvalidArgument(f'hostname "{config.hostname}" is too long (maximum {_LONGEST_HOSTNAME} bytes)')
    if config.stop_signal:
        signal_number(config.stop_signal)
    for word in config.env or ():
        if not word.partition("=")[0] or "\0" in word:
            raise InvalidArgument(f"invalid environment variable: {word}")
    health.check(config.healthcheck)


def _log(host: HostConfig, driver: str, options: dict[str, str]) -> None:
    logged = host.log_config
    if logged.type in ("", driver):
        host.log_config = msgspec.structs.replace(logged, type=driver, config=options | logged.config)
    logdrivers.check(host.log_config)


def _platform_words(host: HostConfig) -> None:
    if host.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation ({host.isolation}): linux only supports 'default'")
    for key in host.annotations or ():
        if not key:
            raise InvalidArgument("invalid Annotations: the empty string is not permitted as an annotation key")
    if host.runtime not in _RUNTIMES:
        raise InvalidArgument(f"unknown or invalid runtime name: {host.runtime}")


def _rest(host: HostConfig) -> None:
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    for path, words in (host.tmpfs or {}).items():
        mountspecs.target(path)
        mountspecs.check_tmpfs(words)
    for device in host.devices or ():
        if not set(device.cgroup_permissions) <= set("rwm"):
            raise InvalidArgument(f"invalid device mode: {device.cgroup_permissions}")
    limits.rlimits(host.ulimits)
    for rule in host.device_cgroup_rules or ():
        limits.parse_device_rule(rule)
    for request in host.device_requests or ():
        if request.count and request.device_ids:
            raise InvalidArgument("cannot set both Count and DeviceIDs on device request")
    security.read(host.security_opt)
    for name in host.sysctls or ():
        if _LINK_SYSCTL.fullmatch(name):
            raise InvalidArgument(
                f'interface specific sysctl setting "{name}" must be supplied using driver option '
                "'com.docker.network.endpoint.sysctls'"
            )
    _name_servers(host.dns or ())


def _name_servers(servers: Iterable[str]) -> None:
    for server in servers:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {server}") from None
        if server == EMBEDDED_DNS:
            raise InvalidArgument(f"bad nameserver address: {server} is the engine's own")


def _extra_hosts(words: Iterable[str]) -> None:
    for word in words:
        name, _, address = word.partition(":")
        if not name or not address:
            raise InvalidArgument(f'bad format for add-host: "{word}"')
        try:
            if address != "host-gateway":
                ipaddress.ip_address(address)
        except ValueError:
            raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from None


def _capabilities(host: HostConfig) -> None:
    for field, names in (("CapAdd", host.cap_add), ("CapDrop", host.cap_drop)):
        for name in names or ():
            full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
            if full != "CAP_ALL" and full not in capabilities.CAPS:
                raise InvalidArgument(f'invalid {field}: unknown capability: "{full}"')


def _fill(host: HostConfig) -> None:
    """Values that inspect tells, as dockerd's adaptContainerSettings has them."""
    if host.privileged:
        host.masked_paths, host.readonly_paths = None, None
    elif host.masked_paths is None:
        host.masked_paths, host.readonly_paths = list(defaults.masked_paths()), list(defaults.READ_ONLY_PATHS)
    if host.privileged or "host" in (host.ipc_mode, host.pid_mode):
        # SELinux keeps apart what these open on purpose; told on machines without SELinux too.
        host.security_opt = list(dict.fromkeys([*(host.security_opt or ()), "label=disable"]))
    host.runtime = RUNTIME
    host.ipc_mode = host.ipc_mode or "private"
    host.cgroupns_mode = host.cgroupns_mode or ("private" if cgroups.is_unified() else "host")
    host.shm_size = host.shm_size or _SHM_BYTES
    if host.memory and not host.memory_swap:
        host.memory_swap = host.memory * 2
    if host.oom_kill_disable is None and "oom_kill_disable" in cgroups.abilities():
        host.oom_kill_disable = False
    host.pids_limit = host.pids_limit if (host.pids_limit or 0) > 0 else None
    host.restart_policy = msgspec.structs.replace(host.restart_policy, name=host.restart_policy.name or "no")
    host.console_size = [*terminal_size(host.console_size)]
