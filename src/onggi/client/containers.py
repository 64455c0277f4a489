"""Calls on containers: /containers and /commit."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import cast

from onggi.client.call import (
    Body,
    Call,
    Hijack,
    Request,
    Stream,
    frames,
    json_body,
    json_lines,
    nothing,
    parsed,
    quote,
    raw,
)
from onggi.client.shapes import Created, Json, PathStat, Top, WaitStatus

Filters = dict[str, list[str]]


def _path(container: str, action: str = "") -> str:
    return f"/containers/{quote(container)}{action}"


def listing(
    *, all: bool = False, limit: int = 0, size: bool = False, filters: Filters | None = None
) -> Call[list[Json]]:
    """Containers, newest first; running ones only unless `all`."""
    query = {"all": all, "limit": limit or None, "size": size, "filters": filters or {}}
    return Call(Request("GET", "/containers/json", query), lambda body: cast("list[Json]", parsed(body)))


def create(config: Json, *, name: str | None = None, platform: str | None = None) -> Call[Created]:
    """A container from `config`: Config's fields at the top, HostConfig and NetworkingConfig below."""
    request = Request("POST", "/containers/create", {"name": name, "platform": platform}, json_body(config))
    return Call(request, lambda body: cast("Created", parsed(body)))


def inspect(container: str, *, size: bool = False) -> Call[Json]:
    return Call(Request("GET", _path(container, "/json"), {"size": size}), lambda body: cast("Json", parsed(body)))


def start(
    container: str, *, detach_keys: str | None = None, checkpoint: str = "", checkpoint_dir: str = ""
) -> Call[None]:
    query = {"detachKeys": detach_keys, "checkpoint": checkpoint or None, "checkpoint-dir": checkpoint_dir or None}
    return Call(Request("POST", _path(container, "/start"), query), nothing)


def stop(container: str, *, timeout_s: int | None = None, signal: str | None = None) -> Call[None]:
    return Call(Request("POST", _path(container, "/stop"), {"t": timeout_s, "signal": signal}), nothing)


def restart(container: str, *, timeout_s: int | None = None, signal: str | None = None) -> Call[None]:
    return Call(Request("POST", _path(container, "/restart"), {"t": timeout_s, "signal": signal}), nothing)


def kill(container: str, *, signal: str | None = None) -> Call[None]:
    return Call(Request("POST", _path(container, "/kill"), {"signal": signal}), nothing)


def pause(container: str) -> Call[None]:
    return Call(Request("POST", _path(container, "/pause")), nothing)


def unpause(container: str) -> Call[None]:
    return Call(Request("POST", _path(container, "/unpause")), nothing)


def rename(container: str, name: str) -> Call[None]:
    return Call(Request("POST", _path(container, "/rename"), {"name": name}), nothing)


def update(container: str, changes: Json) -> Call[Json]:
    request = Request("POST", _path(container, "/update"), body=json_body(changes))
    return Call(request, lambda body: cast("Json", parsed(body)))


def remove(container: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> Call[None]:
    return Call(Request("DELETE", _path(container), {"force": force, "v": volumes, "link": link}), nothing)


def wait(container: str, *, condition: str | None = None) -> Stream[WaitStatus]:
    """One item when `condition` (not-running, next-exit, removed) holds. A stream: its head comes at once, so that a
    caller knows that it is registered before it starts the container.
    """

    def splitter() -> object:
        body = bytearray()

        def split(data: bytes) -> Iterable[WaitStatus]:
            body.extend(data)
            try:
                status = cast("WaitStatus", json.loads(bytes(body)))
            except ValueError:
                return iter(())
            body.clear()
            return iter((status,))

        return split

    return Stream(Request("POST", _path(container, "/wait"), {"condition": condition}), splitter)  # type: ignore[arg-type]


def attach(
    container: str, *, stdin: bool, stdout: bool, stderr: bool, logs: bool = False, detach_keys: str | None = None
) -> Hijack:
    query = {
        "stream": True,
        "stdin": stdin,
        "stdout": stdout,
        "stderr": stderr,
        "logs": logs,
        "detachKeys": detach_keys,
    }
    return Hijack(Request("POST", _path(container, "/attach"), query))


def resize(container: str, height: int, width: int) -> Call[None]:
    return Call(Request("POST", _path(container, "/resize"), {"h": height, "w": width}), nothing)


def logs(
    container: str,
    *,
    tty: bool,
    follow: bool = False,
    since: str | None = None,
    until: str | None = None,
    timestamps: bool = False,
    details: bool = False,
    tail: str = "all",
) -> Stream[tuple[int, bytes]]:
    """Pieces of the log as (1 stdout or 2 stderr, bytes); a terminal's output is all stdout."""
    query = {
        "stdout": True, "stderr": True, "follow": follow, "since": since, "until": until,
        "timestamps": timestamps, "details": details, "tail": tail,
    }  # fmt: skip
    request = Request("GET", _path(container, "/logs"), query)
    if tty:
        return Stream(request, lambda: lambda data: iter(((1, data),)))
    return Stream(request, frames)


def stats(container: str, *, stream: bool = True, one_shot: bool = False) -> Stream[Json]:
    return Stream(
        Request("GET", _path(container, "/stats"), {"stream": "1" if stream else "0", "one-shot": one_shot}), json_lines
    )


def top(container: str, arguments: str | None = None) -> Call[Top]:
    return Call(
        Request("GET", _path(container, "/top"), {"ps_args": arguments}), lambda body: cast("Top", parsed(body))
    )


def changes(container: str) -> Call[list[Json]]:
    return Call(Request("GET", _path(container, "/changes")), lambda body: cast("list[Json]", parsed(body) or []))


def export(container: str) -> Stream[bytes]:
    """The container's file system as a tar."""
    return Stream(Request("GET", _path(container, "/export")), raw)


def archive_get(container: str, path: str) -> Stream[bytes]:
    """`path` as a tar."""
    return Stream(Request("GET", _path(container, "/archive"), {"path": path}), raw)


def archive_put(container: str, path: str, tar: Body, *, copy_ids: bool = False) -> Call[None]:
    """Unpacks `tar` into the directory `path`; nothing but a directory may take a directory's place."""
    query = {"path": path, "noOverwriteDirNonDir": True, "copyUIDGID": copy_ids}
    return Call(
        Request("PUT", _path(container, "/archive"), query, tar, {"Content-Type": "application/x-tar"}), nothing
    )


def path_stat(header: str) -> PathStat:
    """The X-Docker-Container-Path-Stat header, decoded."""
    return cast("PathStat", json.loads(base64.b64decode(header)))


def prune(filters: Filters | None = None) -> Call[Json]:
    return Call(
        Request("POST", "/containers/prune", {"filters": filters or {}}), lambda body: cast("Json", parsed(body))
    )


def commit(
    container: str,
    *,
    repository: str = "",
    tag: str = "",
    comment: str = "",
    author: str = "",
    pause: bool = True,
    changes: Iterable[str] = (),
) -> Call[Json]:
    query = {
        "container": container, "repo": repository or None, "tag": tag or None, "comment": comment or None,
        "author": author or None, "pause": "1" if pause else "0", "changes": list(changes),
    }  # fmt: skip
    return Call(Request("POST", "/commit", query, b"{}"), lambda body: cast("Json", parsed(body)))
