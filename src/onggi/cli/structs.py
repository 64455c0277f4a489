"""Documents of inspect as templates see them in docker's client: Go structs, maps and slices in the place of plain JSON.

A template is tried on this form first and on the plain JSON next, as docker does: the first knows Go's names of fields
(.ID, .HostConfig.NanoCPUs) and prints {…}, [] and <nil>; the second knows JSON's names (.Id, .HostConfig.NanoCpus).
Source: moby api/types for the names that differ, for what is a map, and for what a field is when JSON leaves it out.
"""

from __future__ import annotations

from typing import Any

from onggi.cli.template_values import GoTime, NilList, NilMap, Struct

_MAPS = frozenset((
    "Annotations", "AuxiliaryAddresses", "Containers", "Data", "DriverOpts", "ExposedPorts", "Labels", "Networks", "Options", "Parameters",
    "Details", "IndexConfigs", "Peers", "PortBindings", "Runtimes", "Ports", "Services", "Status", "StorageOpt", "Sysctls", "TLSMaterial", "Tmpfs", "Volumes", "Endpoints",
))  # fmt: skip
_POINTERS = frozenset((
    "ClusterVolume", "ContainerConfig", "Descriptor", "Health", "Healthcheck", "IPAMConfig", "ImageManifestDescriptor", "Init",
    "MemorySwappiness", "OomKillDisable", "PidsLimit", "SizeRootFs", "SizeRw", "StopTimeout", "UsageData",
))  # fmt: skip
_GO_NAMES = {
    "Id": "ID", "NanoCpus": "NanoCPUs", "CpuShares": "CPUShares", "CpuPeriod": "CPUPeriod", "CpuQuota": "CPUQuota",
    "CpuRealtimePeriod": "CPURealtimePeriod", "CpuRealtimeRuntime": "CPURealtimeRuntime", "CpuCount": "CPUCount",
    "CpuPercent": "CPUPercent", "Dns": "DNS", "DnsOptions": "DNSOptions", "DnsSearch": "DNSSearch", "HostIp": "HostIP",
    "AuxiliaryAddresses": "AuxAddress",
}  # fmt: skip
_MOUNT = ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation")
_FIELDS: dict[str, tuple[str, ...]] = {
    "Mounts": _MOUNT,
    "State": ("Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "Pid", "ExitCode", "Error", "StartedAt", "FinishedAt", "Health"),
    "IPAM": ("Driver", "Options", "Config"),
    "IPAM.Config": ("Subnet", "IPRange", "Gateway", "AuxAddress"),
    "GraphDriver": ("Data", "Name"),
    "Containers": ("Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"),
}  # fmt: skip
"""How a struct prints: its fields in Go's order."""
_LEFT_OUT: dict[str, dict[str, Any]] = {
    "Mounts": dict.fromkeys(_MOUNT, ""),
    "State": {"Health": None},
    "Config": {"ExposedPorts": NilMap(), "Healthcheck": None, "StopSignal": "", "StopTimeout": None, "Shell": NilList(), "NetworkDisabled": False,
               "MacAddress": "", "Hostname": "", "Domainname": "", "Image": "", "ArgsEscaped": False},
    "HostConfig": {"Annotations": NilMap(), "Init": None, "Mounts": NilList(), "StorageOpt": NilMap(), "Tmpfs": NilMap(), "Sysctls": NilMap(),
                   "Runtime": "", "UsernsMode": "", "OomKillDisable": None, "MemorySwappiness": None},
    "IPAM.Config": {"IPRange": "", "Gateway": "", "AuxAddress": NilMap()},
    "Volume": {"Status": NilMap(), "UsageData": None, "ClusterVolume": None, "CreatedAt": ""},
    "Document": {"SizeRw": None, "SizeRootFs": None, "ImageManifestDescriptor": None, "Descriptor": None},
}  # fmt: skip
"""Fields that JSON leaves out when they are empty, with Go's empty value."""


def typed(document: dict[str, Any], kind: str = "Document") -> Struct:
    """The form that a template is tried on first."""
    return _struct(document, kind)


def _struct(values: dict[str, Any], kind: str) -> Struct:
    inner = {key: _value(value, key, kind) for key, value in values.items()}
    renamed = {_GO_NAMES[key]: inner[key] for key in inner if key in _GO_NAMES}
    absent = {key: value for key, value in _LEFT_OUT.get(kind, {}).items() if key not in inner}
    return Struct(
        inner,
        fields=_FIELDS.get(kind, ()),
        extra=absent | renamed,
        hidden=frozenset(key for key in inner if key in _GO_NAMES),
    )


def _value(value: Any, key: str, parent: str) -> Any:
    if value is None:
        return None if key in _POINTERS else NilMap() if key in _MAPS else NilList()
    if isinstance(value, dict):
        # A logging driver's Config and a network's own options are maps; a container's Config is a struct.
        if key in _MAPS or (key == "Config" and parent == "LogConfig"):
            return {
                name: _value(one, "", key) if not isinstance(one, dict) else _struct(one, key)
                for name, one in value.items()
            }
        return _struct(value, key)
    if isinstance(value, list):
        kind = f"{parent}.{key}" if parent == "IPAM" else key or parent
        return [_struct(one, kind) if isinstance(one, dict) else one for one in value]
    if isinstance(value, str) and ((key == "Created" and parent == "Network") or key == "LastTagTime"):
        return GoTime(value)
    return value


def document(data: dict[str, Any], name: str) -> Struct:
    """Version's and info's data: structs whose type stands in messages."""
    found = typed(data)
    found.extra |= {"ServerErrors": NilList(), "ClientErrors": NilList()} if name == "info" else {}
    found.go_type = {"version": "system.versionInfo", "info": "system.dockerInfo"}[name]
    if isinstance(found.get("Server"), Struct):
        found["Server"].go_type = "*types.Version"
        found["Server"].extra["APIVersion"] = data["Server"].get("ApiVersion", "")
    if isinstance(found.get("Client"), Struct):
        found["Client"].go_type = "system.clientVersion"
        found["Client"].extra["APIVersion"] = data["Client"]["ApiVersion"]
    if data.get("Server", found) is None:
        found["Server"] = None
    return found
