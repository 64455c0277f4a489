"""What docker's words mean to the kernel: config, host config and image as a runtime spec with its plan.

Pure but for device nodes of the host, which are looked at. The order of mounts is docker's: the spec's own, then what
users asked for, shorter paths first, so that nothing hides what was meant to lie in it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from onggi.engine import limits, security
from onggi.engine.config import ContainerConfig, HostConfig, MountPoint
from onggi.errors import InvalidArgument
from onggi.kernel import capabilities
from onggi.kernel.cgroups.resources import DeviceRule
from onggi.kernel.seccomp import compile_profile
from onggi.kernel.userns import IdMaps
from onggi.oci.runtime import Box, Device, IdMapping, Linux, Mount, Namespace, Process, Root, Spec
from onggi.runtime import defaults
from onggi.runtime.devicerules import DEFAULT_RULES
from onggi.runtime.plan import InitPlan, LinkPlan, RootfsPlan
from onggi.runtime.seccomp_default import default_filter, profile_from_docker_json


@dataclass(slots=True)
class Surroundings:
    """What the spec needs to know beside the container's own words."""

    hostname: str
    rootfs: RootfsPlan
    mounts: list[MountPoint]
    files: dict[str, str]
    links: list[LinkPlan]
    namespaces: dict[str, str] = field(default_factory=dict)
    """Kind → path of the namespace to join; "host" for the host's own."""
    dns: bool = False
    cgroup_path: str = ""
    unified: bool = False
    tmpfs_options: dict[str, list[str]] = field(default_factory=dict)
    """By destination: what docker's mount points have no field for."""
    id_maps: IdMaps | None = None
    """Of the user namespace that it gets; None without one."""
    images: dict[str, list[str]] = field(default_factory=dict)
    """By destination of an image's mount: its layers' directories, topmost first."""


def make_plan(config: ContainerConfig, host: HostConfig, path: str, args: list[str], around: Surroundings) -> InitPlan:
    """Raises InvalidArgument for words that mean nothing."""
    spec = defaults.default_spec(unified_cgroups=around.unified)
    linux, process = spec.linux, spec.process
    if linux is None or process is None:
        raise AssertionError("the default spec is whole")
    if host.privileged:
        defaults.make_privileged(spec)
    _process(process, config, host, [path, *args])
    _namespaces(linux, host, around)
    spec.hostname = around.hostname
    spec.domainname = config.domainname
    spec.root = Root(path="", readonly=host.readonly_rootfs)
    _mounts(spec, host, around)
    _devices(linux, host)
    linux.sysctl = _sysctls(linux, host)
    linux.cgroups_path = around.cgroup_path
    if host.masked_paths is not None:
        linux.masked_paths = list(host.masked_paths)
    if host.readonly_paths is not None:
        linux.readonly_paths = list(host.readonly_paths)
    if security.read(host.security_opt).open_system_paths:
        linux.masked_paths, linux.readonly_paths = [], []
    return InitPlan(
        spec=spec,
        rootfs=around.rootfs,
        links=around.links,
        user=config.user or "0",  # root's supplementary groups are the image's to say too
        groups=list(host.group_add or ()),
        seccomp=seccomp_filter(host, process),
        dns=around.dns,
        init=bool(host.init),
    )


def environment(config: ContainerConfig, *, hostname: str, tty: bool) -> list[str]:
    """PATH, HOSTNAME and TERM as docker adds them; what the container says wins, the last of equal names holds."""
    words = [defaults.PATH, f"HOSTNAME={hostname}", *(["TERM=xterm"] if tty else []), *(config.env or ())]
    found: dict[str, str | None] = {}
    for word in words:
        name, separator, _ = word.partition("=")
        found[name] = word if separator else None
    return [word for word in found.values() if word is not None]


def _process(process: Process, config: ContainerConfig, host: HostConfig, words: list[str]) -> None:
    process.args = words
    process.cwd = config.working_dir or "/"
    process.terminal = config.tty
    if config.tty and any(host.console_size):
        process.console_size = Box(height=host.console_size[0], width=host.console_size[1])
    bound(process, host)


def bound(process: Process, host: HostConfig) -> None:
    """Limits and rights of each process of the container, its execs too."""
    process.rlimits = limits.rlimits(host.ulimits)
    process.oom_score_adj = host.oom_score_adj
    wanted = (["ALL"], None) if host.privileged else (host.cap_add, host.cap_drop)
    process.capabilities = defaults.default_capabilities(wanted_capabilities(*wanted))
    said = security.read(host.security_opt)
    process.no_new_privileges = said.no_new_privileges
    # As dockerd: without AppArmor in the kernel the word means nothing.
    has_apparmor = os.path.exists("/sys/kernel/security/apparmor")
    process.apparmor_profile = said.apparmor if has_apparmor and said.apparmor != "unconfined" else ""


def wanted_capabilities(add: list[str] | None, drop: list[str] | None) -> tuple[str, ...]:
    """Docker's rule: ALL in add or drop is the start, single names then go out or come in."""
    added, dropped = _full_names(add), _full_names(drop)
    everything = capabilities.names((2 << capabilities.last_cap()) - 1)
    if "CAP_ALL" in added:
        return tuple(name for name in everything if name not in dropped)
    start: tuple[str, ...] = () if "CAP_ALL" in dropped else defaults.CAPABILITIES
    kept = [name for name in start if name not in dropped]
    return tuple(dict.fromkeys([*kept, *(name for name in added if name != "CAP_ALL")]))


def _full_names(names: list[str] | None) -> list[str]:
    capabilities.parse_caps(names or ())
    return [name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in names or ()]


def seccomp_filter(host: HostConfig, process: Process) -> bytes:
    """The compiled filter: none for privileged and unconfined, a user's own, or the default for these capabilities."""
    caps = frozenset(process.capabilities.bounding if process.capabilities else ())
    value = security.read(host.security_opt).seccomp
    if value == "unconfined":
        return b""
    if value not in ("", "builtin"):
        return compile_profile(profile_from_docker_json(value.encode(), caps))
    return b"" if host.privileged else default_filter(caps)


def _namespaces(linux: Linux, host: HostConfig, around: Surroundings) -> None:
    kinds: list[Namespace] = []
    for namespace in linux.namespaces:
        path = around.namespaces.get(namespace.type)
        if path != "host":
            kinds.append(Namespace(namespace.type, path or ""))
    if around.unified and host.cgroupns_mode == "host":
        kinds = [kind for kind in kinds if kind.type != "cgroup"]
    elif host.cgroupns_mode == "private" and not any(kind.type == "cgroup" for kind in kinds):
        kinds.append(Namespace("cgroup"))
    linux.namespaces = kinds
    if around.id_maps is not None:
        linux.namespaces.append(Namespace("user"))
        linux.uid_mappings = [IdMapping(*entry) for entry in around.id_maps.uids]
        linux.gid_mappings = [IdMapping(*entry) for entry in around.id_maps.gids]


def _sysctls(linux: Linux, host: HostConfig) -> dict[str, str]:
    own_net = any(kind.type == "network" and not kind.path for kind in linux.namespaces)
    usual = dict(defaults.SYSCTLS) if own_net else {}
    if linux.uid_mappings:
        # It names groups that a user namespace doesn't have; as dockerd, without pings for ordinary users then.
        usual.pop("net.ipv4.ping_group_range", None)
    return usual | (host.sysctls or {})


def _mounts(spec: Spec, host: HostConfig, around: Surroundings) -> None:
    taken = {mount.destination for mount in around.mounts} | set(host.tmpfs or {})
    spec.mounts = [mount for mount in spec.mounts if mount.destination not in taken]
    for mount in spec.mounts:
        if mount.destination == "/dev/shm":
            shared = around.files.get("/dev/shm")
            if shared:
                mount.type, mount.source, mount.options = "bind", shared, ["rbind", "rprivate"]
            else:
                mount.options = [*mount.options, f"size={host.shm_size or defaults.SHM_BYTES}"]
    donor = around.namespaces.get("ipc", "")
    if donor.startswith("/") and "/dev/shm" not in taken:
        # Memory that is shared by name lies in the donor's tmpfs, which is mounted in its namespace alone.
        spec.mounts = [mount for mount in spec.mounts if mount.destination != "/dev/shm"]
        of = donor.removesuffix("ipc") + "mnt"
        spec.mounts.append(Mount("/dev/shm", "bind", "/dev/shm", ["bind", "rprivate", f"onggi.of={of}"]))
    if host.ipc_mode == "none":
        spec.mounts = [mount for mount in spec.mounts if mount.destination != "/dev/shm"]
    if host.ipc_mode == "host" and "/dev/shm" not in taken:
        spec.mounts = [mount for mount in spec.mounts if mount.destination not in ("/dev/shm", "/dev/mqueue")]
        spec.mounts += [
            Mount(path, "bind", path, ["rbind"]) for path in ("/dev/shm", "/dev/mqueue") if os.path.isdir(path)
        ]
    if around.namespaces.get("network") == "host":
        # A sysfs belongs to the network namespace it is mounted in; the host's may not be mounted anew in ours.
        for mount in spec.mounts:
            if mount.type == "sysfs" and not host.privileged:
                mount.options = [*mount.options]
    wanted: list[Mount] = []
    for path, words in (host.tmpfs or {}).items():
        wanted.append(Mount(path, "tmpfs", "tmpfs", ["noexec", "nosuid", "nodev", *_words(words)]))
    for point in around.mounts:
        wanted.append(_mount_of(point, around))
    read_only = host.readonly_rootfs
    for destination, source in around.files.items():
        if destination != "/dev/shm" and destination not in taken:
            wanted.append(Mount(destination, "bind", source, ["rbind", "rprivate", *(["ro"] if read_only else [])]))
    if around.id_maps is not None:
        _map_ids(wanted, around)
    spec.mounts += sorted(wanted, key=lambda mount: mount.destination.rstrip("/").count("/"))


def _map_ids(wanted: list[Mount], around: Surroundings) -> None:
    """What is the engine's own belongs to root on disk, and is the container's root's inside. Binds show the host's owners."""
    own = {point.destination for point in around.mounts if point.type in ("volume", "image")} | set(around.files)
    for mount in wanted:
        if mount.destination in own:
            if mount.type == "overlay":
                raise InvalidArgument(
                    f"{mount.destination}: an image of several layers can't be mounted in a user namespace (use --userns=host)"
                )
            mount.options = [*mount.options, "idmap"]


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _mount_of(point: MountPoint, around: Surroundings) -> Mount:
    if point.type == "tmpfs":
        return Mount(
            point.destination, "tmpfs", "tmpfs",
            ["noexec", "nosuid", "nodev", *around.tmpfs_options.get(point.destination, []), *([] if point.rw else ["ro"])],
        )  # fmt: skip
    if point.type == "image":
        layers = around.images[point.destination]
        if len(layers) == 1:  # an overlay has two at least
            return Mount(point.destination, "bind", layers[0], ["bind", "ro", *_subpath(point)])
        below = [f"lowerdir+={path}" for path in layers]
        return Mount(point.destination, "overlay", "overlay", ["ro", *below, *_subpath(point)])
    words = [
        "bind" if "nonrecursive" in point.recursion else "rbind",
        point.propagation or "rprivate",
        *_subpath(point),
    ]
    if not point.rw:
        # Read-only all the way down, as docker does since 25 where the kernel can.
        words += ["ro"] if "ro-nonrecursive" in point.recursion else ["ro", "rro"]
    return Mount(point.destination, "bind", point.source, words)


def _subpath(point: MountPoint) -> list[str]:
    return [f"onggi.subpath={point.subpath}"] if point.subpath else []


def _devices(linux: Linux, host: HostConfig) -> None:
    if host.privileged:
        rules = [DeviceRule(allow=True)]
    else:
        rules = [DeviceRule(allow=False), *DEFAULT_RULES]
        for mapping in host.devices or ():
            nodes, allowed = device_nodes(
                mapping.path_on_host, mapping.path_in_container, mapping.cgroup_permissions or "rwm"
            )
            linux.devices = [*linux.devices, *nodes]
            rules += allowed
        rules += [limits.parse_device_rule(text) for text in host.device_cgroup_rules or ()]
    linux.resources = limits.to_spec(host, devices=rules)


def device_nodes(on_host: str, inside: str, access: str) -> tuple[list[Device], list[DeviceRule]]:
    """--device: the node, or all nodes below a directory. Raises InvalidArgument in docker's words."""
    try:
        status = os.stat(on_host)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{on_host}": {reason}'
        ) from None
    if stat.S_ISDIR(status.st_mode):
        nodes: list[Device] = []
        rules: list[DeviceRule] = []
        for name in sorted(os.listdir(on_host)):
            child = f"{on_host}/{name}"
            if stat.S_IFMT(os.lstat(child).st_mode) in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR):
                more, allowed = device_nodes(child, f"{inside}/{name}", access)
                nodes, rules = nodes + more, rules + allowed
        return nodes, rules
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{on_host}": not a device node'
        )
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    node = Device(inside or on_host, kind, major, minor, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    return [node], [DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access)]
