"""Calls on processes started in a running container: /exec."""

from __future__ import annotations

from typing import cast

from onggi.client.call import Call, Hijack, Request, json_body, nothing, parsed, quote
from onggi.client.shapes import ExecState, Json


def create(container: str, config: Json) -> Call[Json]:
    """A process to be started: Cmd, Env, User, Tty, AttachStdout …; the answer's Id names it."""
    request = Request("POST", f"/containers/{quote(container)}/exec", body=json_body(config))
    return Call(request, lambda body: cast("Json", parsed(body)))


def start(exec_id: str, *, tty: bool = False, console_size: list[int] | None = None) -> Hijack:
    """Starts it and takes its streams over."""
    body: Json = {"Detach": False, "Tty": tty}
    if console_size:
        body["ConsoleSize"] = console_size
    return Hijack(Request("POST", f"/exec/{exec_id}/start", body=json_body(body)))


def start_detached(exec_id: str, *, tty: bool = False) -> Call[None]:
    return Call(Request("POST", f"/exec/{exec_id}/start", body=json_body({"Detach": True, "Tty": tty})), nothing)


def resize(exec_id: str, height: int, width: int) -> Call[None]:
    return Call(Request("POST", f"/exec/{exec_id}/resize", {"h": height, "w": width}), nothing)


def inspect(exec_id: str) -> Call[ExecState]:
    return Call(Request("GET", f"/exec/{exec_id}/json"), lambda body: cast("ExecState", parsed(body)))
