"""--log-driver and --log-opt: which there are, and what they say."""

from __future__ import annotations

import re

from onggi.engine.config import LogConfig
from onggi.engine.container import Container
from onggi.errors import InvalidArgument

_SIZE = re.compile(r"(-1|\d+(?:\.\d+)?)\s*([kmgtKMGT]?)[iI]?[bB]?")
_OPTIONS = frozenset(
    {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
)
DRIVERS = ("json-file", "none")


def parse_size(text: str) -> int:
    """Bytes; -1 without limit. Raises InvalidArgument."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " "))


def attributes(container: Container) -> dict[str, str]:
    """What each line carries beside its text: --log-opt labels, env, their regexes, and tag."""
    options, config = container.row.host_config.log_config.config, container.row.config
    environment = dict(word.split("=", 1) for word in config.env or () if "=" in word)
    found = _chosen(config.labels or {}, options.get("labels", ""), options.get("labels-regex", ""))
    found |= _chosen(environment, options.get("env", ""), options.get("env-regex", ""))
    if tag := options.get("tag", ""):
        found["tag"] = _tag(tag, container)
    return found


def _chosen(values: dict[str, str], names: str, pattern: str) -> dict[str, str]:
    wanted = set(names.split(",")) if names else set()
    matches = re.compile(pattern).match if pattern else None
    return {name: value for name, value in values.items() if name in wanted or (matches is not None and matches(name))}


def _tag(template: str, container: Container) -> str:
    row = container.row
    values = {
        "ID": row.id[:12], "FullID": row.id, "Name": row.name, "ImageID": row.image_id.removeprefix("sha256:")[:12],
        "ImageFullID": row.image_id, "ImageName": row.image_name, "DaemonName": "docker",
    }  # fmt: skip
    return re.sub(r"\{\{\s{0,8}\.(\w{1,16})\s{0,8}\}\}", lambda found: values.get(found[1], ""), template)


def check(log: LogConfig) -> None:
    """Raises InvalidArgument for a driver or an option that isn't there."""
    if log.type not in DRIVERS:
        raise InvalidArgument(f'error looking up logging plugin {log.type}: plugin "{log.type}" not found')
    if log.type == "none":
        return
    for name in log.config:
        if name not in _OPTIONS:
            raise InvalidArgument(f"unknown log opt '{name}' for json-file log driver")
    parse_size(log.config.get("max-size", "-1"))
    for name in ("labels-regex", "env-regex"):
        try:
            re.compile(log.config.get(name, ""))
        except re.error as error:
            raise InvalidArgument(f"invalid {name}: {error}") from None
    count = log.config.get("max-file", "1")
    if not count.isdigit() or int(count) < 1:
        raise InvalidArgument("max-file must be a positive number")
    if int(count) > 1 and "max-size" not in log.config:
        raise InvalidArgument("max-file: need max-size as well, without it nothing is rotated")
