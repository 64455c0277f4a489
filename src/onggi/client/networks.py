"""Calls on networks: /networks."""

from __future__ import annotations

from typing import cast

from onggi.client.call import Call, Request, json_body, nothing, parsed, quote
from onggi.client.shapes import Json

Filters = dict[str, list[str]]


def listing(filters: Filters | None = None) -> Call[list[Json]]:
    return Call(Request("GET", "/networks", {"filters": filters or {}}), lambda body: cast("list[Json]", parsed(body)))


def create(config: Json) -> Call[Json]:
    return Call(Request("POST", "/networks/create", body=json_body(config)), lambda body: cast("Json", parsed(body)))


def inspect(network: str, *, verbose: bool = False) -> Call[Json]:
    return Call(
        Request("GET", f"/networks/{quote(network)}", {"verbose": verbose}), lambda body: cast("Json", parsed(body))
    )


def remove(network: str) -> Call[None]:
    return Call(Request("DELETE", f"/networks/{quote(network)}"), nothing)


def connect(network: str, container: str, endpoint: Json | None = None) -> Call[None]:
    body = json_body({"Container": container, "EndpointConfig": endpoint or {}})
    return Call(Request("POST", f"/networks/{quote(network)}/connect", body=body), nothing)


def disconnect(network: str, container: str, *, force: bool = False) -> Call[None]:
    body = json_body({"Container": container, "Force": force})
    return Call(Request("POST", f"/networks/{quote(network)}/disconnect", body=body), nothing)


def prune(filters: Filters | None = None) -> Call[Json]:
    return Call(Request("POST", "/networks/prune", {"filters": filters or {}}), lambda body: cast("Json", parsed(body)))
