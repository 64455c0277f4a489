"""Calls that replace a named container safely: onggi's own, not in docker's API."""

from __future__ import annotations

from typing import cast

from onggi.client.call import Request, Stream, json_body, json_lines, quote
from onggi.client.shapes import Json, Progress


def deploy(
    container: str,
    image: str,
    *,
    health_timeout_s: float | None = None,
    drain_s: float | None = None,
    changes: Json | None = None,
) -> Stream[Progress]:
    """`container` comes to run `image`; the old one serves until the new one is healthy. Items tell of each stage; an
    `error` item means that the new one was refused and the old one still serves.
    """
    body = {"Image": image, "HealthTimeout": health_timeout_s, "Drain": drain_s, "Changes": changes or {}}
    request = Request(
        "POST",
        f"/onggi/containers/{quote(container)}/deploy",
        body=json_body({k: v for k, v in body.items() if v is not None}),
    )
    return cast("Stream[Progress]", Stream(request, json_lines))


def recreate(container: str, changes: Json, *, health_timeout_s: float | None = None) -> Stream[Progress]:
    """`container` is made anew: what `changes` (a create body) says is added, or takes the place of what was said."""
    body = {"Changes": changes, "HealthTimeout": health_timeout_s}
    request = Request(
        "POST",
        f"/onggi/containers/{quote(container)}/recreate",
        body=json_body({k: v for k, v in body.items() if v is not None}),
    )
    return cast("Stream[Progress]", Stream(request, json_lines))


def undo(container: str) -> Stream[Progress]:
    """The container that was there before the last recreation takes its place again."""
    return cast("Stream[Progress]", Stream(Request("POST", f"/onggi/containers/{quote(container)}/undo"), json_lines))


def rollback(container: str) -> Stream[Progress]:
    """`container` comes to run what it ran before its last deploy, by the same steps."""
    request = Request("POST", f"/onggi/containers/{quote(container)}/rollback")
    return cast("Stream[Progress]", Stream(request, json_lines))
