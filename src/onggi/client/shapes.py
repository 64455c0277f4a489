"""What the engine answers, as far as callers here rely on it. Typed dictionaries: they cost nothing at run time.

Field names are the Engine API's. Every answer may hold more fields than stand here.
"""

from __future__ import annotations

from typing import Any, TypedDict

Json = dict[str, Any]
"""An object of the API whose fields only a template or a person looks at."""


class Created(TypedDict):
    Id: str
    Warnings: list[str]


class WaitStatus(TypedDict, total=False):
    StatusCode: int
    Error: dict[str, str] | None


class ExecState(TypedDict):
    ExitCode: int | None
    Running: bool
    Pid: int


class Top(TypedDict):
    Titles: list[str]
    Processes: list[list[str]]


class PathStat(TypedDict):
    name: str
    size: int
    mode: int
    mtime: str
    linkTarget: str


class Progress(TypedDict, total=False):
    status: str
    id: str
    progressDetail: dict[str, int]
    stream: str
    aux: dict[str, Any]
    error: str
    errorDetail: dict[str, Any]
