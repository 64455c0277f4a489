"""Calls on images, and builds: /images, /build, /auth."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import cast

from onggi.client.call import Body, Call, Hijack, Request, Stream, json_body, json_lines, nothing, parsed, quote, raw
from onggi.client.errors import InvalidPlatform
from onggi.client.shapes import Json, Progress

Filters = dict[str, list[str]]


def _path(image: str, action: str = "") -> str:
    return f"/images/{quote(image, '/:@')}{action}"


def registry_auth(credentials: Json | None) -> dict[str, str]:
    """The X-Registry-Auth header; an empty object stands for nobody."""
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json_body(credentials or {})).decode()}


def _progress(request: Request) -> Stream[Progress]:
    return cast("Stream[Progress]", Stream(request, json_lines))


def listing(
    *, all: bool = False, filters: Filters | None = None, digests: bool = False, manifests: bool = False
) -> Call[list[Json]]:
    query = {"all": all, "filters": filters or {}, "digests": digests, "manifests": manifests}
    request = Request("GET", "/images/json", query)
    return Call(request, lambda body: cast("list[Json]", parsed(body)))


_SYSTEMS = ("linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "plan9")
_ARCHITECTURES = (
    "386",
    "amd64",
    "arm",
    "arm64",
    "loong64",
    "mips64",
    "mips64le",
    "ppc64le",
    "riscv64",
    "s390x",
    "wasm",
)


def _platform(text: str | None) -> str | None:
    """`os[/arch[/variant]]` as the JSON object that newer parts of the API want. Raises InvalidPlatform."""
    if not text:
        return None
    system, slash, rest = text.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    if not slash and system in _ARCHITECTURES:
        system, architecture = "linux", system
    elif not slash and system not in _SYSTEMS:
        raise InvalidPlatform(f'invalid platform: "{text}": unknown operating system or architecture: invalid argument')
    elif not system or (slash and not architecture) or "/" in variant:
        raise InvalidPlatform(f'invalid platform: "{text}": invalid argument')
    found = {"os": system, "architecture": architecture, "variant": variant}
    return json_body({key: value for key, value in found.items() if value}).decode()


def inspect(image: str, *, platform: str | None = None) -> Call[Json]:
    query = {"platform": _platform(platform)}
    return Call(Request("GET", _path(image, "/json"), query), lambda body: cast("Json", parsed(body)))


def history(image: str, *, platform: str | None = None) -> Call[list[Json]]:
    query = {"platform": _platform(platform)}
    return Call(Request("GET", _path(image, "/history"), query), lambda body: cast("list[Json]", parsed(body)))


def search(term: str, *, limit: int = 0, filters: Filters | None = None, auth: Json | None = None) -> Call[list[Json]]:
    query = {"term": term, "limit": limit or None, "filters": filters or {}}
    request = Request("GET", "/images/search", query, headers=registry_auth(auth))
    return Call(request, lambda body: cast("list[Json]", parsed(body) or []))


def pull(
    repository: str, tag: str | None, *, platform: str | None = None, auth: Json | None = None
) -> Stream[Progress]:
    """`tag` may be a digest; None pulls every tag of the repository."""
    query = {"fromImage": repository, "tag": tag, "platform": platform}
    return _progress(Request("POST", "/images/create", query, headers=registry_auth(auth)))


def push(
    repository: str, tag: str | None, *, platform: str | None = None, auth: Json | None = None
) -> Stream[Progress]:
    query = {"tag": tag, "platform": _platform(platform)}
    return _progress(Request("POST", _path(repository, "/push"), query, headers=registry_auth(auth)))


def import_(
    source: Body,
    *,
    url: str = "-",
    repository: str = "",
    tag: str = "",
    message: str = "",
    changes: Iterable[str] = (),
    platform: str | None = None,
) -> Stream[Progress]:
    """A file system tar becomes an image of one layer: `source`'s bytes, or what the engine fetches from `url`."""
    query = {
        "fromSrc": url,
        "platform": platform,
        "repo": repository or None,
        "tag": tag or None,
        "message": message or None,
        "changes": list(changes),
    }
    return _progress(Request("POST", "/images/create", query, source, {"Content-Type": "application/x-tar"}))


def load(archive: Body, *, quiet: bool = False, platforms: Iterable[str] = ()) -> Stream[Progress]:
    query = {"quiet": quiet, "platform": [_platform(one) for one in platforms]}
    return _progress(Request("POST", "/images/load", query, archive, {"Content-Type": "application/x-tar"}))


def save(names: Iterable[str], *, platforms: Iterable[str] = ()) -> Stream[bytes]:
    query = {"names": list(names), "platform": [_platform(one) for one in platforms]}
    return Stream(Request("GET", "/images/get", query), raw)


def tag(image: str, repository: str, tag: str | None) -> Call[None]:
    return Call(Request("POST", _path(image, "/tag"), {"repo": repository, "tag": tag}), nothing)


def remove(
    image: str, *, force: bool = False, noprune: bool = False, platforms: Iterable[str] = ()
) -> Call[list[dict[str, str]]]:
    query = {"force": force, "noprune": noprune, "platforms": [_platform(one) for one in platforms]}
    request = Request("DELETE", _path(image), query)
    return Call(request, lambda body: cast("list[dict[str, str]]", parsed(body)))


def prune(filters: Filters | None = None) -> Call[Json]:
    return Call(Request("POST", "/images/prune", {"filters": filters or {}}), lambda body: cast("Json", parsed(body)))


def files(name: str) -> Stream[bytes]:
    """All files of an image as one tar. onggi's own: docker has no word for it."""
    return Stream(Request("GET", f"/onggi{_path(name, '/files')}"), raw)


def build(context: Body, query: Mapping[str, object], *, registries: Json | None = None) -> Stream[Progress]:
    """`query` as POST /build takes it: t, dockerfile, buildargs, labels, target, nocache …"""
    return _progress(_build_request(context, query, registries))


def build_call(context: Body, query: Mapping[str, object], *, registries: Json | None = None) -> Call[Json]:
    """What the Dockerfile says, without building: `query` has `call` (lint, outline, targets). onggi's own."""
    return Call(_build_request(context, query, registries), lambda body: cast("Json", parsed(body)))


def build_secrets(build_id: str, secrets: Mapping[str, bytes]) -> Call[None]:
    """Sends the secrets of the build with this `buildid`, which must come within a minute. onggi's own."""
    encoded = {name: base64.b64encode(data).decode() for name, data in secrets.items()}
    body = base64.b64encode(json_body(encoded))
    return Call(Request("POST", "/onggi/build/secrets", {"id": build_id}, body), nothing)


def build_agent(build_id: str, name: str) -> Hijack:
    """A connection on which the engine asks an ssh agent, for steps of the build with this `buildid`. onggi's own."""
    return Hijack(Request("POST", "/onggi/build/agent", {"id": build_id, "name": name}))


def _build_request(context: Body, query: Mapping[str, object], registries: Json | None) -> Request:
    headers = {"Content-Type": "application/x-tar"}
    if registries:
        headers["X-Registry-Config"] = base64.urlsafe_b64encode(json_body(registries)).decode()
    return Request("POST", "/build", query, context, headers)


def build_prune(*, all: bool = False, filters: Filters | None = None, keep_storage: int | None = None) -> Call[Json]:
    """`keep_storage` bytes of the cache may stay. Its newer name in the API is reserved-space; engines take both."""
    query = {"all": all, "filters": filters or {}, "keep-storage": keep_storage}
    request = Request("POST", "/build/prune", query)
    return Call(request, lambda body: cast("Json", parsed(body)))


def login(credentials: Json) -> Call[Json]:
    """Asks the registry through the engine whether `credentials` are good."""
    return Call(
        Request("POST", "/auth", body=json_body(credentials)), lambda body: cast("Json", parsed(body) if body else {})
    )
