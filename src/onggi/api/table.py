"""Which handler answers which method and path. Pure.

A pattern's `{name}` takes one segment, `{name*}` takes the rest with its slashes (image names have some). Routes with no
parameter are found by a dictionary, the others by the patterns of their first segment, in the order they were added.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onggi.api.hangup import HangUp

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

Handler = Callable[["Call"], Awaitable["StreamResponse"]]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table. `row` is the goal table's id, `since` the first API version that has it."""

    method: str
    pattern: str
    handler: Handler
    row: str
    since: int
    hang_up: HangUp
    match: Callable[[str], re.Match[str] | None]


@dataclass(slots=True)
class Table:
    """All routes of the API."""

    routes: list[Route] = field(default_factory=list)
    _exact: dict[str, dict[str, Route]] = field(default_factory=dict)
    _by_segment: dict[str, list[Route]] = field(default_factory=dict)

    def add(self, route: Route) -> None:
        self.routes.append(route)
        if "{" in route.pattern:
            self._by_segment.setdefault(_segment(route.pattern), []).append(route)
        else:
            self._exact.setdefault(route.pattern, {})[route.method] = route

    def find(self, method: str, path: str, version: int) -> tuple[Route, dict[str, str]] | set[str]:
        """The route and its parameters, or the methods that the path does have (none: no such page)."""
        allowed: set[str] = set()
        exact = self._exact.get(path)
        if exact is not None:
            route = exact.get(method)
            if route is not None and version >= route.since:
                return route, {}
            allowed.update(name for name, other in exact.items() if version >= other.since)
        for route in self._by_segment.get(_segment(path), ()):
            found = route.match(path)
            if found is None or version < route.since:
                continue
            if route.method == method:
                return route, found.groupdict()
            allowed.add(route.method)
        return allowed


def _segment(path: str) -> str:
    return path[: path.find("/", 1)] if "/" in path[1:] else path


def compile_pattern(pattern: str) -> Callable[[str], re.Match[str] | None]:
    expression = ""
    for part in re.split(r"(\{\w+\*?\})", pattern):
        if part.startswith("{"):
            name, rest = part.strip("{}*"), part.endswith("*}")
            expression += f"(?P<{name}>.+)" if rest else f"(?P<{name}>[^/]+)"
        else:
            expression += re.escape(part)
    return re.compile(expression, re.DOTALL).fullmatch


class Routes:
    """The routes of one file, gathered by decorators."""

    def __init__(self) -> None:
        self.all: list[Route] = []

    def on(
        self, method: str, pattern: str, row: str, *, since: int = 0, hang_up: HangUp = HangUp.FINISH
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.all.append(Route(method, pattern, handler, row, since, hang_up, compile_pattern(pattern)))
            return handler

        return register
