"""The flags of `run` and `create`, and what they say in the API's words."""

from __future__ import annotations

import os

from onggi.cli import mountwords
from onggi.cli.flags import Options, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json

FLAGS = """
   --add-host list  Add a custom host-to-IP mapping (host:ip)
   --annotation map  Add an annotation to the container (passed through to the OCI runtime)
-a --attach list  Attach to STDIN, STDOUT or STDERR
   --blkio-weight int=0  Block IO (relative weight), between 10 and 1000, or 0 to disable
   --blkio-weight-device list  Block IO weight (relative device weight)
   --cap-add list  Add Linux capabilities
   --cap-drop list  Drop Linux capabilities
   --cgroup-parent string  Optional parent cgroup for the container
   --cgroupns string  Cgroup namespace to use (host|private)
   --cidfile string  Write the container ID to the file
   --cpu-period int  Limit CPU CFS (Completely Fair Scheduler) period
   --cpu-quota int  Limit CPU CFS (Completely Fair Scheduler) quota
   --cpu-rt-period int  Limit CPU real-time period in microseconds
   --cpu-rt-runtime int  Limit CPU real-time runtime in microseconds
-c --cpu-shares int  CPU shares (relative weight)
   --cpus decimal  Number of CPUs
   --cpuset-cpus string  CPUs in which to allow execution (0-3, 0,1)
   --cpuset-mems string  MEMs in which to allow execution (0-3, 0,1)
   --device list  Add a host device to the container
   --device-cgroup-rule list  Add a rule to the cgroup allowed devices list
   --device-read-bps list  Limit read rate (bytes per second) from a device
   --device-read-iops list  Limit read rate (IO per second) from a device
   --device-write-bps list  Limit write rate (bytes per second) to a device
   --device-write-iops list  Limit write rate (IO per second) to a device
   --dns list  Set custom DNS servers
   --dns-option list  Set DNS options
   --dns-search list  Set custom DNS search domains
   --domainname string  Container NIS domain name
   --entrypoint string  Overwrite the default ENTRYPOINT of the image
-e --env list  Set environment variables
   --env-file list  Read in a file of environment variables
   --expose list  Expose a port or a range of ports
   --gpus string  GPU devices to add to the container ('all' to pass all GPUs)
   --group-add list  Add additional groups to join
   --health-cmd string  Command to run to check health
   --health-interval duration=0  Time between running the check (ms|s|m|h)
   --health-retries int=0  Consecutive failures needed to report unhealthy
   --health-start-interval duration=0  Time between running the check during the start period (ms|s|m|h)
   --health-start-period duration=0  Start period for the container to initialize before starting health-retries countdown
   --health-timeout duration=0  Maximum time to allow one check to run (ms|s|m|h)
-h --hostname string  Container host name
   --init bool  Run an init inside the container that forwards signals and reaps processes
-i --interactive bool  Keep STDIN open even if not attached
   --ip string  IPv4 address (e.g., 172.30.100.104)
   --ip6 string  IPv6 address (e.g., 2001:db8::33)
   --ipc string  IPC mode to use
   --isolation string  Container isolation technology
-l --label list  Set meta data on a container
   --label-file list  Read in a line delimited file of labels
   --link list  Add link to another container
   --link-local-ip list  Container IPv4/IPv6 link-local addresses
   --log-driver string  Logging driver for the container
   --log-opt list  Log driver options
   --mac-address string  Container MAC address (e.g., 92:d0:c6:0a:29:33)
-m --memory bytes=0  Memory limit
   --memory-reservation bytes=0  Memory soft limit
   --memory-swap bytes=0  Swap limit equal to memory plus swap: '-1' to enable unlimited swap
   --memory-swappiness int=-1  Tune container memory swappiness (0 to 100)
   --mount list  Attach a filesystem mount to the container
   --name string  Assign a name to the container
   --network list  Connect a container to a network
   --net list  Connect a container to a network
   --network-alias list  Add network-scoped alias for the container
   --net-alias list  Add network-scoped alias for the container
   --no-healthcheck bool  Disable any container-specified HEALTHCHECK
   --oom-kill-disable bool  Disable OOM Killer
   --oom-score-adj int=0  Tune host's OOM preferences (-1000 to 1000)
   --pid string  PID namespace to use
   --pids-limit int=0  Tune container pids limit (set -1 for unlimited)
   --platform string  Set platform if server is multi-platform capable
   --privileged bool  Give extended privileges to this container
-p --publish list  Publish a container's port(s) to the host
-P --publish-all bool  Publish all exposed ports to random ports
   --pull string=missing  Pull image before running ("always", "missing", "never")
-q --quiet bool  Suppress the pull output
   --read-only bool  Mount the container's root filesystem as read only
   --restart string=no  Restart policy to apply when a container exits
   --rm bool  Automatically remove the container and its associated anonymous volumes when it exits
   --runtime string  Runtime to use for this container
   --security-opt list  Security Options
   --shm-size bytes=0  Size of /dev/shm
   --stop-signal string  Signal to stop the container
   --stop-timeout int  Timeout (in seconds) to stop a container
   --storage-opt list  Storage driver options for the container
   --sysctl map  Sysctl options
   --tmpfs list  Mount a tmpfs directory
-t --tty bool  Allocate a pseudo-TTY
   --ulimit list  Ulimit options
-u --user string  Username or UID (format: <name|uid>[:<group|gid>])
   --userns string  User namespace to use
   --uts string  UTS namespace to use
-v --volume list  Bind mount a volume
   --volume-driver string  Optional volume driver for the container
   --volumes-from list  Mount volumes from the specified container(s)
-w --workdir string  Working directory inside the container
"""


def file_lines(path: str) -> list[str]:
    """Lines of an --env-file or --label-file, without comments. Raises UsageError."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.rstrip("\r\n").lstrip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"open {path}: {getattr(error, 'strerror', None) or error}".lower()) from None
    return [line for line in lines if line and not line.startswith("#")]


def environment(words: list[str], files: list[str]) -> list[str]:
    """NAME=value; a NAME alone takes the client's own value, and is left out where it has none."""
    found = []
    for word in [line for path in files for line in file_lines(path)] + words:
        name, separator, _ = word.partition("=")
        if not name or (not separator and any(letter.isspace() for letter in name)):
            raise UsageError(f"invalid environment variable: {word}")
        if separator:
            found.append(word)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found


def labels(words: list[str], files: list[str]) -> dict[str, str]:
    lines = [line for path in files for line in file_lines(path)] + words
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def container_config(options: Options, image: str, command: list[str]) -> Json:
    """The body of POST /containers/create. Raises UsageError."""
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
        "Env": environment(options.list("env"), options.list("env-file")),
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
    host = _host_config(options)
    binds, volumes = _volumes(options)
    if volumes:
        config["Volumes"] = {key: {} for key in volumes}
    host["Binds"] = binds or None
    bindings: dict[str, list[Json]] = {}
    for word in options.list("publish"):
        for port, found in mountwords.publish(word).items():
            bindings.setdefault(port, []).extend(found)
    exposed: Json = {port: {} for port in bindings} | {
        port: {} for word in options.list("expose") for port in mountwords.publish(word)
    }
    if exposed:
        config["ExposedPorts"] = exposed
    host["PortBindings"] = bindings
    endpoints = _networks(options, host)
    return config | {"HostConfig": host, "NetworkingConfig": {"EndpointsConfig": endpoints}}


def _attached(options: Options) -> set[str]:
    wanted = {word.lower() for word in options.list("attach")}
    for word in wanted - {"stdin", "stdout", "stderr"}:
        raise UsageError(
            f'invalid argument "{word}" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'
        )
    if wanted:
        return wanted
    if options.values.get("detach"):
        return set()
    return {"stdout", "stderr"} | ({"stdin"} if options.on("interactive") else set())


def _health(options: Options) -> Json:
    if options.on("no-healthcheck"):
        return {"Test": ["NONE"]}
    found: Json = {}
    if options.text("health-cmd"):
        found["Test"] = ["CMD-SHELL", options.text("health-cmd")]
    for flag, field in (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod"),
                        ("start-interval", "StartInterval"), ("retries", "Retries")):  # fmt: skip
        if options.number(f"health-{flag}"):
            found[field] = options.number(f"health-{flag}")
    return found


def _volumes(options: Options) -> tuple[list[str], list[str]]:
    binds, anonymous = [], []
    for word in options.list("volume"):
        bind, path = mountwords.volume(word)
        if bind:
            binds.append(bind)
        elif path:
            anonymous.append(path)
    return binds, anonymous


def _networks(options: Options, host: Json) -> Json:
    words = options.list("network") + options.list("net")
    aliases = options.list("network-alias") + options.list("net-alias")
    endpoints: Json = {}
    for at, word in enumerate(words):
        name, endpoint = mountwords.network(word)
        if at == 0:
            host["NetworkMode"] = name
            if aliases:
                endpoint["Aliases"] = [*endpoint.get("Aliases", []), *aliases]
            address = {
                key: value
                for key, value in (("IPv4Address", options.text("ip")), ("IPv6Address", options.text("ip6")))
                if value
            }
            if address:
                endpoint["IPAMConfig"] = address
            if options.text("mac-address"):
                endpoint["MacAddress"] = options.text("mac-address")
        if endpoint or len(words) > 1:
            endpoints[name] = endpoint
    if not words:
        host["NetworkMode"] = "default"
    return endpoints


def restart_policy(text: str) -> Json:
    name, _, count = text.partition(":")
    if count and not count.lstrip("-").isdigit():
        raise UsageError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name or "no", "MaximumRetryCount": int(count or 0)}


def _ulimit(word: str) -> Json:
    name, separator, values = word.partition("=")
    soft, _, hard = values.partition(":")
    try:
        if not separator:
            raise ValueError(word)
        return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}
    except ValueError:
        raise UsageError(f'invalid argument "{word}" for "--ulimit" flag: invalid ulimit argument: {word}') from None


def _security(words: list[str]) -> list[str]:
    """A seccomp profile is read here: the engine may be on another machine."""
    found = []
    for word in words:
        key, _, value = word.replace(":", "=", 1).partition("=")
        if key == "seccomp" and value not in ("unconfined", "builtin"):
            try:
                with open(value, encoding="utf-8") as file:
                    found.append(f"seccomp={file.read()}")
                continue
            except OSError as error:
                raise UsageError(f"opening seccomp profile ({value}) failed: {error.strerror}") from None
        found.append(word)
    return found


def _rates(words: list[str], *, amounts: bool) -> list[Json]:
    from onggi.cli.units import parse_bytes

    found = []
    for word in words:
        path, _, rate = word.rpartition(":")
        try:
            found.append({"Path": path, "Rate": parse_bytes(rate) if amounts else int(rate)})
        except ValueError:
            raise UsageError(f"invalid rate for device: {word}") from None
    return found


def _host_config(options: Options) -> Json:
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
        "Devices": [mountwords.device(word) for word in options.list("device")],
        "DeviceCgroupRules": options.list("device-cgroup-rule") or None,
        "Dns": options.list("dns"),
        "DnsOptions": options.list("dns-option"),
        "DnsSearch": options.list("dns-search"),
        "ExtraHosts": [word.replace("=", ":", 1) if "=" in word else word for word in options.list("add-host")] or None,
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
        "SecurityOpt": _security(options.list("security-opt")) or None,
        "ShmSize": options.number("shm-size") or 0,
        "StorageOpt": options.map("storage-opt") or None,
        "Sysctls": options.map("sysctl") or None,
        "Tmpfs": {path: words for path, _, words in (word.partition(":") for word in options.list("tmpfs"))} or None,
        "Ulimits": [_ulimit(word) for word in options.list("ulimit")],
        "UsernsMode": options.text("userns"),
        "UTSMode": options.text("uts"),
        "VolumeDriver": options.text("volume-driver"),
        "VolumesFrom": options.list("volumes-from") or None,
        "BlkioDeviceReadBps": _rates(options.list("device-read-bps"), amounts=True),
        "BlkioDeviceWriteBps": _rates(options.list("device-write-bps"), amounts=True),
        "BlkioDeviceReadIOps": _rates(options.list("device-read-iops"), amounts=False),
        "BlkioDeviceWriteIOps": _rates(options.list("device-write-iops"), amounts=False),
    }
    if options.on("init"):
        host["Init"] = True
    if options.list("annotation"):
        host["Annotations"] = options.map("annotation")
    return host | resources(options)


def resources(options: Options) -> Json:
    """What `run` and `update` share: limits."""
    found: Json = {}
    for flag, field in (
        ("memory", "Memory"), ("memory-swap", "MemorySwap"), ("memory-reservation", "MemoryReservation"), ("pids-limit", "PidsLimit"),
        ("cpu-shares", "CpuShares"), ("cpu-period", "CpuPeriod"), ("cpu-quota", "CpuQuota"), ("cpu-rt-period", "CpuRealtimePeriod"),
        ("cpu-rt-runtime", "CpuRealtimeRuntime"), ("blkio-weight", "BlkioWeight"),
    ):  # fmt: skip
        if flag in options.given:
            found[field] = options.number(flag)
    if options.text("cpuset-cpus"):
        found["CpusetCpus"] = options.text("cpuset-cpus")
    if options.text("cpuset-mems"):
        found["CpusetMems"] = options.text("cpuset-mems")
    if options.text("cpus"):
        found["NanoCpus"] = round(float(options.text("cpus")) * 1e9)
    if "memory-swappiness" in options.values and (options.number("memory-swappiness") or 0) >= 0:
        found["MemorySwappiness"] = options.number("memory-swappiness")
    return found
