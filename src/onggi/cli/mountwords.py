"""Words of -v, --mount, --tmpfs, -p and --network, as the API has them."""

from __future__ import annotations

import os

from onggi.cli.flags import UsageError
from onggi.cli.units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json


def volume(word: str) -> tuple[str | None, str | None]:
    """-v: (bind for HostConfig.Binds, anonymous path for Config.Volumes); one of them is None.

    A relative host path is taken from the current directory (docker does so since 23).
    """
    parts = word.split(":")
    if len(parts) == 1:
        return None, word
    if parts[0] in (".", "..") or parts[0].startswith(("./", "../", "~/")):
        parts[0] = os.path.abspath(os.path.expanduser(parts[0]))
    return ":".join(parts), None


_TRUE = {"", "true", "1"}


def mount(word: str) -> Json:
    """--mount type=…,source=…,target=… Raises UsageError in docker's words."""
    import csv

    found: Json = {"Type": "volume"}
    options: Json = {}
    for field in next(csv.reader([word])):
        key, separator, value = field.partition("=")
        key = key.lower()
        if key in ("readonly", "ro"):
            found["ReadOnly"] = value.lower() in _TRUE
        elif key in ("volume-nocopy", "bind-nonrecursive"):
            options[key] = value.lower() in _TRUE
        elif not separator:
            raise UsageError(
                f'invalid argument "{word}" for "--mount" flag: invalid field \'{field}\' must be a key=value pair'
            )
        elif key == "type":
            found["Type"] = value.lower()
        elif key in ("source", "src"):
            found["Source"] = value
        elif key in ("target", "dst", "destination"):
            found["Target"] = value
        elif key == "consistency":
            found["Consistency"] = value
        elif key in _OPTIONS:
            options[key] = value
        elif key in ("volume-label", "volume-opt"):
            options.setdefault(key, []).append(value)
        else:
            raise UsageError(f"invalid argument \"{word}\" for \"--mount\" flag: unexpected key '{key}' in '{field}'")
    if not found.get("Target"):
        raise UsageError(f'invalid argument "{word}" for "--mount" flag: target is required')
    if found["Type"] == "bind" and str(found.get("Source", "")).startswith("."):
        found["Source"] = os.path.abspath(found["Source"])
    _typed_options(found, options)
    return found


_OPTIONS = (
    "bind-propagation",
    "bind-recursive",
    "bind-create-src",
    "volume-driver",
    "volume-subpath",
    "tmpfs-size",
    "tmpfs-mode",
    "image-subpath",
)


def _typed_options(found: Json, options: Json) -> None:
    bind: Json = {}
    if "bind-propagation" in options:
        bind["Propagation"] = options["bind-propagation"]
    if "bind-nonrecursive" in options:
        bind["NonRecursive"] = options["bind-nonrecursive"]
    if options.get("bind-recursive") == "disabled":
        bind["NonRecursive"] = True
    if "bind-create-src" in options:
        bind["CreateMountpoint"] = options["bind-create-src"].lower() in _TRUE
    if bind:
        found["BindOptions"] = bind
    volume_options: Json = {}
    if "volume-nocopy" in options:
        volume_options["NoCopy"] = options["volume-nocopy"]
    if "volume-label" in options:
        volume_options["Labels"] = _pairs(options["volume-label"])
    if "volume-subpath" in options:
        volume_options["Subpath"] = options["volume-subpath"]
    if "volume-driver" in options or "volume-opt" in options:
        volume_options["DriverConfig"] = {
            "Name": options.get("volume-driver", ""),
            "Options": _pairs(options.get("volume-opt", [])),
        }
    if volume_options:
        found["VolumeOptions"] = volume_options
    tmpfs: Json = {}
    if "tmpfs-size" in options:
        tmpfs["SizeBytes"] = parse_bytes(options["tmpfs-size"])
    if "tmpfs-mode" in options:
        tmpfs["Mode"] = int(options["tmpfs-mode"], 8)
    if tmpfs:
        found["TmpfsOptions"] = tmpfs


def _pairs(words: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _range(text: str, word: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    try:
        start, end = int(first), int(last or first)
    except ValueError:
        raise UsageError(f"invalid containerPort: {text}" if word == text else f"invalid hostPort: {text}") from None
    if not 0 < start <= end <= 65535:
        raise UsageError(f"invalid range format for port: {text}")
    return start, end


def publish(word: str) -> dict[str, list[Json]]:
    """-p [ip:][host[-range]]:container[-range][/protocol] → "port/protocol": bindings. Raises UsageError."""
    body, slash, protocol = word.rpartition("/")
    if not slash:
        body, protocol = word, "tcp"
    if protocol.lower() not in ("tcp", "udp", "sctp"):
        raise UsageError(f"invalid proto: {protocol}")
    address, rest = "", body
    if body.startswith("["):
        address, bracket, rest = body[1:].partition("]")
        rest = rest.removeprefix(":")
        if not bracket:
            raise UsageError(f"invalid IP address: {body}")
    elif body.count(":") >= 2:
        address, _, rest = body.partition(":")
    host, _, private = rest.rpartition(":")
    if not private:
        raise UsageError(f"no port specified: {word}<empty>")
    start, end = _range(private, private)
    if not host:
        return {f"{port}/{protocol.lower()}": [{"HostIp": address, "HostPort": ""}] for port in range(start, end + 1)}
    first, last = _range(host, word)
    if last - first != end - start:
        if start != end:
            raise UsageError(f"invalid ranges specified for container and host Ports: {private} and {host}")
        # One container port takes the first free one of the host's range.
        return {f"{start}/{protocol.lower()}": [{"HostIp": address, "HostPort": f"{first}-{last}"}]}
    return {
        f"{start + at}/{protocol.lower()}": [{"HostIp": address, "HostPort": str(first + at)}]
        for at in range(end - start + 1)
    }


def network(word: str) -> tuple[str, Json]:
    """--network NAME or name=…,alias=…,ip=…: (name, endpoint settings)."""
    if "=" not in word:
        return word, {}
    name, endpoint = "", dict[str, object]()
    aliases: list[str] = []
    address: Json = {}
    for field in word.split(","):
        key, _, value = field.partition("=")
        match key:
            case "name":
                name = value
            case "alias":
                aliases.append(value)
            case "ip":
                address["IPv4Address"] = value
            case "ip6":
                address["IPv6Address"] = value
            case "link-local-ip":
                address.setdefault("LinkLocalIPs", []).append(value)
            case "mac-address":
                endpoint["MacAddress"] = value
            case "driver-opt":
                endpoint["DriverOpts"] = {**_existing(endpoint), **_pairs([value])}
            case "gw-priority":
                endpoint["GwPriority"] = int(value)
            case _:
                raise UsageError(f'invalid argument "{word}" for "--network" flag: invalid field {key}')
    if aliases:
        endpoint["Aliases"] = aliases
    if address:
        endpoint["IPAMConfig"] = address
    return name, endpoint


def _existing(endpoint: dict[str, object]) -> dict[str, str]:
    found = endpoint.get("DriverOpts")
    return found if isinstance(found, dict) else {}


def device(word: str) -> Json:
    """--device host[:container[:rwm]]."""
    parts = word.split(":")
    host, inside, access = parts[0], parts[0], "rwm"
    if len(parts) == 2 and parts[1] and set(parts[1]) <= set("rwm"):
        access = parts[1]
    elif len(parts) >= 2:
        inside = parts[1]
    if len(parts) == 3:
        access = parts[2]
    if len(parts) > 3 or not host:
        raise UsageError(f"invalid device specification: {word}")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": access}
