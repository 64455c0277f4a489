"""Calls on volumes: /volumes."""

from __future__ import annotations

from typing import cast

from onggi.client.call import Call, Request, json_body, nothing, parsed, quote
from onggi.client.shapes import Json

Filters = dict[str, list[str]]


def listing(filters: Filters | None = None) -> Call[Json]:
    return Call(Request("GET", "/volumes", {"filters": filters or {}}), lambda body: cast("Json", parsed(body)))


def create(config: Json) -> Call[Json]:
    return Call(Request("POST", "/volumes/create", body=json_body(config)), lambda body: cast("Json", parsed(body)))


def inspect(volume: str) -> Call[Json]:
    return Call(Request("GET", f"/volumes/{quote(volume)}"), lambda body: cast("Json", parsed(body)))


def remove(volume: str, *, force: bool = False) -> Call[None]:
    return Call(Request("DELETE", f"/volumes/{quote(volume)}", {"force": force}), nothing)


def prune(filters: Filters | None = None) -> Call[Json]:
    return Call(Request("POST", "/volumes/prune", {"filters": filters or {}}), lambda body: cast("Json", parsed(body)))


def update(volume: str, version: int, config: Json) -> Call[None]:
    request = Request("PUT", f"/volumes/{quote(volume)}", {"version": version}, json_body(config))
    return Call(request, nothing)
