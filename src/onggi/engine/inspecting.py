"""What inspect and list say of a container: documents of the newest API version, rendered once and kept until it changes.

Only `Status` holds a time that passes, so it is put in last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from onggi.durations import human_duration
from onggi.engine import enginesockets, healthprobes, links, security
from onggi.engine.config import ContainerConfig, Resources
from onggi.engine.container import Container, State, time_text

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
Shape = Callable[[list[dict[str, Any]], int], list[dict[str, Any]]]
_STATUS = b'"Status":"\\u0000"'
"""Where the status goes. No other value can hold these bytes: a quote inside a string is escaped."""
_RESOURCES = tuple(field.encode_name for field in msgspec.structs.fields(Resources))
_SHOWN = {State.STARTING: State.CREATED}


def shown_state(container: Container) -> str:
    return _SHOWN.get(container.state, container.state)


def status_text(container: Container) -> str:
    """`Up 2 minutes (healthy)`, `Exited (0) 3 hours ago` … (E-001)."""
    row, now = container.row, time.time_ns()
    match container.state:
        case State.RUNNING | State.PAUSED:
            text = f"Up {human_duration((now - row.started_ns) / 1e9)}"
            if container.state == State.PAUSED:
                return text + " (Paused)"
            if container.health is not None:
                text += (
                    f" (health: {container.health.status})"
                    if container.health.status == "starting"
                    else f" ({container.health.status})"
                )
            return text
        case State.RESTARTING:
            return f"Restarting ({row.exit_code}) {human_duration((now - row.finished_ns) / 1e9)} ago"
        case State.EXITED:
            return f"Exited ({row.exit_code}) {human_duration((now - row.finished_ns) / 1e9)} ago"
        case State.REMOVING:
            return "Removal In Progress"
        case State.DEAD:
            return "Dead"
        case _:
            return "Created"


def summary_document(engine: Engine, container: Container) -> dict[str, Any]:
    """One entry of GET /containers/json, the caller's to change."""
    ready = container.documents.get("summary")
    if ready is None:
        ready = container.documents["summary"] = _encode(_summary(engine, container))
    found: dict[str, Any] = _decode(ready)
    found["Status"] = status_text(container)
    return found


def summary_json(engine: Engine, container: Container, version: int, shape: Shape) -> bytes:
    """The same, encoded, as `shape` makes it for an API version. What passes with time is put into bytes that are kept."""
    key = f"summary at {version}"
    ready = container.documents.get(key)
    if ready is None:
        document = shape([_summary(engine, container)], version)[0]
        ready = container.documents[key] = _encode(document | {"Status": "\0"})
    before, _, after = ready.partition(_STATUS)
    return b"".join((before, b'"Status":', _encode(status_text(container)), after))


def _summary(engine: Engine, container: Container) -> dict[str, Any]:
    row = container.row
    return {
        "Id": row.id,
        "Names": [f"/{row.name}", *engine.containers.link_names(container)],
        "Image": engine.image_name(container),
        "ImageID": row.image_id,
        "Command": " ".join([row.path, *(f"'{word}'" if " " in word else word for word in row.args)]),
        "Created": row.created_ns // 10**9,
        "Ports": ports(engine, container),
        "Labels": row.config.labels or {},
        "State": shown_state(container),
        "Status": "",
        "HostConfig": {"NetworkMode": _mode(row.host_config.network_mode), **({"Annotations": row.host_config.annotations} if row.host_config.annotations else {})},
        "Health": {"Status": container.health.status if container.health else "none", "FailingStreak": container.health.streak if container.health else 0},
        "NetworkSettings": {"Networks": {name: msgspec.to_builtins(settings) for name, settings in row.endpoints.items()}},
        "Mounts": [mount_document(point) for point in row.mounts],
    }  # fmt: skip


def _mode(mode: str) -> str:
    return "bridge" if mode in ("", "default") else mode


def ports(engine: Engine, container: Container) -> list[dict[str, Any]]:
    """One entry for each binding, one for each port that is exposed and not published."""
    if not container.is_alive:
        return []
    found: list[dict[str, Any]] = []
    published = set()
    for one in engine.publishing.of(container):
        published.add(f"{one.port}/{one.protocol}")
        found.append({"IP": one.host_ip, "PrivatePort": one.port, "PublicPort": one.host_port, "Type": one.protocol})
    if not container.row.endpoints or set(container.row.endpoints) & {"host", "none"}:
        return found
    for key in container.row.config.exposed_ports or {}:
        if key not in published:
            port, _, protocol = key.partition("/")
            found.append({"PrivatePort": int(port), "Type": protocol or "tcp"})
    return found


def mount_document(point: Any) -> dict[str, Any]:
    named = {"Name": point.name} if point.type in ("volume", "image") else {}
    driven = {"Driver": point.driver} if point.type == "volume" else {}
    return {
        "Type": point.type,
        **named,
        "Source": point.source,
        "Destination": point.destination,
        **driven,
        "Mode": point.mode,
        "RW": point.rw,
        "Propagation": point.propagation,
    }


def inspect(engine: Engine, container: Container) -> bytes:
    """GET /containers/{id}/json, encoded, without sizes."""
    ready = container.documents.get("inspect")
    if ready is None:
        ready = container.documents["inspect"] = _encode(inspect_document(engine, container))
    return ready


def inspect_document(engine: Engine, container: Container) -> dict[str, Any]:
    row = container.row
    directory = engine.snapshots.directory(row.id)
    host = _in_dockers_order(msgspec.to_builtins(row.host_config))
    host["Links"] = links.shown(engine.containers, container)
    for name in ("Annotations", "Init", "Mounts", "StorageOpt", "Sysctls", "Tmpfs"):
        if host[name] is None or host[name] in ({}, []):
            del host[name]
    snapshot = engine.snapshot(container)
    has_files = row.started_ns and not row.host_config.network_mode.startswith("container:")
    has_log = row.started_ns and row.host_config.log_config.type == "json-file"
    return {
        "Id": row.id,
        "Created": time_text(row.created_ns),
        "Path": row.path,
        "Args": row.args,
        "State": state_document(container),
        "Image": row.image_id,
        "ResolvConfPath": os.path.join(directory, "resolv.conf") if has_files else "",
        "HostnamePath": os.path.join(directory, "hostname") if has_files else "",
        "HostsPath": os.path.join(directory, "hosts") if has_files else "",
        "LogPath": os.path.join(directory, f"{row.id}-json.log") if has_log else "",
        "Name": f"/{row.name}",
        "RestartCount": row.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": security.read(row.host_config.security_opt).apparmor,
        "ExecIDs": (sorted(container.execs) or None) if container.is_alive else None,
        "HostConfig": host,
        "GraphDriver": {
            "Data": {"ID": row.id, "LowerDir": ":".join(snapshot.lower), "MergedDir": os.path.join(directory, "merged"), "UpperDir": snapshot.upper, "WorkDir": snapshot.work},
            "Name": "overlay2",
        },
        "Mounts": [mount_document(point) for point in row.mounts],
        "Config": config_document(row.config, container),
        "NetworkSettings": network_document(engine, container),
    }  # fmt: skip


def _in_dockers_order(host: dict[str, Any]) -> dict[str, Any]:
    """Resources behind Isolation (a struct has its base's fields first), maps by their keys: people compare two inspects."""
    own = [name for name in host if name not in _RESOURCES]
    at = own.index("Isolation") + 1
    found = {name: host[name] for name in (*own[:at], *_RESOURCES, *own[at:])}
    for name in ("Annotations", "PortBindings", "StorageOpt", "Sysctls", "Tmpfs"):
        found[name] = _sorted(found[name])
    found["LogConfig"]["Config"] = _sorted(found["LogConfig"]["Config"])
    return found


def _sorted(found: Any) -> Any:
    return dict(sorted(found.items())) if found else found


def beyond_docker(container: Container) -> dict[str, Any]:
    """The `Onggi` part of inspect, for clients that ask: extensions as they were asked for, and why the last run ended."""
    row = container.row
    found: dict[str, Any] = msgspec.to_builtins(row.extensions) if row.extensions else {}
    if row.pending:
        found["PendingRestart"] = row.pending
    if row.exit_reason is not None and not container.is_alive:
        found["Exit"] = msgspec.to_builtins(row.exit_reason)
    if sockets := enginesockets.given(row.mounts):
        found["EngineSockets"] = sockets
    return found


def config_document(config: ContainerConfig, container: Container) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(config)
    if config.healthcheck is not None and config.healthcheck.test:
        found["Healthcheck"]["Test"] = healthprobes.hidden(config.healthcheck.test)
    found["Hostname"] = config.hostname or container.id[:12]
    if container.row.host_config.network_mode == "host" and not config.hostname:
        found["Hostname"] = os.uname().nodename
    found["Labels"] = config.labels or {}
    for name in ("Labels", "ExposedPorts", "Volumes"):
        found[name] = _sorted(found.get(name))
    for name in (
        "Healthcheck",
        "MacAddress",
        "NetworkDisabled",
        "ArgsEscaped",
        "StopSignal",
        "StopTimeout",
        "Shell",
        "ExposedPorts",
    ):
        if not found.get(name) and not (name == "Healthcheck" and config.healthcheck is not None):
            found.pop(name, None)
    return found


def state_document(container: Container) -> dict[str, Any]:
    row, state = container.row, container.state
    found = {
        "Status": shown_state(container),
        "Running": state in (State.RUNNING, State.PAUSED, State.RESTARTING),
        "Paused": state == State.PAUSED,
        "Restarting": state == State.RESTARTING,
        "OOMKilled": row.oom_killed,
        "Dead": state == State.DEAD,
        "Pid": row.pid if container.is_alive else 0,
        "ExitCode": 0 if container.is_alive else row.exit_code,
        "Error": row.error,
        "StartedAt": time_text(row.started_ns),
        "FinishedAt": time_text(row.finished_ns),
    }
    if container.health is not None:
        health = container.health
        found["Health"] = {"Status": health.status, "FailingStreak": health.streak, "Log": health.log}
    return found


def network_document(engine: Engine, container: Container) -> dict[str, Any]:
    row = container.row
    mapped: dict[str, Any] = {}
    if container.is_alive:
        for key in row.config.exposed_ports or {}:
            mapped[key] = None
        for one in engine.publishing.of(container):
            key = f"{one.port}/{one.protocol}"
            mapped[key] = [*(mapped.get(key) or []), {"HostIp": one.host_ip, "HostPort": str(one.host_port)}]
    networks = {name: msgspec.to_builtins(settings) for name, settings in row.endpoints.items()}
    pid = row.pid if container.is_alive else 0
    return {
        "SandboxID": row.id if pid else "",
        "SandboxKey": f"/proc/{pid}/ns/net" if pid else "",
        "Ports": _sorted(mapped),
        "Networks": _sorted(networks),
    }
