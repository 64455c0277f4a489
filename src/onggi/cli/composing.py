"""A container as a Compose file: `onggi inspect --as compose` (B-05). Pure.

From inspect alone, as retelling.py; what came from the image is left out. Networks and volumes are there already, so they are
external. Keys are those of the Compose specification's service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json

_PLAIN: Final = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
_NO_STRINGS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What some reader of YAML takes for something else than a string."""


def compose(container: Json, image: Json) -> str:
    """The file's text. `container` and `image` as inspect tells them."""
    config, host = container["Config"], container["HostConfig"]
    own = image.get("Config") or {}
    name = container["Name"].removeprefix("/")
    service: Json = {"image": config["Image"], "container_name": name}
    service |= _program(container, config, own)
    service |= _limits(host)
    service |= _rights(host)
    service |= _files(host, container.get("Mounts") or [])
    networks = _networks(container, host)
    service |= networks
    found: Json = {"services": {name: service}}
    for kind, names in (
        ("networks", networks.get("networks") or {}),
        ("volumes", _named_volumes(container.get("Mounts") or [])),
    ):
        if names:
            found[kind] = {one: {"external": True} for one in names}
    return "\n".join(_lines(found))


def _program(container: Json, config: Json, own: Json) -> Json:
    found: Json = {
        key: config[field]
        for field, key in (
            ("User", "user"), ("WorkingDir", "working_dir"), ("Domainname", "domainname"), ("StopSignal", "stop_signal"),
            ("Entrypoint", "entrypoint"), ("Cmd", "command"),
        )
        if config.get(field) and config[field] != own.get(field)
    }  # fmt: skip
    # An entrypoint of one's own drops the image's command.
    if "entrypoint" in found and config.get("Cmd"):
        found["command"] = config["Cmd"]
    hostname = config.get("Hostname") or ""
    if hostname and hostname != container["Id"][:12] and container["HostConfig"]["NetworkMode"] != "host":
        found["hostname"] = hostname
    found |= {key: True for field, key in (("Tty", "tty"), ("OpenStdin", "stdin_open")) if config.get(field)}
    known = own.get("Labels") or {}
    for key, value in (
        ("environment", [word for word in config.get("Env") or () if word not in (own.get("Env") or ())]),
        ("labels", {name: text for name, text in (config.get("Labels") or {}).items() if known.get(name) != text}),
        ("healthcheck", _health(config.get("Healthcheck"), own.get("Healthcheck"))),
    ):
        if value:
            found[key] = value
    if config.get("StopTimeout") is not None and config["StopTimeout"] != own.get("StopTimeout"):
        found["stop_grace_period"] = f"{config['StopTimeout']}s"
    return found


def _health(health: Json | None, own: Json | None) -> Json:
    if not health or health == own:
        return {}
    if (health.get("Test") or [])[:1] == ["NONE"]:
        return {"disable": True}
    found: Json = {"test": health["Test"]} if health.get("Test") and health["Test"] != (own or {}).get("Test") else {}
    for field, key in (
        ("Interval", "interval"), ("Timeout", "timeout"), ("StartPeriod", "start_period"), ("StartInterval", "start_interval"),
    ):  # fmt: skip
        if health.get(field):
            found[key] = f"{health[field] // 1000}us"
    if health.get("Retries"):
        found["retries"] = health["Retries"]
    return found


_NUMBERS: Final = (
    ("Memory", "mem_limit"), ("MemoryReservation", "mem_reservation"), ("CpuShares", "cpu_shares"), ("CpuPeriod", "cpu_period"),
    ("CpuQuota", "cpu_quota"), ("CpuRealtimePeriod", "cpu_rt_period"), ("CpuRealtimeRuntime", "cpu_rt_runtime"), ("CpusetCpus", "cpuset"),
    ("PidsLimit", "pids_limit"), ("OomScoreAdj", "oom_score_adj"), ("CgroupParent", "cgroup_parent"), ("UTSMode", "uts"),
    ("UsernsMode", "userns_mode"), ("PidMode", "pid"),
)  # fmt: skip


def _limits(host: Json) -> Json:
    found: Json = {key: host[field] for field, key in _NUMBERS if host.get(field)}
    if host.get("NanoCpus"):
        found["cpus"] = host["NanoCpus"] / 1e9
    if host.get("MemorySwap") and host["MemorySwap"] != 2 * host.get("Memory", 0):
        found["memswap_limit"] = host["MemorySwap"]
    if host.get("ShmSize") not in (0, None, 64 << 20):
        found["shm_size"] = host["ShmSize"]
    if host.get("IpcMode") not in ("", None, "private"):
        found["ipc"] = host["IpcMode"]
    if host.get("BlkioWeight"):
        found["blkio_config"] = {"weight": host["BlkioWeight"]}
    if host.get("Ulimits"):
        found["ulimits"] = {one["Name"]: {"soft": one["Soft"], "hard": one["Hard"]} for one in host["Ulimits"]}
    policy = host.get("RestartPolicy") or {}
    if policy.get("Name") not in ("", None, "no"):
        count = policy.get("MaximumRetryCount")
        found["restart"] = policy["Name"] + (f":{count}" if count else "")
    log = host.get("LogConfig") or {}
    if log.get("Config") or log.get("Type") not in ("", None, "json-file"):
        found["logging"] = {"driver": log["Type"], **({"options": log["Config"]} if log.get("Config") else {})}
    return found


_LISTS: Final = (
    ("CapAdd", "cap_add"), ("CapDrop", "cap_drop"), ("Dns", "dns"), ("DnsOptions", "dns_opt"), ("DnsSearch", "dns_search"),
    ("ExtraHosts", "extra_hosts"), ("GroupAdd", "group_add"), ("DeviceCgroupRules", "device_cgroup_rules"), ("Sysctls", "sysctls"),
    ("Annotations", "annotations"),
)  # fmt: skip


def _rights(host: Json) -> Json:
    found: Json = {key: host[field] for field, key in _LISTS if host.get(field)}
    found |= {
        key: True
        for field, key in (("Privileged", "privileged"), ("ReadonlyRootfs", "read_only"), ("Init", "init"))
        if host.get(field)
    }
    options = [one for one in host.get("SecurityOpt") or () if one != "label=disable"]
    options += ["systempaths=unconfined"] if host.get("MaskedPaths") == [] else []
    devices = [
        f"{one['PathOnHost']}:{one.get('PathInContainer') or one['PathOnHost']}:{one.get('CgroupPermissions') or 'rwm'}"
        for one in host.get("Devices") or ()
    ]
    return found | {key: value for key, value in (("security_opt", options), ("devices", devices)) if value}


def _files(host: Json, points: list[Json]) -> Json:
    """Every mount but tmpfs is told by its point: where it is, whatever flag made it."""
    volumes: list[Json] = []
    wanted = {one["Target"]: one for one in host.get("Mounts") or ()}
    for point in points:
        if point["Type"] not in ("bind", "volume"):
            continue
        one: Json = {
            "type": point["Type"],
            "source": point["Name"] if point["Type"] == "volume" else point["Source"],
            "target": point["Destination"],
        }
        if not point["RW"]:
            one["read_only"] = True
        if point["Type"] == "bind" and point.get("Propagation") not in ("", None, "rprivate"):
            one["bind"] = {"propagation": point["Propagation"]}
        subpath = ((wanted.get(point["Destination"]) or {}).get("VolumeOptions") or {}).get("Subpath")
        if subpath:
            one["volume"] = {"subpath": subpath}
        volumes.append(one)
    for target, mount in wanted.items():
        if mount["Type"] == "tmpfs":
            options = mount.get("TmpfsOptions") or {}
            size = {"tmpfs": {"size": options["SizeBytes"]}} if options.get("SizeBytes") else {}
            volumes.append({"type": "tmpfs", "target": target, **size})
    tmpfs = [f"{path}:{options}" if options else path for path, options in (host.get("Tmpfs") or {}).items()]
    return {key: value for key, value in (("volumes", volumes), ("tmpfs", tmpfs)) if value}


def _named_volumes(points: list[Json]) -> list[str]:
    return [point["Name"] for point in points if point["Type"] == "volume"]


def _networks(container: Json, host: Json) -> Json:
    found: Json = {}
    ports = [
        f"{one['HostIp'] + ':' if one.get('HostIp') else ''}{one.get('HostPort', '')}:{key}".removeprefix(":")
        for key, wanted in (host.get("PortBindings") or {}).items()
        for one in wanted or [{}]
    ]
    bound = set(host.get("PortBindings") or {})
    exposed = sorted(set(container["Config"].get("ExposedPorts") or {}) - bound)
    found |= {key: value for key, value in (("ports", ports), ("expose", exposed)) if value}
    mode = host.get("NetworkMode") or "bridge"
    there = (container.get("NetworkSettings") or {}).get("Networks") or {}
    own = {name: _endpoint(one) for name, one in there.items() if name not in ("bridge", "host", "none")}
    if own:
        return found | {"networks": own}
    return found | {"network_mode": "bridge" if mode == "default" else mode}


def _endpoint(endpoint: Json) -> Json | None:
    ipam = endpoint.get("IPAMConfig") or {}
    found = {
        key: value
        for key, value in (
            ("ipv4_address", ipam.get("IPv4Address")),
            ("ipv6_address", ipam.get("IPv6Address")),
            ("aliases", endpoint.get("Aliases")),
        )
        if value
    }
    return found or None


def _lines(value: Json, indent: str = "") -> Iterator[str]:
    """YAML of nested mappings and lists, two spaces a level."""
    for key, one in value.items():
        yield from _entry(f"{indent}{_scalar(key)}:", one, indent)


def _entry(head: str, one: object, indent: str) -> Iterator[str]:
    if isinstance(one, dict) and one:
        yield head
        yield from _lines(one, indent + "  ")
    elif isinstance(one, list) and one:
        yield head
        for item in one:
            if isinstance(item, dict):
                first, *rest = _lines(item, indent + "    ")
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
            else:
                yield f"{indent}  - {_scalar(item)}"
    else:
        yield f"{head} {_scalar(one)}" if one is not None else head


def _scalar(value: object) -> str:
    """Strings that could be read otherwise are quoted, as JSON has them. A dollar is two: Compose puts variables in."""
    if not isinstance(value, str):
        return json.dumps(value)
    text = value.replace("$", "$$")
    return text if _PLAIN.fullmatch(text) and text.lower() not in _NO_STRINGS else json.dumps(text, ensure_ascii=False)
