"""One request's way: version, route, handler; and every exception's way to a status.

raw path → version → table → Call → handler → Answer | Stream | TakenOver
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote

from onggi.api.answers import Answer, problem
from onggi.api.call import Call
from onggi.api.connection import Connection, Connections
from onggi.api.query import Query
from onggi.api.table import Route, Table
from onggi.api.versions import split_version
from onggi.errors import NotFound, OnggiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import StreamResponse

    from onggi.api.guards import HostGuard
    from onggi.api.service import Service

_EARLY: Final = frozenset({"/_ping"})  # answered while the engine is still reading its state
_LOUD: Final = 500

log = logging.getLogger(__name__)


class PageNotFound(NotFound):
    """No such path."""


class MethodNotAllowed(OnggiError):
    """The path is there, for other methods."""

    status = HTTPStatus.METHOD_NOT_ALLOWED


class Site:
    """Serves the API's requests on any number of listeners."""

    def __init__(self, service: Service, routes: Iterable[Route]) -> None:
        self._service = service
        self._table = Table()
        for route in routes:
            self._table.add(route)
        self._listeners: list[Connections] = []

    def connections(self, guard: HostGuard | None) -> Connections:
        """The protocol factory of one listener. No guard: only users of this machine can reach it."""
        made = Connections(self._handle, guard=guard)
        self._listeners.append(made)
        return made

    async def close(self, patience_s: float) -> None:
        """Ends what only waits or sends, gives what changes something `patience_s`, then cuts."""
        for listener in self._listeners:
            for connection in listener.connections:
                if isinstance(connection, Connection):
                    connection.dismiss()
            listener.pre_shutdown()  # idle ones end now; shutdown() alone would wait for their next request
        await asyncio.gather(*(listener.shutdown(patience_s) for listener in self._listeners))

    async def _handle(self, request: BaseRequest) -> StreamResponse:
        connection = cast("Connection", request.protocol)  # Connections makes no other
        call: Call | None = None
        try:
            if connection.guard is not None:
                connection.guard.check(request.headers)
            path, _, query = _target(request.raw_path).partition("?")
            if request.method == "OPTIONS":
                return Answer(200)
            version, path = split_version(unquote(path, errors="strict") if "%" in path else path)
            route, params = self._find(request.method, path, version)
            call = Call(request, connection, self._service, version, path, Query(query))
            call.params = params
            if not self._service.is_ready and path not in _EARLY:
                await self._service.loaded()
            connection.serve(route.hang_up)
            return await route.handler(call)
        except asyncio.CancelledError:
            if (call is not None and call.streaming) or not connection.forgive():
                raise
            return problem(500, "context canceled")  # dockerd's words
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  # the boundary of a request: invariant (2)
            return _failed(request, call, error)
        finally:
            connection.served()

    def _find(self, method: str, path: str, version: int) -> tuple[Route, dict[str, str]]:
        found = self._table.find(method, path, version)
        if isinstance(found, tuple):
            return found
        if found:
            raise MethodNotAllowed(f"method not allowed (this path has {', '.join(sorted(found))})")
        raise PageNotFound("page not found")


def _target(raw: str) -> str:
    """The request target as a path: proxies send the absolute form (RFC 9112, 3.2.2)."""
    if raw.startswith("/"):
        return raw
    scheme, separator, rest = raw.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        return "/" + rest.partition("/")[2]
    return raw


def _failed(request: BaseRequest, call: Call | None, error: Exception) -> StreamResponse:
    status, message = _translate(error, request)
    if call is not None and call.streaming:
        log.warning("a stream ended early", extra={"path": call.path, "reason": message})
        if request.transport is not None:
            request.transport.close()
        raise ConnectionResetError("the stream was cut")
    return problem(status, message)


def _translate(error: Exception, request: BaseRequest) -> tuple[int, str]:
    """Status and text of what a handler raised. What isn't ours to say gets an id that the log explains (S-69)."""
    if isinstance(error, OnggiError):
        if error.status >= _LOUD:
            log.warning("request failed", extra={"path": request.path, "reason": str(error)})
        return int(error.status), str(error) or HTTPStatus(error.status).phrase
    if isinstance(error, UnicodeError):
        return 400, "the request's path or query is not UTF-8"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 500, "no space left on device"
    name = secrets.token_hex(4)
    log.error("unexpected error", exc_info=error, extra={"id": name, "method": request.method, "path": request.path})
    return 500, f"internal error {name} (the engine's log says more)"
