"""What a container's log options mean at its start: files, attributes, and where the output goes besides.

What is wrong here is the start's error, as with docker: `failed to create task for container: failed to initialize
logging driver: …`, code 128.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Final

from onggi.engine import logdrivers, logtag
from onggi.engine.config import LogConfig
from onggi.engine.container import Container, time_text
from onggi.engine.logconnect import connect
from onggi.engine.logwords import boolean, duration_s, number
from onggi.errors import InvalidArgument, OnggiError
from onggi.runtime.protocol import CarrierPlan, LogPlan
from onggi.sizes import human_size, memory_size

JOURNAL: Final = "/run/systemd/journal/socket"
_LOCAL_SYSLOGS: Final = ("/dev/log", "/var/run/syslog", "/var/run/log")
_RING_BYTES: Final = 1_000_000
_BLOCKING_BYTES: Final = 256 * 1024


def log_path(container: Container, directory: str) -> str:
    """The file that `logs` reads, "" when there is none."""
    log = container.row.host_config.log_config
    if log.type == "json-file":
        return os.path.join(directory, f"{container.id}-json.log")
    if log.type == "local":
        return os.path.join(directory, "local-logs", "container.log")
    return os.path.join(directory, "container-cached.log") if logdrivers.is_cached(log) else ""


async def prepare(container: Container, directory: str) -> tuple[LogPlan, socket.socket | None]:
    """The plan of a start, and the connection to its log's server if there is one now (the caller's to close).

    Raises OnggiError in dockerd's words. Cancelled: nothing is left.
    """
    try:
        found = plan(container, directory)
        if found.carrier is None:
            return found, None
        in_background = boolean(container.row.host_config.log_config.config.get("fluentd-async") or "false")
        return found, await connect(found.carrier, in_background=in_background)
    except (OnggiError, OSError) as error:
        raise OnggiError(f"failed to create task for container: failed to initialize logging driver: {error}") from None


def plan(container: Container, directory: str) -> LogPlan:
    """Raises InvalidArgument in dockerd's words. Makes the directory that `local` keeps its files in."""
    log = container.row.host_config.log_config
    if log.type == "none":
        return LogPlan(driver="none")
    path = log_path(container, directory)
    match log.type:
        case "json-file":
            return _json_file(log, path, attributes(container))
        case "local":
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            return _local(log.config, path, attributes(container))
    carrier = _carrier(container)
    if not path:
        return LogPlan(driver="none", carrier=carrier)
    cache = {name.removeprefix("cache-"): value for name, value in log.config.items() if name.startswith("cache-")}
    return _with(_local(cache, path, attributes(container)), carrier)


def _with(kept: LogPlan, carrier: CarrierPlan) -> LogPlan:
    return LogPlan(
        path=kept.path, max_size=kept.max_size, max_file=kept.max_file, compress=kept.compress, attrs=kept.attrs,
        carrier=carrier,
    )  # fmt: skip


def _json_file(log: LogConfig, path: str, attrs: dict[str, str]) -> LogPlan:
    size, count, compress = -1, 1, False
    if "max-size" in log.config:
        size = human_size(log.config["max-size"])
        if size <= 0:
            raise InvalidArgument("max-size must be a positive number")
    if "max-file" in log.config:
        count = number(log.config["max-file"])
        if count < 1:
            raise InvalidArgument("max-file cannot be less than 1")
    if "compress" in log.config:
        compress = boolean(log.config["compress"])
        if compress and (count == 1 or size == -1):
            raise InvalidArgument("compress cannot be true when max-file is less than 2 or max-size is not set")
    return LogPlan(path=path, max_size=size, max_file=count, compress=compress, attrs=attrs)


def _local(options: dict[str, str], path: str, attrs: dict[str, str]) -> LogPlan:
    """The local driver's own defaults; its files are JSON lines here."""
    size, count, compress = 20 * 1024 * 1024, 5, True
    try:
        if "max-size" in options:
            size = human_size(value := options["max-size"])
        if "max-file" in options:
            count = number(value := options["max-file"])
    except InvalidArgument as error:
        name = "max-size" if f"'{value}'" in str(error) else "max-file"
        raise InvalidArgument(f"invalid value for {name}: {value}: {error}") from None
    if "compress" in options:
        try:
            compress = boolean(options["compress"])
        except InvalidArgument as error:
            raise InvalidArgument(f"error reading compress log option: {error}") from None
    if count < 0:
        raise InvalidArgument("max-file must not be negative")
    if compress and count <= 1:
        raise InvalidArgument("compression cannot be enabled when max file count is 1")
    return LogPlan(path=path, max_size=size, max_file=max(count, 1), compress=compress, attrs=attrs)


def _carrier(container: Container) -> CarrierPlan:
    log = container.row.host_config.log_config
    options, row = log.config, container.row
    tag = logtag.render(options.get("tag") or "{{.ID}}", facts(container))
    own = {
        name.removeprefix(f"{log.type}-").removeprefix("tls-").removeprefix("tcp-"): value
        for name, value in options.items()
        if name.startswith(f"{log.type}-")
    }
    blocking = options.get("mode", "") != "non-blocking"
    size = memory_size(options["max-buffer-size"]) if "max-buffer-size" in options else _RING_BYTES
    match log.type:
        case "syslog":
            address = logdrivers.syslog_address(options.get("syslog-address", "")) or _local_syslog()
            own["facility"] = str(logdrivers.facility(own.get("facility", "")))
            fields = {}
        case "fluentd":
            address = logdrivers.fluentd_address(options.get("fluentd-address", ""))
            fields = attributes(container, tagged=False)
            fields |= {"container_id": container.id, "container_name": f"/{container.name}"}
            if boolean(own.get("async") or "false"):
                # It has a buffer of its own then, and what doesn't fit is lost.
                blocking, size = False, memory_size(own.get("buffer-limit") or "1m")
            own = _fluentd_words(own)
        case "gelf":
            address = logdrivers.gelf_address(options.get("gelf-address", ""))
            found = attributes(container, tagged=False)
            fields = {
                "_command": facts(container)["Command"], "_container_id": container.id, "_container_name": container.name,
                "_created": time_text(row.created_ns), "_image_id": row.image_id, "_image_name": row.config.image, "_tag": tag,
            } | {name if name.startswith("_") else f"_{name}": value for name, value in found.items()}  # fmt: skip
        case _:
            if not os.path.exists(JOURNAL):
                raise InvalidArgument("journald is not enabled on this host")
            address = f"unixgram://{JOURNAL}"
            fields = {
                "CONTAINER_ID": container.id[:12], "CONTAINER_ID_FULL": container.id, "CONTAINER_NAME": container.name,
                "CONTAINER_TAG": tag, "IMAGE_NAME": row.config.image, "SYSLOG_IDENTIFIER": tag,
            } | {_journal_name(name): value for name, value in attributes(container, tagged=False).items()}  # fmt: skip
    return CarrierPlan(
        driver=log.type,  # type: ignore[arg-type]  # checked at create
        address=address, tag=tag, fields=fields, options=own, blocking=blocking,
        buffer_bytes=size if not blocking else _BLOCKING_BYTES,
    )  # fmt: skip


def _fluentd_words(own: dict[str, str]) -> dict[str, str]:
    """Durations in seconds, and switches only if they are on."""
    found = {name: value for name, value in own.items() if name == "max-retries" and value}
    for name in ("retry-wait", "write-timeout", "read-timeout"):
        if own.get(name):
            found[name] = str(duration_s(own[name]))
    for name in ("request-ack", "sub-second-precision"):
        if boolean(own.get(name) or "false"):
            found[name] = "true"
    return found


def _local_syslog() -> str:
    for path in _LOCAL_SYSLOGS:
        for scheme, kind in (("unixgram", socket.SOCK_DGRAM), ("unix", socket.SOCK_STREAM)):
            with socket.socket(socket.AF_UNIX, kind) as sock:
                sock.settimeout(1)
                try:
                    sock.connect(path)
                except OSError:
                    continue
                return f"{scheme}://{path}"
    raise InvalidArgument("Unix syslog delivery error")


def _journal_name(name: str) -> str:
    """Upper case, digits and underscores, none of them first (systemd.journal-fields(7))."""
    return re.sub(r"[^A-Z0-9]", "_", re.sub(r"[a-z]", lambda found: found[0].upper(), name)).lstrip("_")


def facts(container: Container) -> dict[str, str]:
    """What a tag's template may name."""
    row = container.row
    return {
        "ID": row.id[:12], "FullID": row.id, "Name": row.name, "ImageID": row.image_id.removeprefix("sha256:")[:12],
        "ImageFullID": row.image_id, "ImageName": row.config.image, "DaemonName": "docker",
        "Command": " ".join([row.path, *row.args]), "Hostname": socket.gethostname(),
        "ContainerID": row.id, "ContainerName": f"/{row.name}", "ContainerImageID": row.image_id,
        "ContainerImageName": row.config.image, "ContainerEntrypoint": row.path, "LogPath": "",
    }  # fmt: skip


def attributes(container: Container, *, tagged: bool = True) -> dict[str, str]:
    """What each line carries beside its text: labels, env, their regexes, and the tag. Raises InvalidArgument."""
    options, config = container.row.host_config.log_config.config, container.row.config
    environment = dict(word.split("=", 1) for word in config.env or () if "=" in word)
    found = _chosen(config.labels or {}, options.get("labels", ""), options.get("labels-regex", ""))
    found |= _chosen(environment, options.get("env", ""), options.get("env-regex", ""))
    if tagged and (tag := options.get("tag", "")) and (text := logtag.render(tag, facts(container))):
        found["tag"] = text
    return dict(sorted(found.items()))


def _chosen(values: dict[str, str], names: str, pattern: str) -> dict[str, str]:
    wanted = set(names.split(",")) if names else set()
    try:
        matches = re.compile(pattern).search if pattern else None
    except re.error as error:
        what = "missing closing ): `{}`" if "unterminated subpattern" in str(error) else "{}"
        raise InvalidArgument(f"error parsing regexp: {what.format(pattern)}") from None
    return {name: value for name, value in values.items() if name in wanted or (matches is not None and matches(name))}
