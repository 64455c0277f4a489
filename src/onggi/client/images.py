"""Calls on images, and builds: /images, /build, /auth."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import cast

from onggi.client.call import Body, Call, Request, Stream, json_body, json_lines, nothing, parsed, quote, raw
from onggi.client.shapes import Json, Progress

Filters = dict[str, list[str]]


def _path(image: str, action: str = "") -> str:
    return f"/images/{quote(image, '/:@')}{action}"


def registry_auth(credentials: Json | None) -> dict[str, str]:
    """The X-Registry-Auth header; an empty object stands for nobody."""
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json_body(credentials or {})).decode()}


def _progress(request: Request) -> Stream[Progress]:
    return cast("Stream[Progress]", Stream(request, json_lines))


def listing(*, all: bool = False, filters: Filters | None = None, digests: bool = False) -> Call[list[Json]]:
    request = Request("GET", "/images/json", {"all": all, "filters": filters or {}, "digests": digests})
    return Call(request, lambda body: cast("list[Json]", parsed(body)))


def inspect(image: str) -> Call[Json]:
    return Call(Request("GET", _path(image, "/json")), lambda body: cast("Json", parsed(body)))


def history(image: str) -> Call[list[Json]]:
    return Call(Request("GET", _path(image, "/history")), lambda body: cast("list[Json]", parsed(body)))


def pull(
    repository: str, tag: str | None, *, platform: str | None = None, auth: Json | None = None
) -> Stream[Progress]:
    """`tag` may be a digest; None pulls every tag of the repository."""
    query = {"fromImage": repository, "tag": tag, "platform": platform}
    return _progress(Request("POST", "/images/create", query, headers=registry_auth(auth)))


def push(repository: str, tag: str | None, *, auth: Json | None = None) -> Stream[Progress]:
    return _progress(Request("POST", _path(repository, "/push"), {"tag": tag}, headers=registry_auth(auth)))


def import_(
    source: Body, *, repository: str = "", tag: str = "", message: str = "", changes: Iterable[str] = ()
) -> Stream[Progress]:
    """A file system tar becomes an image of one layer."""
    query = {
        "fromSrc": "-",
        "repo": repository or None,
        "tag": tag or None,
        "message": message or None,
        "changes": list(changes),
    }
    return _progress(Request("POST", "/images/create", query, source, {"Content-Type": "application/x-tar"}))


def load(archive: Body, *, quiet: bool = False) -> Stream[Progress]:
    return _progress(Request("POST", "/images/load", {"quiet": quiet}, archive, {"Content-Type": "application/x-tar"}))


def save(names: Iterable[str]) -> Stream[bytes]:
    return Stream(Request("GET", "/images/get", {"names": list(names)}), raw)


def tag(image: str, repository: str, tag: str | None) -> Call[None]:
    return Call(Request("POST", _path(image, "/tag"), {"repo": repository, "tag": tag}), nothing)


def remove(image: str, *, force: bool = False, noprune: bool = False) -> Call[list[dict[str, str]]]:
    request = Request("DELETE", _path(image), {"force": force, "noprune": noprune})
    return Call(request, lambda body: cast("list[dict[str, str]]", parsed(body)))


def prune(filters: Filters | None = None) -> Call[Json]:
    return Call(Request("POST", "/images/prune", {"filters": filters or {}}), lambda body: cast("Json", parsed(body)))


def build(context: Body, query: Mapping[str, object], *, registries: Json | None = None) -> Stream[Progress]:
    """`query` as POST /build takes it: t, dockerfile, buildargs, labels, target, nocache …"""
    headers = {"Content-Type": "application/x-tar"}
    if registries:
        headers["X-Registry-Config"] = base64.urlsafe_b64encode(json_body(registries)).decode()
    return _progress(Request("POST", "/build", query, context, headers))


def build_prune(*, all: bool = False, filters: Filters | None = None) -> Call[Json]:
    request = Request("POST", "/build/prune", {"all": all, "filters": filters or {}})
    return Call(request, lambda body: cast("Json", parsed(body)))


def login(credentials: Json) -> Call[Json]:
    """Asks the registry through the engine whether `credentials` are good."""
    return Call(
        Request("POST", "/auth", body=json_body(credentials)), lambda body: cast("Json", parsed(body) if body else {})
    )
