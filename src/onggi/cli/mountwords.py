"""Words of --mount, -v, --network, --gpus, --ulimit and --device, as the API has them. Raises ValueError in docker's words.

Source: docker/cli opts/mount.go, network.go, gpus.go and container/opts.go for names, values and texts.
"""

from __future__ import annotations

import os

from onggi.cli.units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json


def _fields(word: str) -> list[str]:
    import csv

    try:
        return next(csv.reader([word], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"parse error on line 1: {error}") from None


def volume(word: str) -> tuple[str | None, str | None]:
    """-v: (bind for HostConfig.Binds, anonymous path for Config.Volumes); one of them is None.

    A relative host path is taken from the current directory.
    """
    parts = word.split(":")
    if len(parts) == 1:
        return None, word
    if parts[0].startswith("."):
        parts[0] = os.path.abspath(parts[0])
    return ":".join(parts), None


_WITHOUT_VALUE = {"readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"}
_RECURSIVE = {"enabled": None, "disabled": "NonRecursive", "writable": "ReadOnlyNonRecursive", "readonly": "ReadOnlyForceRecursive"}  # fmt: skip


def mount(word: str) -> Json:
    """--mount type=…,source=…,target=…"""
    if not word.strip():
        raise ValueError("value is empty")
    found: Json = {"Type": "volume"}
    for field in _fields(word.strip()):
        key, separator, value = field.partition("=")
        if key.strip() != key:
            raise ValueError(f"invalid option '{key.strip()}' in '{field}': option should not have whitespace")
        if separator and not value.strip():
            raise ValueError(f"invalid value for '{key}': value is empty")
        if value.strip() != value:
            raise ValueError(f"invalid value for '{key}' in '{field}': value should not have whitespace")
        if not separator and key.lower() not in _WITHOUT_VALUE:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        _set(found, key.lower(), value, field)
    _check_kinds(found)
    return found


def _set(found: Json, key: str, value: str, field: str) -> None:
    def options(kind: str) -> Json:
        group: Json = found.setdefault(f"{kind}Options", {})
        return group

    def driver() -> Json:
        config: Json = options("Volume").setdefault("DriverConfig", {})
        return config

    match key:
        case "type":
            found["Type"] = value.lower()
        case "source" | "src":
            found["Source"] = os.path.abspath(value) if value.startswith(".") else value
        case "target" | "dst" | "destination":
            found["Target"] = value
        case "readonly" | "ro":
            found["ReadOnly"] = _boolean(key, value)
        case "consistency":
            found["Consistency"] = value.lower()
        case "bind-propagation":
            options("Bind")["Propagation"] = value.lower()
        case "bind-nonrecursive":
            # Refused by newer clients; the older form is still in people's scripts.
            options("Bind")["NonRecursive"] = _boolean(key, value)
        case "bind-recursive":
            if value not in _RECURSIVE:
                raise ValueError(
                    f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")'
                )
            if name := _RECURSIVE[value]:
                options("Bind")[name] = True
        case "bind-create-src":
            options("Bind")["CreateMountpoint"] = _boolean(key, value)
        case "volume-subpath":
            options("Volume")["Subpath"] = value
        case "volume-nocopy":
            options("Volume")["NoCopy"] = _boolean(key, value)
        case "volume-label":
            options("Volume").setdefault("Labels", {}).update(_pair(value))
        case "volume-driver":
            driver()["Name"] = value
        case "volume-opt":
            driver().setdefault("Options", {}).update(_pair(value))
        case "image-subpath":
            options("Image")["Subpath"] = value
        case "tmpfs-size" | "tmpfs-mode":
            _tmpfs(options("Tmpfs"), key, value)
        case _:
            raise ValueError(f"unexpected key '{key}' in '{field}'")  # fmt: skip


def _tmpfs(options: Json, key: str, value: str) -> None:
    try:
        if key == "tmpfs-size":
            options["SizeBytes"] = parse_bytes(value)
        else:
            options["Mode"] = int(value, 8)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


_KINDS = {"Bind": "bind", "Volume": "volume", "Image": "image", "Tmpfs": "tmpfs"}


def _check_kinds(found: Json) -> None:
    if not found["Type"]:
        raise ValueError("type is required")
    if not found.get("Target"):
        raise ValueError("target is required")
    for name, kind in _KINDS.items():
        if f"{name}Options" in found and found["Type"] != kind:
            raise ValueError(f"cannot mix '{kind}-*' options with mount type '{found['Type']}'")
    bind = found.get("BindOptions") or {}
    for name, word in (("ReadOnlyNonRecursive", "writable"), ("ReadOnlyForceRecursive", "readonly")):
        if bind.get(name) and not found.get("ReadOnly"):
            raise ValueError(f"option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction")
    if bind.get("ReadOnlyForceRecursive") and bind.get("Propagation") != "rprivate":
        raise ValueError(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
        )


def _boolean(key: str, value: str) -> bool:
    if value not in ("", "1", "true", "0", "false"):
        raise ValueError(f"invalid value for {key}: {value}")
    return value in ("", "1", "true")


def _pair(word: str) -> dict[str, str]:
    key, _, value = word.partition("=")
    return {key: value} if key else {}


def network(word: str) -> tuple[str, Json]:
    """--network NAME or name=…,alias=…,ip=…: (name, endpoint settings)."""
    import re

    if not re.search(r"\w+=\w+", word):
        return word, {}
    name, endpoint, address = "", dict[str, object](), dict[str, object]()
    aliases, local = list[str](), list[str]()
    for field in _fields(word):
        key, separator, value = (part.strip() for part in field.lower().partition("="))
        if not separator or not key:
            raise ValueError(f"invalid field {field}")
        match key:
            case "name":
                name = value
            case "alias":
                aliases.append(value)
            case "ip" | "ip6":
                address["IPv4Address" if key == "ip" else "IPv6Address"] = value
            case "link-local-ip":
                local.append(value)
            case "mac-address":
                endpoint["MacAddress"] = value
            case "driver-opt":
                endpoint["DriverOpts"] = {**_existing(endpoint), **_driver_option(value)}
            case "gw-priority":
                endpoint["GwPriority"] = _priority(value)
            case _:
                raise ValueError(f"invalid field key {key}")
    if not name:
        raise ValueError("network name/id is not specified")
    if local:
        address["LinkLocalIPs"] = local
    if aliases:
        endpoint["Aliases"] = aliases
    if address:
        endpoint["IPAMConfig"] = address
    return name, endpoint


def _existing(endpoint: dict[str, object]) -> dict[str, str]:
    found = endpoint.get("DriverOpts")
    return found if isinstance(found, dict) else {}


def _driver_option(text: str) -> dict[str, str]:
    key, separator, value = (part.strip() for part in text.partition("="))
    if not separator or not key:
        raise ValueError("invalid key value pair format in driver options")
    return {key: value}


def _priority(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"invalid gw-priority ({text}): invalid syntax") from None


def gpus(word: str) -> Json:
    """--gpus all, a number, or driver=,count=,device=,capabilities=,options=: a DeviceRequest."""
    request: Json = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    seen = set[str]()
    for field in _fields(word):
        key, separator, value = field.partition("=")
        if key in seen:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        seen |= {key} if separator else {key, "count"}
        if not separator or key == "count":
            request["Count"] = _count(value if separator else key)
        elif key == "driver":
            request["Driver"] = value
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = {name: text for name, _, text in (one.partition("=") for one in _fields(value))}
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if "count" not in seen and request["DeviceIDs"] is None:
        request["Count"] = 1
    return request


def _count(text: str) -> int:
    try:
        return -1 if text == "all" else int(text)
    except ValueError:
        raise ValueError(f'invalid count ({text}): value must be either "all" or an integer: invalid syntax') from None


_LIMITS = frozenset((
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
))  # fmt: skip


def ulimit(word: str) -> Json:
    """--ulimit name=soft[:hard]; -1 is unlimited."""
    name, separator, values = word.partition("=")
    if not separator:
        raise ValueError(f"invalid ulimit argument: {word}")
    if name not in _LIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    limits = values.split(":")
    if len(limits) > 2:
        raise ValueError(f"too many limit value arguments - {values}, can only have up to two, `soft[:hard]`")
    numbers = []
    for text in limits:
        try:
            numbers.append(int(text))
        except ValueError:
            raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and soft == -1:
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
        )
    if hard != -1 and soft > hard:
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Soft": soft, "Hard": hard}


def _is_mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def device(word: str) -> Json:
    """--device host[:container[:rwm]]."""
    parts = word.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"bad format for path: {word}")
    host, inside, access = parts[0], parts[0], "rwm"
    if len(parts) == 2 and _is_mode(parts[1]):
        access = parts[1]
    elif len(parts) >= 2:
        inside = parts[1]
    if len(parts) == 3:
        access = parts[2]
        if not _is_mode(access):
            raise ValueError(f"bad mode specified: {access}")
    if not inside.startswith("/"):
        raise ValueError(f"{inside} is not an absolute path")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": access}


def is_cdi(word: str) -> bool:
    """Whether `word` is a device name of the Container Device Interface: vendor.com/class=name."""
    import re

    return bool(re.fullmatch(r"[A-Za-z][\w.-]*/[A-Za-z][\w.-]*=[\w.:-]+", word))
