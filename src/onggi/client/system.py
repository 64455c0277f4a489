"""Calls on the engine itself: ping, version, info, df, events, leaks."""

from __future__ import annotations

from typing import cast

from onggi.client.call import Call, Request, Stream, json_lines, parsed
from onggi.client.shapes import Json

Filters = dict[str, list[str]]


def ping() -> Call[str]:
    return Call(Request("GET", "/_ping"), lambda body: body.decode())


def version() -> Call[Json]:
    return Call(Request("GET", "/version"), lambda body: cast("Json", parsed(body)))


def info() -> Call[Json]:
    return Call(Request("GET", "/info"), lambda body: cast("Json", parsed(body)))


def df() -> Call[Json]:
    return Call(Request("GET", "/system/df"), lambda body: cast("Json", parsed(body)))


def events(*, since: str | None = None, until: str | None = None, filters: Filters | None = None) -> Stream[Json]:
    return Stream(Request("GET", "/events", {"since": since, "until": until, "filters": filters or {}}), json_lines)


def leaks() -> Call[Json]:
    """What of the engine is on the machine, explained by a row or not (onggi's own; not in docker's API)."""
    return Call(Request("GET", "/onggi/leaks"), lambda body: cast("Json", parsed(body)))
