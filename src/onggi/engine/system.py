"""What the engine says of itself: version, info, disk usage, traces on the machine."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import time
from typing import TYPE_CHECKING, Any

from onggi.doctor import Engine as DoctorEngine
from onggi.doctor import footprint
from onggi.engine import cdi, enginesockets, files, inspecting
from onggi.engine.container import State, time_text
from onggi.engine.logdrivers import DRIVERS
from onggi.images import RegistryOptions
from onggi.kernel import cgroups
from onggi.oci.digest import Digest
from onggi.oci.platform import host_platform

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_OWN_VERSION = importlib.metadata.version("onggi")
_ENGINE_VERSION = "28.5.2"
"""Clients compare it with what they need; onggi's own version stands beside it."""


class System:
    """Questions about the engine as a whole."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def version(self) -> dict[str, Any]:
        here = host_platform()
        details = {
            "Arch": here.architecture, "BuildTime": "2026-11-24T00:00:00.000000000+00:00", "Experimental": "false", "GitCommit": f"onggi-{_OWN_VERSION}",
            "GoVersion": f"python{platform.python_version()}", "KernelVersion": os.uname().release, "Os": "linux",
        }  # fmt: skip
        return {
            "Platform": {"Name": f"onggi {_OWN_VERSION}"},
            "Components": [
                {"Name": "Engine", "Version": _ENGINE_VERSION, "Details": dict(details)},
                {"Name": "onggi-runtime", "Version": _OWN_VERSION, "Details": {"GitCommit": ""}},
            ],
            "Version": _ENGINE_VERSION, "GitCommit": details["GitCommit"], "GoVersion": details["GoVersion"], "Os": "linux",
            "Arch": here.architecture, "KernelVersion": details["KernelVersion"], "BuildTime": details["BuildTime"],
        }  # fmt: skip

    async def info(self) -> dict[str, Any]:
        engine, options = self._engine, self._engine.options
        states = [one.state for one in engine.containers]
        limits = engine.has_cgroups
        running, paused = states.count(State.RUNNING), states.count(State.PAUSED)
        return {
            "ID": engine.id,
            "Containers": len(states), "ContainersRunning": running, "ContainersPaused": paused,
            "ContainersStopped": len(states) - running - paused, "Images": len(engine.images),
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", _file_system(options.data_root)], ["Supports d_type", "true"], ["Using metacopy", "false"],
                             ["Native Overlay Diff", "true"], ["userxattr", str(options.rootless).lower()]],
            "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": None, "Log": sorted(DRIVERS)},
            "MemoryLimit": limits, "SwapLimit": limits and _has_swap_limit(), "CpuCfsPeriod": limits, "CpuCfsQuota": limits, "CPUShares": limits,
            "CPUSet": limits, "PidsLimit": limits, "IPv4Forwarding": True, "OomKillDisable": not cgroups.is_unified(),
            "Debug": options.debug, "NFd": len(os.listdir("/proc/self/fd")), "NGoroutines": len(asyncio.all_tasks()),
            "SystemTime": time_text(time.time_ns()), "LoggingDriver": options.default_log_driver, "CgroupDriver": "cgroupfs" if engine.has_cgroups else "none",
            "CgroupVersion": "2" if cgroups.is_unified() else "1", "NEventsListener": engine.events.listeners,
            "KernelVersion": os.uname().release, "OperatingSystem": _os_release().get("PRETTY_NAME", "Linux"),
            "OSVersion": _os_release().get("VERSION_ID", ""), "OSType": "linux", "Architecture": os.uname().machine,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": _registry_config(engine.images.registries),
            "NCPU": os.cpu_count() or 1, "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "GenericResources": None, "DockerRootDir": options.data_root,
            "HttpProxy": _masked("HTTP_PROXY"), "HttpsProxy": _masked("HTTPS_PROXY"), "NoProxy": os.environ.get("NO_PROXY", ""),
            "Name": os.uname().nodename, "Labels": options.labels, "ExperimentalBuild": False, "ServerVersion": _ENGINE_VERSION,
            "Runtimes": {"onggi-runtime": {"path": "onggi-runtime", "status": {"org.opencontainers.runtime-spec.features": "{}"}}},
            "DefaultRuntime": "onggi-runtime",
            "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "", "RemoteManagers": None},
            "LiveRestoreEnabled": True, "Isolation": "", "InitBinary": "onggi-init",
            "ContainerdCommit": {"ID": ""}, "RuncCommit": {"ID": ""}, "InitCommit": {"ID": ""},
            "SecurityOptions": ["name=seccomp,profile=builtin", *(["name=cgroupns"] if cgroups.is_unified() else []),
                                *(["name=rootless"] if options.rootless else []), *(["name=userns"] if options.id_maps else [])],
            "FirewallBackend": {"Driver": "nftables"}, "CDISpecDirs": list(cdi.DIRECTORIES), "DiscoveredDevices": [{"Source": "cdi", "ID": name} for name in sorted(cdi.read().devices)], "Warnings": engine.warnings,
            "DefaultAddressPools": [{"Base": base, "Size": size} for base, size in options.address_pools],
        }  # fmt: skip

    async def df(self, kinds: frozenset[str]) -> dict[str, Any]:
        """{kind: {Items, TotalSize, ActiveCount, Reclaimable}}."""
        found: dict[str, Any] = {}
        if "image" in kinds:
            found["image"] = self._images()
        if "container" in kinds:
            found["container"] = await self._containers()
        if "volume" in kinds:
            found["volume"] = await self._volumes()
        if "build-cache" in kinds:
            found["build-cache"] = await self._build_cache()
        return found

    async def _build_cache(self) -> dict[str, Any]:
        records = await self._engine.builder.records()
        items: list[dict[str, Any]] = [
            {"ID": record.key[:25], "Parents": None, "Type": record.row.kind, "Description": record.row.description, "InUse": record.in_use,
             "Shared": record.shared, "Size": record.row.size, "CreatedAt": time_text(record.row.made_ns),
             "LastUsedAt": time_text(record.row.used_ns), "UsageCount": record.row.uses}
            for record in records
        ]  # fmt: skip
        total = sum(record.row.size for record in records if not record.shared)
        busy = [record for record in records if record.in_use]
        free = total - sum(record.row.size for record in busy)
        return {"Items": items, "TotalSize": total, "ActiveCount": len(busy), "Reclaimable": free}

    def _images(self) -> dict[str, Any]:
        engine = self._engine
        used = engine.containers.users_of_images()
        items: list[dict[str, Any]] = [
            {"Id": image.id, "ParentId": image.row.parent, "RepoTags": list(engine.images.familiar_tags(image)),
             "RepoDigests": list(engine.images.familiar_digests(image)), "Created": image.row.created_ns // 10**9, "Size": image.row.size,
             "SharedSize": 0, "Labels": image.config.run.labels or {}, "Containers": used.get(image.id, 0)}
            for image in engine.images.list()
        ]  # fmt: skip
        needed = engine.images.needed_layers()
        total = sum(engine.layers.size(Digest(layer)) for layer in needed)
        in_use = {layer for one in engine.containers for layer in one.row.layers}
        free = sum(engine.layers.size(Digest(layer)) for layer in needed if layer not in in_use)
        return {
            "Items": items,
            "TotalSize": total,
            "ActiveCount": sum(item["Containers"] > 0 for item in items),
            "Reclaimable": free,
        }

    async def _containers(self) -> dict[str, Any]:
        engine = self._engine
        items: list[dict[str, Any]] = []
        total = free = 0
        for one in engine.containers:
            document = inspecting.summary_document(engine, one)
            document["SizeRw"], document["SizeRootFs"] = await engine.containers.sizes(one)
            items.append(document)
            total += document["SizeRw"]
            free += 0 if one.is_alive else document["SizeRw"]
        return {
            "Items": items,
            "TotalSize": total,
            "ActiveCount": sum(one.is_alive for one in engine.containers),
            "Reclaimable": free,
        }

    async def _volumes(self) -> dict[str, Any]:
        engine = self._engine
        items: list[dict[str, Any]] = []
        total = free = active = 0
        for volume in engine.volumes.list():
            size, users = await engine.volumes.size(volume.name), len(engine.volumes.users(volume.name))
            items.append(
                {"Name": volume.name, "Driver": volume.driver, "Mountpoint": engine.volumes.mountpoint(volume.name), "CreatedAt": volume.created,
                 "Labels": volume.labels, "Options": volume.options, "Scope": "local", "UsageData": {"Size": size, "RefCount": users}}
            )  # fmt: skip
            total += size
            active += users > 0
            free += 0 if users else size
        return {
            "Items": items,
            "TotalSize": total,
            "ActiveCount": active,
            "Reclaimable": free,
        }

    async def leaks(self) -> dict[str, Any]:
        """Everything of this engine on the machine, what of it no container explains, and what else should be known."""
        engine = self._engine
        where = DoctorEngine(
            engine.options.data_root_path,
            engine.options.exec_root_path,
            frozenset(n.bridge for n in engine.networks.list() if n.bridge),
        )
        traces = await asyncio.to_thread(footprint, where)
        known = {one.id for one in engine.containers}
        explained = {str(trace) for trace in traces if self._explains(trace.kind, trace.name, known)}
        return {
            "Footprint": sorted(map(str, traces)),
            "Leaks": sorted({str(trace) for trace in traces} - explained),
            "Notices": [*engine.warnings, *_roots(engine)],
        }

    def _explains(self, kind: str, name: str, known: set[str]) -> bool:
        engine = self._engine
        if any(identifier in name or identifier[:12] in name for identifier in known):
            return True
        if kind in ("process", "mount") and _container_of(_pid_in(kind, name)) in known:
            return True
        if not engine.has_cgroups and _pid_in(kind, name) in {str(one.row.pid) for one in engine.containers}:
            return True
        match kind:
            case "table":
                return name == f"inet {engine.networks.table}"
            case "link":
                links = {n.bridge for n in engine.networks.list()}
                links |= {e.host_name for one in engine.containers for e in engine.networks.members.of(one.id).values()}
                return name in links
            case "cgroup":
                # The launcher keeps cgroups ready for the next starts.
                return engine.cgroups.is_kept(name)
            case "process":
                return any(word in name for word in _OWN_PROGRAMS)
            case "file":
                return any(volume.name in name for volume in engine.volumes.list())
            case _:
                return False


def _roots(engine: Engine) -> list[str]:
    """Containers that are root on this machine through an engine's socket (S-74)."""
    return [
        f"container {one.name} has the socket of a container engine, {path}: who is in it is root on this machine"
        for one in engine.containers for path in enginesockets.given(one.row.mounts)
    ]  # fmt: skip


_OWN_PROGRAMS = ("onggid", "onggi.runtime.launcher", "onggi.store.worker", "onggi.rootless.outside", "pasta.pid")
"""Words of command lines; the last is that of a user's engine, which is started with this file's name."""


def _pid_in(kind: str, name: str) -> str:
    """The process number in a trace's name (doctor/footprint.py)."""
    return name.partition(" ")[0] if kind == "process" else name.rpartition("(process ")[2].rstrip(")")


def _container_of(pid: str) -> str:
    """The container that a process is in, by its cgroup; empty for none."""
    for line in files.read_text(f"/proc/{pid}/cgroup").splitlines():
        last = line.rstrip("/").rpartition("/")[2]
        if len(last) == 64:  # a container's id
            return last
    return ""


def _file_system(path: str) -> str:
    magics = {0xEF53: "extfs", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs", 0x794C7630: "overlayfs"}
    import ctypes

    buffer = ctypes.create_string_buffer(256)
    ctypes.CDLL(None).statfs(os.fsencode(path), buffer)
    return magics.get(int.from_bytes(buffer.raw[:8], "little"), "unknown")


def _has_swap_limit() -> bool:
    return cgroups.is_unified() or os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _registry_config(options: RegistryOptions) -> dict[str, object]:
    """Networks, and hosts by name, that may do without TLS; docker.io's mirrors."""
    networks = [entry for entry in options.insecure if "/" in entry]
    hosts = {
        name: {"Mirrors": [], "Name": name, "Official": False, "Secure": False}
        for name in options.insecure
        if name not in networks
    }
    return {
        "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128", *networks],
        "IndexConfigs": {
            **hosts,
            "docker.io": {"Mirrors": options.mirrors, "Name": "docker.io", "Official": True, "Secure": True},
        },
        "Mirrors": options.mirrors,
    }


def _masked(name: str) -> str:
    """A proxy's address without its password."""
    text = os.environ.get(name, "") or os.environ.get(name.lower(), "")
    scheme, separator, rest = text.partition("://")
    if "@" not in rest:
        return text
    return f"{scheme}{separator}xxxxx:xxxxx@{rest.rpartition('@')[2]}"
