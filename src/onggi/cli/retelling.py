"""The command, the code or the file that makes a container again: `onggi inspect --as run|python|compose` (B-05). Pure.

From inspect alone, so it works for any engine's containers. What came from the image is left out, since it comes again.
"""

from __future__ import annotations

import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json

FORMS = ("run", "python", "compose")


def retell(form: str, container: Json, image: Json) -> str:
    """`container` and `image` as inspect tells them. Raises ValueError for a form that isn't there."""
    if form == "run":
        words = run_words(container, image)
        return " ".join(shlex.quote(word) for word in words)
    if form == "python":
        return _python(container, image)
    if form == "compose":
        from onggi.cli.composing import compose

        return compose(container, image)
    raise ValueError(form)


def run_words(container: Json, image: Json) -> list[str]:
    """`onggi run …`, a word each."""
    config, host = container["Config"], container["HostConfig"]
    own = image.get("Config") or {}
    words = ["onggi", "run", "--detach", f"--name={container['Name'].removeprefix('/')}"]
    words += _config_flags(container, config, own)
    words += _host_flags(host, container.get("Mounts") or [])
    words += _network_flags(container, host)
    words += _onggi_flags(container.get("Onggi") or {})
    entrypoint, command = config.get("Entrypoint"), config.get("Cmd") or []
    if entrypoint != own.get("Entrypoint"):
        words.append(f"--entrypoint={entrypoint[0] if entrypoint else ''}")
        command = [*(entrypoint or [])[1:], *command]
    elif command == (own.get("Cmd") or []):
        command = []
    return [*words, config["Image"], *command]


_TEXTS = (("User", "user"), ("WorkingDir", "workdir"), ("Domainname", "domainname"), ("StopSignal", "stop-signal"))


def _config_flags(container: Json, config: Json, own: Json) -> list[str]:
    words = [
        f"--{flag}={config[field]}" for field, flag in _TEXTS if config.get(field) and config[field] != own.get(field)
    ]
    hostname = config.get("Hostname") or ""
    if hostname and hostname != container["Id"][:12] and container["HostConfig"]["NetworkMode"] != "host":
        words.append(f"--hostname={hostname}")
    words += [flag for field, flag in (("Tty", "--tty"), ("OpenStdin", "--interactive")) if config.get(field)]
    words += [f"--env={word}" for word in config.get("Env") or () if word not in (own.get("Env") or ())]
    labels, known = config.get("Labels") or {}, own.get("Labels") or {}
    words += [f"--label={name}={value}" for name, value in labels.items() if known.get(name) != value]
    bound = container["HostConfig"].get("PortBindings") or {}
    exposed = set(config.get("ExposedPorts") or {}) - set(own.get("ExposedPorts") or {}) - set(bound)
    words += [f"--expose={port}" for port in sorted(exposed)]
    if config.get("StopTimeout") is not None and config["StopTimeout"] != own.get("StopTimeout"):
        words.append(f"--stop-timeout={config['StopTimeout']}")
    return words + _health_flags(config.get("Healthcheck"), own.get("Healthcheck"))


_NETWORK_TESTS = {"HTTP": "http", "TCP": "tcp", "GRPC": "grpc"}


def _health_flags(health: Json | None, own: Json | None) -> list[str]:
    if not health or health == own:
        return []
    test = health.get("Test") or []
    words: list[str] = []
    if test[:1] == ["NONE"]:
        return ["--no-healthcheck"]
    if test[:1] == ["CMD"] and len(test) == 3 and test[1] in _NETWORK_TESTS:
        words.append(f"--health-{_NETWORK_TESTS[test[1]]}={test[2]}")
    elif test and test != (own or {}).get("Test"):
        words.append(f"--health-cmd={test[1] if test[0] == 'CMD-SHELL' else shlex.join(test[1:])}")
    for field, flag in (
        ("Interval", "interval"),
        ("Timeout", "timeout"),
        ("StartPeriod", "start-period"),
        ("StartInterval", "start-interval"),
    ):
        if health.get(field) and health[field] != (own or {}).get(field):
            words.append(f"--health-{flag}={_duration(health[field])}")
    if health.get("Retries") and health["Retries"] != (own or {}).get("Retries"):
        words.append(f"--health-retries={health['Retries']}")
    return words


def _duration(ns: int) -> str:
    for unit, size in (("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns}ns"


_NUMBERS = (
    ("Memory", "memory"), ("MemoryReservation", "memory-reservation"), ("CpuShares", "cpu-shares"), ("CpuPeriod", "cpu-period"),
    ("CpuQuota", "cpu-quota"), ("CpuRealtimePeriod", "cpu-rt-period"), ("CpuRealtimeRuntime", "cpu-rt-runtime"),
    ("BlkioWeight", "blkio-weight"), ("PidsLimit", "pids-limit"), ("OomScoreAdj", "oom-score-adj"), ("CpusetCpus", "cpuset-cpus"),
    ("CpusetMems", "cpuset-mems"), ("CgroupParent", "cgroup-parent"), ("UTSMode", "uts"), ("UsernsMode", "userns"), ("PidMode", "pid"),
)  # fmt: skip
_LISTS = (
    ("CapAdd", "cap-add"), ("CapDrop", "cap-drop"), ("Dns", "dns"), ("DnsOptions", "dns-option"), ("DnsSearch", "dns-search"),
    ("ExtraHosts", "add-host"), ("GroupAdd", "group-add"), ("VolumesFrom", "volumes-from"), ("DeviceCgroupRules", "device-cgroup-rule"),
)  # fmt: skip
_ON = (
    ("Privileged", "privileged"),
    ("ReadonlyRootfs", "read-only"),
    ("AutoRemove", "rm"),
    ("Init", "init"),
    ("PublishAllPorts", "publish-all"),
)
_SHM, _IPC = 64 << 20, "private"


def _host_flags(host: Json, points: list[Json]) -> list[str]:
    words = [f"--{flag}={host[field]}" for field, flag in _NUMBERS if host.get(field)]
    words += [f"--{flag}={one}" for field, flag in _LISTS for one in host.get(field) or ()]
    words += [f"--{flag}" for field, flag in _ON if host.get(field)]
    if host.get("NanoCpus"):
        words.append(f"--cpus={host['NanoCpus'] / 1e9:g}")
    if host.get("MemorySwap") and host["MemorySwap"] != 2 * host.get("Memory", 0):
        words.append(f"--memory-swap={host['MemorySwap']}")
    if host.get("ShmSize") not in (0, None, _SHM):
        words.append(f"--shm-size={host['ShmSize']}")
    if host.get("IpcMode") not in ("", None, _IPC):
        words.append(f"--ipc={host['IpcMode']}")
    words += [f"--security-opt={one}" for one in host.get("SecurityOpt") or () if one != "label=disable"]
    if host.get("MaskedPaths") == []:
        words.append("--security-opt=systempaths=unconfined")
    words += [f"--ulimit={one['Name']}={one['Soft']}:{one['Hard']}" for one in host.get("Ulimits") or ()]
    words += [f"--sysctl={name}={value}" for name, value in (host.get("Sysctls") or {}).items()]
    words += [f"--annotation={name}={value}" for name, value in (host.get("Annotations") or {}).items()]
    words += [_device(one) for one in host.get("Devices") or ()]
    words += _log_flags(host.get("LogConfig") or {})
    return words + _restart_flags(host.get("RestartPolicy") or {}) + _mount_flags(host, points)


def _device(one: Json) -> str:
    inside, access = one.get("PathInContainer") or one["PathOnHost"], one.get("CgroupPermissions") or "rwm"
    return f"--device={one['PathOnHost']}:{inside}" + ("" if access == "rwm" else f":{access}")


def _log_flags(log: Json) -> list[str]:
    options = [f"--log-opt={name}={value}" for name, value in (log.get("Config") or {}).items()]
    driver = [f"--log-driver={log['Type']}"] if log.get("Type") not in ("", None, "json-file") else []
    return driver + options


def _restart_flags(policy: Json) -> list[str]:
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    return [] if name == "no" else [f"--restart={name}" + (f":{count}" if count else "")]


def _mount_flags(host: Json, points: list[Json]) -> list[str]:
    words = [f"--volume={text}" for text in host.get("Binds") or ()]
    words += [
        f"--tmpfs={path}" + (f":{options}" if options else "") for path, options in (host.get("Tmpfs") or {}).items()
    ]
    words += [f"--mount={_mount(one)}" for one in host.get("Mounts") or ()]
    known = {text.split(":")[1] for text in host.get("Binds") or () if ":" in text}
    known |= {one["Target"] for one in host.get("Mounts") or ()}
    # Volumes without a name: the data stays when they are named.
    words += [
        f"--volume={point['Name']}:{point['Destination']}"
        for point in points
        if point["Type"] == "volume" and point["Destination"] not in known and not host.get("VolumesFrom")
    ]
    return words


def _mount(one: Json) -> str:
    parts = [
        f"type={one['Type']}",
        *([f"source={one['Source']}"] if one.get("Source") else []),
        f"target={one['Target']}",
    ]
    parts += ["readonly"] if one.get("ReadOnly") else []
    bind, volume, tmpfs = one.get("BindOptions") or {}, one.get("VolumeOptions") or {}, one.get("TmpfsOptions") or {}
    parts += [f"bind-propagation={bind['Propagation']}"] if bind.get("Propagation") else []
    parts += ["bind-recursive=disabled"] if bind.get("NonRecursive") else []
    parts += ["volume-nocopy=true"] if volume.get("NoCopy") else []
    parts += [f"volume-subpath={volume['Subpath']}"] if volume.get("Subpath") else []
    parts += [f"tmpfs-size={tmpfs['SizeBytes']}"] if tmpfs.get("SizeBytes") else []
    parts += [f"tmpfs-mode={tmpfs['Mode']:o}"] if tmpfs.get("Mode") else []
    image = one.get("ImageOptions") or {}
    parts += [f"image-subpath={image['Subpath']}"] if image.get("Subpath") else []
    return ",".join(parts)


def _network_flags(container: Json, host: Json) -> list[str]:
    words = []
    for key, wanted in (host.get("PortBindings") or {}).items():
        for one in wanted or [{}]:
            address = f"{one['HostIp']}:" if one.get("HostIp") else ""
            words.append(
                f"--publish={address}{one.get('HostPort', '')}:{key}"
                if address or one.get("HostPort")
                else f"--publish={key}"
            )
    mode = host.get("NetworkMode") or "bridge"
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    if mode not in ("default", "bridge"):
        words += [f"--network={_network(mode, networks.get(mode) or {})}"]
    words += [
        f"--network={_network(name, one)}"
        for name, one in networks.items()
        if name not in (mode, "bridge", "host", "none")
    ]
    links = [link for link in host.get("Links") or () if ":" in link]
    return words + [f"--link={link.partition(':')[0].removeprefix('/')}:{link.rpartition('/')[2]}" for link in links]


def _network(name: str, endpoint: Json) -> str:
    ipam = endpoint.get("IPAMConfig") or {}
    parts = [f"ip={ipam['IPv4Address']}"] if ipam.get("IPv4Address") else []
    parts += [f"ip6={ipam['IPv6Address']}"] if ipam.get("IPv6Address") else []
    parts += [f"alias={alias}" for alias in endpoint.get("Aliases") or ()]
    return ",".join([f"name={name}", *parts]) if parts else name


def _onggi_flags(onggi: Json) -> list[str]:
    return [f"--health-on-failure={onggi['HealthOnFailure']}"] if onggi.get("HealthOnFailure") else []


_PLAIN: Json = {
    "NetworkMode": "bridge", "IpcMode": _IPC, "ShmSize": _SHM, "ConsoleSize": [0, 0], "LogConfig": {"Type": "json-file", "Config": {}},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
}  # fmt: skip
"""What a container has that nobody has said anything of."""
_FILLED_IN = frozenset({"Runtime", "MaskedPaths", "ReadonlyPaths", "CgroupnsMode"})


def _python(container: Json, image: Json) -> str:
    """A call of onggi's own client that creates and starts the same."""
    import pprint

    config, host, own = container["Config"], container["HostConfig"], image.get("Config") or {}
    body: Json = {
        name: value
        for name, value in config.items()
        if value not in (None, "", [], {}, False) and value != own.get(name) and not name.startswith("Attach")
    }
    body["Image"], body["Env"] = (
        config["Image"],
        [word for word in config.get("Env") or () if word not in (own.get("Env") or ())],
    )
    if body.get("Hostname") == container["Id"][:12]:
        del body["Hostname"]
    body["HostConfig"] = {
        name: value
        for name, value in host.items()
        if value not in (None, "", [], {}, False, 0) and _PLAIN.get(name) != value and name not in _FILLED_IN
    }
    if onggi := {
        name: value for name, value in (container.get("Onggi") or {}).items() if name not in ("Exit", "PendingRestart")
    }:
        body["Onggi"] = onggi
    text = pprint.pformat(
        {name: value for name, value in body.items() if value not in ([], {})}, sort_dicts=False, width=100
    )
    name = container["Name"].removeprefix("/")
    return (
        "from onggi.client import Client, containers\n\n"
        f"with Client() as engine:\n    made = engine(containers.create(\n{text}, name={name!r}))\n"
        '    engine(containers.start(made["Id"]))'
    )
