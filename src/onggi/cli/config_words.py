"""What the flags of `run` and `create` say, as the body of POST /containers/create. Raises UsageError in docker's words.

Source: docker/cli container/opts.go for which flag goes where and which combinations are refused.
"""

from __future__ import annotations

from onggi.cli import beyond, mountwords, ports
from onggi.cli.endpoint_words import endpoints
from onggi.cli.flags import Options, UsageError
from onggi.cli.pairs import environment, labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json


def container_config(options: Options, image: str, command: list[str], proxies: list[str] | None = None) -> Json:
    """The whole body. `proxies` are the configuration file's proxy variables; the user's own come after and win."""
    _refuse_conflicts(options)
    attached = _attached(options)
    config: Json = {
        "Image": image,
        "Hostname": options.text("hostname"),
        "Domainname": options.text("domainname"),
        "User": options.text("user"),
        "AttachStdin": "stdin" in attached,
        "AttachStdout": "stdout" in attached,
        "AttachStderr": "stderr" in attached,
        "Tty": options.on("tty"),
        "OpenStdin": options.on("interactive"),
        "StdinOnce": options.on("interactive") and "stdin" in attached,
        "Env": [*environment([], options.list("env-file")), *(proxies or []), *environment(options.list("env"), [])],
        "Cmd": command or None,
        "Entrypoint": [options.text("entrypoint")] if "entrypoint" in options.given else None,
        "WorkingDir": options.text("workdir"),
        "Labels": labels(options.list("label"), options.list("label-file")),
        "StopSignal": options.text("stop-signal"),
    }
    if options.number("stop-timeout") is not None:
        config["StopTimeout"] = options.number("stop-timeout")
    health = _health(options)
    if health:
        config["Healthcheck"] = health
    if onggi := beyond.extensions(options):
        config["Onggi"] = onggi
    binds, volumes = _volumes(options)
    if volumes:
        config["Volumes"] = {key: {} for key in volumes}
    bindings, exposed = _ports(options)
    if exposed:
        config["ExposedPorts"] = exposed
    mode, attachments = endpoints(options)
    host = _host_config(options) | {"Binds": binds or None, "PortBindings": bindings, "NetworkMode": mode}
    return config | {"HostConfig": host, "NetworkingConfig": {"EndpointsConfig": attachments}}


def _refuse_conflicts(options: Options) -> None:
    swappiness = options.number("memory-swappiness")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise UsageError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    for flag, name, modes in (
        ("pid", "PID", ("host",)), ("uts", "UTS", ("host",)), ("userns", "USER", ("host",)), ("cgroupns", "CGROUP", ("host", "private")),
    ):  # fmt: skip
        mode = options.text(flag)
        if mode and mode not in modes and not (flag == "pid" and _is_container(mode)):
            raise UsageError(f"--{flag}: invalid {name} mode")
    if options.text("log-driver") == "none" and options.list("log-opt"):
        raise UsageError("invalid logging opts for driver none")
    if any("=" not in word for word in options.list("storage-opt")):
        raise UsageError("invalid storage option")
    if options.on("rm") and restart_policy(options.text("restart"))["Name"] not in ("", "no"):
        raise UsageError("conflicting options: cannot specify both --restart and --rm")


def _is_container(mode: str) -> bool:
    return mode.startswith("container:") and len(mode) > len("container:")


def _attached(options: Options) -> set[str]:
    wanted = set(options.list("attach"))
    if options.on("detach"):
        return set()
    if options.on("interactive"):
        return (wanted or {"stdout", "stderr"}) | {"stdin"}
    return wanted or {"stdout", "stderr"}


def _health(options: Options) -> Json:
    found: Json = {}
    test = beyond.health_test(options)
    if test:
        found["Test"] = test
    elif options.text("health-cmd"):
        found["Test"] = ["CMD-SHELL", options.text("health-cmd")]
    for flag, field in (("interval", "Interval"), ("timeout", "Timeout"), ("retries", "Retries"),
                        ("start-period", "StartPeriod"), ("start-interval", "StartInterval")):  # fmt: skip
        value = options.number(f"health-{flag}")
        if value:
            found[field] = value
    if options.on("no-healthcheck"):
        if found:
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    for field, flag in (("Interval", "interval"), ("Timeout", "timeout"), ("Retries", "retries"),
                        ("StartPeriod", "start-period"), ("StartInterval", "start-interval")):  # fmt: skip
        if found.get(field, 0) < 0:
            raise UsageError(f"--health-{flag} cannot be negative")
    return found


def _volumes(options: Options) -> tuple[list[str], list[str]]:
    """(Binds, anonymous paths)."""
    binds, anonymous = [], []
    for word in options.list("volume"):
        if not word:
            raise UsageError("invalid empty volume spec")
        parts = word.split(":")
        if len(parts) > 1 and not all(parts[:2]):
            raise UsageError(f"invalid spec: {word}: empty section between colons")
        if len(parts) > 3:
            raise UsageError(f"invalid spec: {word}: too many colons")
        bind, path = mountwords.volume(word)
        if bind:
            binds.append(bind)
        elif path:
            anonymous.append(path)
    return binds, anonymous


def _ports(options: Options) -> tuple[Json, Json]:
    """(PortBindings, ExposedPorts)."""
    bindings: dict[str, list[Json]] = {}
    try:
        for word in options.list("publish"):
            for port, found in ports.publish(word).items():
                bindings.setdefault(port, []).extend(found)
        exposed = [port for word in options.list("expose") for port in ports.expose(word)]
    except ValueError as error:
        raise UsageError(str(error)) from None
    return bindings, {port: {} for port in (*bindings, *exposed)}


def restart_policy(text: str) -> Json:
    name, colon, count = beyond.split_restart(text)[0].partition(":")
    if colon and not name:
        raise UsageError("invalid restart policy format: no policy provided before colon")
    if count and not count.lstrip("-").isdigit():
        raise UsageError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


_UNCONFINED_PATHS = "systempaths=unconfined"
"""Said by the client: the engine gets two empty lists of paths in its place."""


def _security(words: list[str]) -> list[str]:
    """A seccomp profile is read here: the engine may be on another machine."""
    found = []
    for word in words:
        key, separator, value = word.partition("=")
        if not separator and key != "no-new-privileges":
            key, separator, value = word.partition(":")
        if not value and key != "no-new-privileges":
            raise UsageError(f'Invalid --security-opt: "{word}"')
        if key == "seccomp" and value not in ("unconfined", "builtin"):
            found.append(f"seccomp={_seccomp_profile(value)}")
        else:
            found.append(word)
    return found


def _seccomp_profile(path: str) -> str:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            return json.dumps(json.load(file), separators=(",", ":"), ensure_ascii=False)
    except OSError as error:
        raise UsageError(
            f"opening seccomp profile ({path}) failed: open {path}: {(error.strerror or '').lower()}"
        ) from None
    except ValueError as error:
        raise UsageError(f"compacting json for seccomp profile ({path}) failed: {error}") from None


def _device_rates(words: list[str]) -> list[Json]:
    """`/dev/sda:1mb`, already looked at."""
    from onggi.cli.units import parse_bytes

    return [{"Path": path, "Rate": parse_bytes(rate)} for path, _, rate in (word.partition(":") for word in words)]


def _devices(options: Options) -> tuple[list[Json], list[Json]]:
    """(Devices, DeviceRequests): paths of the host, and what a driver or CDI gives."""
    names = options.list("device")
    try:
        paths = [mountwords.device(word) for word in names if not mountwords.is_cdi(word)]
    except ValueError as error:
        raise UsageError(str(error)) from None
    requests = [mountwords.gpus(word) for word in options.list("gpus")]
    if cdi := [word for word in names if mountwords.is_cdi(word)]:
        requests.append({"Driver": "cdi", "Count": 0, "DeviceIDs": cdi, "Capabilities": None, "Options": None})
    return paths, requests


def _host_config(options: Options) -> Json:
    security = _security(options.list("security-opt"))
    devices, requests = _devices(options)
    host: Json = {
        "AutoRemove": options.on("rm"),
        "Privileged": options.on("privileged"),
        "PublishAllPorts": options.on("publish-all"),
        "ReadonlyRootfs": options.on("read-only"),
        "RestartPolicy": restart_policy(options.text("restart")),
        "CapAdd": options.list("cap-add") or None,
        "CapDrop": options.list("cap-drop") or None,
        "CgroupParent": options.text("cgroup-parent"),
        "CgroupnsMode": options.text("cgroupns"),
        "ContainerIDFile": options.text("cidfile"),
        "Devices": devices,
        "DeviceRequests": requests or None,
        "DeviceCgroupRules": options.list("device-cgroup-rule") or None,
        "Dns": options.list("dns"),
        "DnsOptions": options.list("dns-option") + options.list("dns-opt"),
        "DnsSearch": options.list("dns-search"),
        "ExtraHosts": options.list("add-host") or None,
        "GroupAdd": options.list("group-add") or None,
        "IpcMode": options.text("ipc"),
        "Isolation": options.text("isolation"),
        "Links": options.list("link") or None,
        "LogConfig": {"Type": options.text("log-driver"), "Config": options.map("log-opt")},
        "Mounts": [mountwords.mount(word) for word in options.list("mount")] or None,
        "OomKillDisable": options.on("oom-kill-disable"),
        "OomScoreAdj": options.number("oom-score-adj") or 0,
        "PidMode": options.text("pid"),
        "Runtime": options.text("runtime"),
        "SecurityOpt": [word for word in security if word != _UNCONFINED_PATHS] or None,
        "ShmSize": options.number("shm-size") or 0,
        "StorageOpt": options.map("storage-opt") or None,
        "Sysctls": options.map("sysctl") or None,
        "Tmpfs": {path: words for path, _, words in (word.partition(":") for word in options.list("tmpfs"))} or None,
        "Ulimits": [mountwords.ulimit(word) for word in options.list("ulimit")],
        "UsernsMode": options.text("userns"),
        "UTSMode": options.text("uts"),
        "VolumeDriver": options.text("volume-driver"),
        "VolumesFrom": options.list("volumes-from") or None,
        "BlkioWeightDevice": [{"Path": one["Path"], "Weight": one["Rate"]} for one in _device_rates(options.list("blkio-weight-device"))],
        "BlkioDeviceReadBps": _device_rates(options.list("device-read-bps")),
        "BlkioDeviceWriteBps": _device_rates(options.list("device-write-bps")),
        "BlkioDeviceReadIOps": _device_rates(options.list("device-read-iops")),
        "BlkioDeviceWriteIOps": _device_rates(options.list("device-write-iops")),
    }  # fmt: skip
    if _UNCONFINED_PATHS in security:
        host |= {"MaskedPaths": [], "ReadonlyPaths": []}
    if "init" in options.given:
        host["Init"] = options.on("init")
    if options.list("annotation"):
        host["Annotations"] = options.map("annotation")
    return host | resources(options)


_RESOURCES = {
    "memory": "Memory", "memory-swap": "MemorySwap", "memory-reservation": "MemoryReservation", "pids-limit": "PidsLimit",
    "cpu-shares": "CpuShares", "cpu-period": "CpuPeriod", "cpu-quota": "CpuQuota", "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime", "blkio-weight": "BlkioWeight", "cpu-count": "CpuCount", "cpu-percent": "CpuPercent",
    "io-maxbandwidth": "IOMaximumBandwidth", "io-maxiops": "IOMaximumIOps",
}  # fmt: skip
"""Flag → field, for limits that are numbers."""


def resources(options: Options) -> Json:
    """What `run` and `update` share: limits."""
    found: Json = {field: options.number(flag) for flag, field in _RESOURCES.items() if flag in options.given}
    if options.text("cpuset-cpus"):
        found["CpusetCpus"] = options.text("cpuset-cpus")
    if options.text("cpuset-mems"):
        found["CpusetMems"] = options.text("cpuset-mems")
    if options.text("cpus"):
        found["NanoCpus"] = round(float(options.text("cpus")) * 1e9)
    if (options.number("memory-swappiness") or -1) >= 0 or options.number("memory-swappiness") == 0:
        found["MemorySwappiness"] = options.number("memory-swappiness")
    return found
