"""One client's connection: aiohttp's protocol with our answers to errors, hang-ups and take-overs.

Hang-ups: a handler that only waits is cancelled when its client goes (R-24); one that changes something runs to its end,
because half of a create is worse than one that nobody asked for any more. Which is which: `HangUp` of the route.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server

from onggi.api.answers import problem
from onggi.api.hangup import HangUp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web_request import BaseRequest

    from onggi.api.guards import HostGuard

_MOST_CONNECTIONS: Final = 4096
MAX_EARLY: Final = 1 << 16
_IDLE_S: Final = 180.0  # also the longest that a request's head may take (S-66)
_PREFACE: Final = b"PRI * HTTP/2.0\r\n"  # RFC 9113, 3.4
_AS_REQUEST: Final = b"POST /grpc HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
_LINGER_S: Final = 5.0  # how long the rest of a body that nobody wants is read

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def most_connections() -> int:
    """Of one listener. Half of the descriptors stay for the engine's own work, whatever clients do (R-16)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_CONNECTIONS, soft // 2) if soft > 0 else _MOST_CONNECTIONS


class TakenOver(StreamResponse):
    """What a handler returns when the connection is no longer HTTP: nothing is left to write."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing to end."""

    @property
    def keep_alive(self) -> bool | None:
        return False


class Connection(RequestHandler):
    """The protocol of one accepted socket. `guard` looks at every request; None where only the machine's own users come."""

    __slots__ = ("_early", "_gave_up", "_hang_up", "_held", "_taken", "_task", "at_end", "guard", "is_http2")

    def __init__(self, manager: Server, *, guard: HostGuard | None, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=_IDLE_S,
            lingering_time=_LINGER_S,
            access_log=None,  # type: ignore[arg-type]  # aiohttp tests it for truth
            auto_decompress=False,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=128,
        )
        self.guard = guard
        self.at_end = False
        self._task: asyncio.Task[object] | None = None
        self._taken: asyncio.Task[object] | None = None
        self._hang_up = HangUp.FINISH
        self._gave_up = False
        self._held = False
        self._early = b""
        self.is_http2 = False
        """The client began with HTTP/2's preface: it is served as if it had asked for `/grpc`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > most_connections():
            log.warning("too many connections: one is closed", extra={"limit": most_connections()})
            self.force_close()

    def serve(self, hang_up: HangUp) -> None:
        """The running task serves a route of this kind from now on. Called at the handler's first step."""
        self._task = asyncio.current_task()
        self._hang_up = hang_up
        if self.at_end:
            self._give_up()

    def _give_up(self) -> None:
        if self._task is not None and self._hang_up is HangUp.CANCEL:
            self._gave_up = self._task.cancel()

    def forgive(self) -> bool:
        """Whether the running task was cancelled for the end of a client that still reads. It can go on then, to say so."""
        if not self._gave_up or self._task is None or self.transport is None or self.transport.is_closing():
            return False
        return self._task.uncancel() == 0

    def served(self) -> None:
        """The handler is done; what the client had sent before it ended is served still."""
        self._task = None
        self._gave_up = self._held = False
        if self.at_end and not self._messages:
            self.close()

    def dismiss(self) -> None:
        """The engine goes: what only waits or sends ends now."""
        task = self._taken or self._task
        if task is not None and self._hang_up is not HangUp.FINISH:
            task.cancel()

    def hold(self) -> None:
        """The request is whole: bytes from now on belong to the stream that the connection becomes."""
        self._held = True

    def data_received(self, data: bytes) -> None:
        if not self._held and not self._request_count and data.startswith(_PREFACE):
            self.is_http2 = self._held = True
            super().data_received(_AS_REQUEST)
        if not self._held:
            super().data_received(data)
            return
        self._early += data
        if len(self._early) >= MAX_EARLY and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's contract; aiohttp says None
        """The client sends no more. Answers still go out; what waits for nothing else is cancelled, as Go's server does."""
        self.at_end = True
        self._give_up()
        if not self._request_count or self._waiter is not None:
            # aiohttp's close() ends the task of a connection that waits for its next request, and leaves the socket open;
            # of one that has had no request it may miss the task too.
            self.force_close()
        elif self._task is None and not self._messages:
            self.close()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self.at_end = True
        if self._task is not None and self._hang_up is not HangUp.FINISH:
            self._task.cancel()
        super().connection_lost(exc)

    def take_over(self, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
        """The transport, which from now on talks to `protocol`, and what the client sent ahead.

        Raises ConnectionResetError when the client has gone. aiohttp's side is told that its connection is over.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        early, self._early = self._early, b""
        self._taken = self._task
        self.served()
        self.transport = None  # or aiohttp closes it at the end of its request
        transport.set_protocol(protocol)
        super().connection_lost(None)
        if len(early) >= MAX_EARLY:
            transport.resume_reading()
        return transport, early

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> StreamResponse:
        """A request that could not be parsed. The text is the parser's; it can hold none of ours."""
        if status >= 500:
            log.error("a request failed outside its handler", exc_info=exc, extra={"path": request.path})
            answer = problem(500, "internal error")
        else:
            answer = problem(status, (message or "bad request").splitlines()[0][:200])
        self.close()
        return answer


class Connections(Server):
    """Makes the protocols of one listener."""

    def __init__(self, handler: Callable[[BaseRequest], Awaitable[StreamResponse]], *, guard: HostGuard | None) -> None:
        super().__init__(handler)
        self._guard = guard

    def __call__(self, *_: Any) -> Connection:
        return Connection(self, guard=self._guard, loop=self._loop)
