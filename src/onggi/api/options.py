"""`onggid`'s options: dockerd's names, on the command line and in daemon.json. Pure: text in, values out.

One table says of each name whether it is honoured, accepted because it changes nothing here, or refused and why. A name
given on the command line and in the file is an error, in dockerd's words (moby cmd/dockerd/daemon.go, config.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from onggi.errors import InvalidArgument

Value = bool | int | str | list[str] | dict[str, str]
"""What an option holds, by its kind."""


class Kind(Enum):
    FLAG = "true or false"
    NUMBER = "a number"
    TEXT = "text"
    LIST = "a list"
    MAP = "a map"
    OBJECT = "an object"


class Standing(Enum):
    HONOURED = ""
    NEEDLESS = "accepted: it changes nothing here"
    REFUSED = "refused"


class Option(NamedTuple):
    """One name. `flag` is the command line's, "" when only the file has it; `key` the file's, "" when only the line has it."""

    flag: str
    key: str
    kind: Kind
    help: str = ""
    short: str = ""
    standing: Standing = Standing.HONOURED


def _needless(flag: str, key: str, kind: Kind, help: str = "") -> Option:
    return Option(flag, key, kind, help or "Accepted: it changes nothing here", standing=Standing.NEEDLESS)


def _refused(flag: str, key: str, kind: Kind, why: str) -> Option:
    return Option(flag, key, kind, why, standing=Standing.REFUSED)


OPTIONS: Final[tuple[Option, ...]] = (
    Option("bip", "bip", Kind.TEXT, "Address and prefix of the default bridge, as 172.17.0.1/16"),
    Option(
        "bridge", "bridge", Kind.TEXT, 'Bridge that containers are attached to; "none" switches networking off', "b"
    ),
    Option("cgroup-parent", "cgroup-parent", Kind.TEXT, "Parent cgroup of all containers"),
    Option("config-file", "", Kind.TEXT, "Configuration file"),
    Option("data-root", "data-root", Kind.TEXT, "Where everything is kept"),
    Option(
        "userns-remap", "userns-remap", Kind.TEXT, "Whose subordinate ids containers have: default, or USER[:GROUP]"
    ),
    Option("debug", "debug", Kind.FLAG, "Debug mode", "D"),
    Option(
        "default-address-pool",
        "default-address-pools",
        Kind.LIST,
        "Pools of new networks, as base=10.10.0.0/16,size=24",
    ),
    Option("default-ulimit", "default-ulimits", Kind.MAP, "Ulimits of containers, as nofile=1024:2048"),
    Option("dns", "dns", Kind.LIST, "Name servers of containers"),
    Option("dns-opt", "dns-opts", Kind.LIST, "Resolver options of containers"),
    Option("dns-search", "dns-search", Kind.LIST, "Search domains of containers"),
    Option("exec-root", "exec-root", Kind.TEXT, "Where sockets and the state of running containers are kept"),
    Option("group", "group", Kind.TEXT, "Group of the unix socket", "G"),
    Option("host", "hosts", Kind.LIST, "Sockets to listen on: unix://PATH, tcp://HOST:PORT, fd://", "H"),
    Option("http-proxy", "", Kind.TEXT, "Proxy for http:// registries"),
    Option("https-proxy", "", Kind.TEXT, "Proxy for https:// registries"),
    Option("insecure-loopback", "", Kind.FLAG, "Let tcp:// on a loopback address do without TLS"),
    Option(
        "insecure-registry",
        "insecure-registries",
        Kind.LIST,
        "Registries that may speak plain HTTP or have an unknown certificate",
    ),
    Option("ipv6", "ipv6", Kind.FLAG, "IPv6 on the default bridge"),
    Option("label", "labels", Kind.LIST, "Labels of this engine"),
    Option("log-driver", "log-driver", Kind.TEXT, "Default log driver of containers"),
    Option("log-level", "log-level", Kind.TEXT, "debug, info, warn, error or fatal", "l"),
    Option("log-opt", "log-opts", Kind.MAP, "Options of the default log driver"),
    Option("max-concurrent-downloads", "max-concurrent-downloads", Kind.NUMBER, "Layers of one pull at a time"),
    Option("max-concurrent-uploads", "max-concurrent-uploads", Kind.NUMBER, "Layers of one push at a time"),
    Option("max-download-attempts", "max-download-attempts", Kind.NUMBER, "How often a layer is tried to be fetched"),
    Option("mtu", "mtu", Kind.NUMBER, "MTU of the default bridge"),
    Option("no-proxy", "", Kind.TEXT, "Hosts, domains and networks that are reached without a proxy"),
    Option("", "proxies", Kind.OBJECT, "http-proxy, https-proxy and no-proxy"),
    Option("pidfile", "pidfile", Kind.TEXT, "File for the process id", "p"),
    Option("registry-mirror", "registry-mirrors", Kind.LIST, "Mirrors of docker.io"),
    Option("rootless", "rootless", Kind.FLAG, "Run as an ordinary user, in namespaces of that user's own"),
    Option(
        "shutdown-timeout", "shutdown-timeout", Kind.NUMBER, "Seconds that requests have to end when the engine goes"
    ),
    Option("tls", "tls", Kind.FLAG, "Use TLS; --tlsverify is implied: clients are always checked"),
    Option("tlscacert", "tlscacert", Kind.TEXT, "Certificates of the authority that signed the clients'"),
    Option("tlscert", "tlscert", Kind.TEXT, "The engine's certificate"),
    Option("tlskey", "tlskey", Kind.TEXT, "The engine's key"),
    Option("tlsverify", "tlsverify", Kind.FLAG, "Use TLS and check clients"),
    Option("validate", "", Kind.FLAG, "Check the configuration and exit"),
    _needless("live-restore", "live-restore", Kind.FLAG, "Containers outlive the engine always; accepted as true only"),
    _needless("experimental", "experimental", Kind.FLAG),
    _needless("userland-proxy", "userland-proxy", Kind.FLAG),
    _needless("userland-proxy-path", "userland-proxy-path", Kind.TEXT),
    _needless("iptables", "iptables", Kind.FLAG),
    _needless("ip6tables", "ip6tables", Kind.FLAG),
    _needless("ip-forward", "ip-forward", Kind.FLAG),
    _needless("ip-masq", "ip-masq", Kind.FLAG),
    _needless("firewall-backend", "firewall-backend", Kind.TEXT),
    _needless("storage-driver", "storage-driver", Kind.TEXT, "overlay2 and overlayfs mean what is done anyway"),
    _needless("exec-opt", "exec-opts", Kind.LIST),
    _needless("containerd", "containerd", Kind.TEXT),
    _needless("containerd-namespace", "containerd-namespace", Kind.TEXT),
    _needless("containerd-plugins-namespace", "containerd-plugin-namespace", Kind.TEXT),
    _needless("cri-containerd", "cri-containerd", Kind.FLAG),
    _needless("init-path", "init-path", Kind.TEXT),
    _needless("raw-logs", "raw-logs", Kind.FLAG),
    _needless("log-format", "log-format", Kind.TEXT),
    _needless("oom-score-adjust", "oom-score-adjust", Kind.NUMBER),
    _needless("min-api-version", "min-api-version", Kind.TEXT),
    _needless("network-control-plane-mtu", "network-control-plane-mtu", Kind.NUMBER),
    _needless("swarm-default-advertise-addr", "swarm-default-advertise-addr", Kind.TEXT),
    _needless("node-generic-resource", "node-generic-resources", Kind.LIST),
    _needless("allow-nondistributable-artifacts", "allow-nondistributable-artifacts", Kind.LIST),
    Option("", "builder", Kind.OBJECT, "gc: when the build cache lets go of what"),
    _needless("feature", "features", Kind.MAP),
    _needless("default-cgroupns-mode", "default-cgroupns-mode", Kind.TEXT),
    _needless("default-ipc-mode", "default-ipc-mode", Kind.TEXT),
    _needless("default-runtime", "default-runtime", Kind.TEXT),
    _needless("cdi-spec-dir", "cdi-spec-dirs", Kind.LIST),
    _refused("add-runtime", "runtimes", Kind.OBJECT, "other OCI runtimes can't be added"),
    _refused("allow-direct-routing", "allow-direct-routing", Kind.FLAG, "direct routing to containers isn't offered"),
    _refused(
        "authorization-plugin",
        "authorization-plugins",
        Kind.LIST,
        "plugins are not supported: requests would go unchecked",
    ),
    _refused("bip6", "bip6", Kind.TEXT, "the default bridge takes its IPv6 subnet from the pools"),
    _refused("bridge-accept-fwmark", "bridge-accept-fwmark", Kind.TEXT, "firewall marks are not read"),
    _refused("cpu-rt-period", "cpu-rt-period", Kind.NUMBER, "real-time scheduling isn't offered"),
    _refused("cpu-rt-runtime", "cpu-rt-runtime", Kind.NUMBER, "real-time scheduling isn't offered"),
    _refused("default-gateway", "default-gateway", Kind.TEXT, "the gateway is the bridge: choose it with --bip"),
    _refused("default-gateway-v6", "default-gateway-v6", Kind.TEXT, "the gateway is the bridge"),
    _refused("default-init", "default-init", Kind.TEXT, "it is no option of dockerd either: use --init"),
    _refused("default-network-opt", "default-network-opts", Kind.OBJECT, "give options when a network is created"),
    _refused("default-shm-size", "default-shm-size", Kind.TEXT, "give --shm-size to the container"),
    _refused("default-stop-timeout", "default-stop-timeout", Kind.NUMBER, "give --stop-timeout to the container"),
    _refused("fixed-cidr", "fixed-cidr", Kind.TEXT, "choose the default bridge's subnet with --bip"),
    _refused("fixed-cidr-v6", "fixed-cidr-v6", Kind.TEXT, "the default bridge takes its IPv6 subnet from the pools"),
    _refused("host-gateway-ip", "host-gateway-ips", Kind.LIST, "host-gateway is the bridge's address"),
    _refused("icc", "icc", Kind.FLAG, "isolate containers with networks of their own"),
    _refused("init", "init", Kind.FLAG, "give --init to the container"),
    _refused("ip", "ip", Kind.TEXT, "give the host's address with -p"),
    _refused("ip-forward-no-drop", "ip-forward-no-drop", Kind.FLAG, "the FORWARD policy isn't touched"),
    _refused("metrics-addr", "metrics-addr", Kind.TEXT, "metrics are not served yet"),
    _refused("network-diagnostic-port", "network-diagnostic-port", Kind.NUMBER, "there is no diagnostic port"),
    _refused(
        "no-new-privileges", "no-new-privileges", Kind.FLAG, "give --security-opt no-new-privileges to the container"
    ),
    _refused("nri-opts", "nri-opts", Kind.OBJECT, "NRI plugins are not supported"),
    _refused("resolv-conf", "resolv-conf", Kind.TEXT, "name servers are given with --dns"),
    _refused("seccomp-profile", "seccomp-profile", Kind.TEXT, "give --security-opt seccomp=FILE to the container"),
    _refused("selinux-enabled", "selinux-enabled", Kind.FLAG, "SELinux labels are not set"),
    _refused("storage-opt", "storage-opts", Kind.LIST, "the store has no options"),
)

DEFAULTS: Final[dict[str, Value]] = {
    "config-file": "/etc/onggi/daemon.json",
    "data-root": "/var/lib/onggi",
    "exec-root": "/run/onggi",
    "log-level": "info",
    "log-driver": "json-file",
    "shutdown-timeout": 15,
    "max-concurrent-downloads": 3,
    "max-concurrent-uploads": 5,
    "max-download-attempts": 5,
}
LEVELS: Final = ("debug", "info", "warn", "error", "fatal")

_BY_FLAG: Final = {option.flag: option for option in OPTIONS if option.flag}
_BY_SHORT: Final = {option.short: option for option in OPTIONS if option.short}
_BY_KEY: Final = {option.key: option for option in OPTIONS if option.key}
_WORDS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class Settings:
    """All values: those given, and the defaults under them. Names are the command line's (the file's where it has none)."""

    def __init__(self, given: Mapping[str, Value], usual: Mapping[str, Value]) -> None:
        self.given, self._usual = dict(given), usual

    def text(self, name: str) -> str:
        value = self._value(name, "")
        return value if isinstance(value, str) else str(value)

    def flag(self, name: str) -> bool:
        return self._value(name, False) is True

    def number(self, name: str) -> int:
        value = self._value(name, 0)
        return value if isinstance(value, int) else 0

    def texts(self, name: str) -> list[str]:
        value = self._value(name, [])
        return list(value) if isinstance(value, list) else []

    def pairs(self, name: str) -> dict[str, str]:
        value = self._value(name, {})
        return dict(value) if isinstance(value, dict) else {}

    def _value(self, name: str, fallback: Value) -> Value:
        return self.given.get(name, self._usual.get(name, fallback))


def parse_arguments(arguments: Sequence[str]) -> dict[str, Value]:
    """Values by name of the option. Raises InvalidArgument for a name that isn't one, or a value that doesn't fit."""
    given: dict[str, Value] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, text = _option_of(word)
        if text is None and option.kind is Kind.FLAG:
            text = "true"
        elif text is None:
            if not rest:
                raise InvalidArgument(f"flag needs an argument: {word}")
            text = rest.pop(0)
        _put(given, option, text, word)
    return given


def _option_of(word: str) -> tuple[Option, str | None]:
    """The option of `--name`, `--name=value`, `-n`, `-nvalue`."""
    if word.startswith("--"):
        name, equals, text = word[2:].partition("=")
        option = _BY_FLAG.get(name)
        if option is None:
            raise InvalidArgument(f"unknown flag: --{name}")
        return option, text if equals else None
    if word.startswith("-") and len(word) > 1:
        option = _BY_SHORT.get(word[1])
        if option is None:
            raise InvalidArgument(f"unknown shorthand flag: '{word[1]}' in {word}")
        return option, word[2:].removeprefix("=") or None
    raise InvalidArgument(f'"onggid" accepts no arguments, got {word!r}')


def _put(given: dict[str, Value], option: Option, text: str, word: str) -> None:
    name = option.flag
    before = given.get(name)
    if option.kind is Kind.FLAG:
        if text.lower() not in _WORDS:
            raise InvalidArgument(f'invalid argument "{text}" for "{word}" flag: want true or false')
        given[name] = _WORDS[text.lower()]
    elif option.kind is Kind.NUMBER:
        if not text.lstrip("-").isdecimal():
            raise InvalidArgument(f'invalid argument "{text}" for "{word}" flag: want a number')
        given[name] = int(text)
    elif option.kind is Kind.LIST:
        given[name] = [*before, text] if isinstance(before, list) else [text]
    elif option.kind in (Kind.MAP, Kind.OBJECT):
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidArgument(f'invalid argument "{text}" for "{word}" flag: want name=value')
        given[name] = {**before, key: value} if isinstance(before, dict) else {key: value}
    else:
        given[name] = text


def parse_file(data: bytes) -> dict[str, Value]:
    """Values of a daemon.json, by name of the option. Raises InvalidArgument naming every key that isn't one."""
    try:
        decoded = msgspec.json.decode(data or b"{}", type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid JSON: {error}") from None
    unknown = sorted(key for key in decoded if key not in _BY_KEY)
    if unknown:
        raise InvalidArgument(f"the following directives don't match any configuration option: {', '.join(unknown)}")
    found = {(_BY_KEY[key].flag or key): _file_value(_BY_KEY[key], value) for key, value in decoded.items()}
    proxies = found.pop("proxies", {})
    return found | _proxies(proxies)


def _proxies(table: Value) -> dict[str, Value]:
    """The file's table, under the line's names."""
    proxies = table if isinstance(table, dict) else {}
    for name in proxies:
        if name not in ("http-proxy", "https-proxy", "no-proxy"):
            raise InvalidArgument(f"the following directives don't match any configuration option: proxies.{name}")
    return {**proxies}


def _file_value(option: Option, value: object) -> Value:
    kind = option.kind
    if kind is Kind.FLAG and isinstance(value, bool):
        return value
    if kind is Kind.NUMBER and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is Kind.TEXT and isinstance(value, str):
        return value
    if kind is Kind.LIST and isinstance(value, list):
        return [item if isinstance(item, str) else _pool_text(option, item) for item in value]
    if kind in (Kind.MAP, Kind.OBJECT) and isinstance(value, dict):
        return {str(name): _pair_text(item) for name, item in value.items()}
    raise InvalidArgument(f"{option.key}: want {kind.value}")


def _pool_text(option: Option, item: object) -> str:
    if option.key == "default-address-pools" and isinstance(item, dict) and set(item) == {"base", "size"}:
        return f"base={item['base']},size={item['size']}"
    raise InvalidArgument(f"{option.key}: want a list of text")


def _pair_text(item: object) -> str:
    """A map's value; a ulimit of the file is {"Name", "Soft", "Hard"}."""
    if isinstance(item, dict) and {"Soft", "Hard"} <= set(item):
        return f"{item['Soft']}:{item['Hard']}"
    if isinstance(item, bool):
        return str(item).lower()
    return item if isinstance(item, str) else msgspec.json.encode(item).decode()


def merge(line: Mapping[str, Value], file: Mapping[str, Value], usual: Mapping[str, Value] = DEFAULTS) -> Settings:
    """Both together, over what is usual. Raises InvalidArgument for what stands in both, for what is refused, and for what contradicts."""
    both = [name for name in line if name in file]
    if both:
        texts = [f"{_shown(name)}: (from flag: {_go(line[name])}, from file: {_go(file[name])})" for name in both]
        raise InvalidArgument(
            "the following directives are specified both as a flag and in the configuration file: " + ", ".join(texts)
        )
    settings = Settings({**file, **line}, usual)
    for name in settings.given:
        option = _BY_FLAG.get(name) or _BY_KEY[name]
        if option.standing is Standing.REFUSED:
            raise InvalidArgument(f"{name} is not supported: {option.help}")
    if file.get("rootless") and not line.get("rootless"):
        raise InvalidArgument("rootless must be given on the command line: it decides which file is read")
    if settings.given.get("live-restore") is False:
        raise InvalidArgument("live-restore can't be switched off: containers outlive the engine always")
    if settings.text("log-level") not in LEVELS:
        raise InvalidArgument(f"invalid logging level: {settings.text('log-level')}")
    if settings.text("storage-driver") not in ("", "overlay2", "overlayfs"):
        raise InvalidArgument(f"storage-driver {settings.text('storage-driver')!r} is not supported: overlay2 is")
    return settings


def _shown(name: str) -> str:
    return (_BY_FLAG.get(name) or _BY_KEY[name]).key or name


def _go(value: Value) -> str:
    """As Go prints it: [a b], map[a:b]."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{' '.join(value)}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{text}' for key, text in sorted(value.items()))}]"
    return str(value)


def usage() -> str:
    """What --help prints: what is honoured; the rest is known and answered by name."""
    lines = ["Usage:  onggid [OPTIONS]", "", "A container engine that speaks Docker's Engine API.", "", "Options:"]
    for option in sorted(OPTIONS, key=lambda each: each.flag):
        if option.flag and option.standing is Standing.HONOURED:
            short = f"-{option.short}, " if option.short else "    "
            lines.append(f"  {short}--{option.flag:<28} {option.help}")
    return "\n".join([*lines, f"  {'-h, --help':<36} Print this", f"  {'-v, --version':<36} Print the version", ""])
