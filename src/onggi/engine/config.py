"""Bodies of the Engine API that the engine keeps and acts on: Config, HostConfig, NetworkingConfig and their parts.

Names in JSON are Go's (moby api/types/container, network, mount). They are stored as they came, so that inspect gives
back what create got. api/ matches names regardless of case, turns null into the default, and drops unknown ones.
"""

from __future__ import annotations

from typing import Any

import msgspec

_ODD = {
    "uts_mode": "UTSMode", "container_id_file": "ContainerIDFile", "cgroupns_mode": "CgroupnsMode",
    "blkio_device_read_iops": "BlkioDeviceReadIOps", "blkio_device_write_iops": "BlkioDeviceWriteIOps",
    "io_maximum_iops": "IOMaximumIOps", "io_maximum_bandwidth": "IOMaximumBandwidth", "host_ip": "HostIp",
    "ipam_config": "IPAMConfig", "network_id": "NetworkID", "endpoint_id": "EndpointID", "ip_address": "IPAddress",
    "ip_prefix_len": "IPPrefixLen", "ipv6_gateway": "IPv6Gateway", "global_ipv6_address": "GlobalIPv6Address",
    "global_ipv6_prefix_len": "GlobalIPv6PrefixLen", "ipv4_address": "IPv4Address", "ipv6_address": "IPv6Address",
    "link_local_ips": "LinkLocalIPs", "dns_names": "DNSNames", "device_ids": "DeviceIDs", "rw": "RW", "id": "ID",
    "kernel_memory_tcp": "KernelMemoryTCP", "oom_killed": "OOMKilled",
}  # fmt: skip


def go_name(field: str) -> str:
    """`nano_cpus` → NanoCpus, with Go's own spellings where they differ."""
    return _ODD.get(field) or "".join(part[:1].upper() + part[1:] for part in field.split("_"))


class _Body(msgspec.Struct, rename=go_name):
    """Base of all."""


class HealthConfig(_Body, rename=go_name, omit_defaults=True):
    """Durations in ns; 0 inherits. `test` [] inherits, ["NONE"] switches off."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(_Body, rename=go_name):
    """What is the container's own, wherever it runs."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class PortBinding(_Body, rename=go_name):
    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(_Body, rename=go_name):
    """`name`: "", no, always, unless-stopped, on-failure."""

    name: str = "no"
    maximum_retry_count: int = 0


class LogConfig(_Body, rename=go_name):
    type: str = ""
    config: dict[str, str] = {}


class DeviceMapping(_Body, rename=go_name):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class ThrottleDevice(_Body, rename=go_name):
    path: str = ""
    rate: int = 0


class WeightDevice(_Body, rename=go_name):
    path: str = ""
    weight: int = 0


class Ulimit(_Body, rename=go_name):
    name: str = ""
    hard: int = 0
    soft: int = 0


class DriverConfig(_Body, rename=go_name, omit_defaults=True):
    name: str = ""
    options: dict[str, str] = {}


class BindOptions(_Body, rename=go_name, omit_defaults=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeOptions(_Body, rename=go_name, omit_defaults=True):
    no_copy: bool = False
    labels: dict[str, str] = {}
    subpath: str = ""
    driver_config: DriverConfig | None = None


class TmpfsOptions(_Body, rename=go_name, omit_defaults=True):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] = []


class ImageOptions(_Body, rename=go_name, omit_defaults=True):
    subpath: str = ""


class Mount(_Body, rename=go_name, omit_defaults=True):
    """`--mount`: type bind, volume, tmpfs, image."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class DeviceRequest(_Body, rename=go_name):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = None
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Resources(_Body, rename=go_name):
    """What `update` may change; the first part of HostConfig."""

    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0


class HostConfig(Resources, rename=go_name):
    """What belongs to this machine."""

    binds: list[str] | None = None
    container_id_file: str = ""
    log_config: LogConfig = msgspec.field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy = msgspec.field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    mounts: list[Mount] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None


class EndpointIPAMConfig(_Body, rename=go_name, omit_defaults=True):
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: list[str] = []


class EndpointSettings(_Body, rename=go_name):
    """A container's place in a network: asked for by the first half, told by the second."""

    ipam_config: EndpointIPAMConfig | None = None
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = ""
    endpoint_id: str = ""
    gateway: str = ""
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    dns_names: list[str] | None = None


class NetworkingConfig(_Body, rename=go_name):
    endpoints_config: dict[str, EndpointSettings | None] = {}


class Extensions(_Body, rename=go_name, omit_defaults=True):
    """What docker has no field for. Durations in ns; 0 is docker's own number."""

    restart_delay: int = 0
    """The policy's first delay (docker: 100 ms)."""
    restart_max_delay: int = 0
    """What doubling ends at (docker: 1 min)."""
    restart_reset: int = 0
    """A run of this length makes the next delay the first one again (docker: 10 s)."""
    health_on_failure: str = ""
    """What becomes of a container that turns unhealthy: none, kill, restart or stop. The policy's delays hold for restarts."""


class Changes(_Body, rename=go_name, omit_defaults=True):
    """What update can change beyond docker. Removals come first; what isn't there to be removed is fine."""

    env: list[str] = []
    env_remove: list[str] = []
    labels: dict[str, str] = {}
    labels_remove: list[str] = []
    publish: dict[str, list[PortBinding] | None] = {}
    publish_remove: list[str] = []
    """Of the container's ports: `80/tcp`, or `80`."""
    mounts: list[Mount] = []
    mounts_remove: list[str] = []
    """Destinations."""


class CreateBody(ContainerConfig, rename=go_name):
    """POST /containers/create: Config's fields, and two parts beside them."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None
    onggi: Extensions | None = None


class UpdateBody(Resources, rename=go_name):
    """POST /containers/{id}/update. Which fields came is the caller's to say (0 is a value for some)."""

    restart_policy: RestartPolicy | None = None
    onggi: Changes | None = None


class ExecBody(_Body, rename=go_name):
    """POST /containers/{id}/exec."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    console_size: list[int] | None = None
    detach_keys: str = ""
    tty: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    privileged: bool = False
    user: str = ""
    working_dir: str = ""


class ExecStartBody(_Body, rename=go_name):
    """POST /exec/{id}/start."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None


class MountPoint(_Body, rename=go_name):
    """What is mounted, as inspect tells it. `type` bind, volume, tmpfs, image. The last two are told by HostConfig alone."""

    type: str
    source: str
    destination: str
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    name: str = ""
    subpath: str = ""
    recursion: list[str] = []
    """nonrecursive: what is mounted below the source stays out; ro-nonrecursive: it stays writable; ro-recursive: it must not."""


def config_part(body: CreateBody) -> ContainerConfig:
    """The Config in a create body."""
    return ContainerConfig(**{name: getattr(body, name) for name in ContainerConfig.__struct_fields__})


def words(value: list[str] | str | None) -> list[str] | None:
    """Cmd and Entrypoint come as a list, or as a string from old clients."""
    return [value] if isinstance(value, str) else value
