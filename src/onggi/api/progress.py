"""Answers that tell of work while it goes on: pull, push, load, build. One JSON object a line, ended by CR LF.

The status goes out with the first object: what fails before has a status of its own, what fails after is said in the
stream, and nothing comes behind it (E-248). The work may be faster than its reader: a megabyte waits, then output and
how far something is are left out, which is said, and nothing else (R-20).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from onggi.api.answers import JSON
from onggi.api.streams import Stream
from onggi.errors import OnggiError

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

Output = Callable[[Any], None]

_MOST_WAITING: Final = 1 << 20
_CLIPPED: Final = b'{"stream":"[output clipped: the reader is too slow]\\n"}'

log = logging.getLogger(__name__)


class _Waiting:
    """Objects that the client hasn't been sent yet."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._clipped = False

    def __bool__(self) -> bool:
        return bool(self._lines)

    def put(self, line: bytes) -> None:
        if self._size > _MOST_WAITING and (line.startswith(b'{"stream"') or b'"progressDetail":{"' in line):
            if not self._clipped:
                self._clipped = True
                self._lines.append(_CLIPPED)
            return
        self._clipped = False
        self._lines.append(line)
        self._size += len(line)

    def take(self) -> bytes:
        line = self._lines.popleft()
        if line is not _CLIPPED:
            self._size -= len(line)
        return line


async def progress(
    call: Call,
    work: Callable[[Output], Awaitable[object]],
    *,
    content_type: str = JSON,
    quiet_errors: bool = False,
) -> StreamResponse:
    """Run `work`, which tells of itself through the function it's given. Cancelled: the work is cancelled with it."""
    lines = _Waiting()
    news = asyncio.Event()

    def output(message: object) -> None:
        lines.put(msgspec.json.encode(message))
        news.set()

    stream = Stream(call, content_type)
    task = asyncio.ensure_future(work(output))
    task.add_done_callback(lambda _task: news.set())
    try:
        while not task.done() or lines:
            if not lines:
                news.clear()
                if not task.done():
                    await news.wait()
                continue
            while lines:
                await stream.write(lines.take() + b"\r\n")
        await _finish(stream, task, call, quiet_errors=quiet_errors)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen, or nobody's to see any more: the client has gone
    return stream


async def _finish(stream: Stream, task: asyncio.Future[object], call: Call, *, quiet_errors: bool) -> None:
    """The work's error, as a status or in the stream."""
    error = task.exception()
    if error is None:
        return
    if not call.streaming and not quiet_errors:
        raise error
    if isinstance(error, OnggiError):
        code, message = getattr(error, "code", 0), str(error)
    else:
        log.error("unexpected error", exc_info=error, extra={"path": call.path})
        code, message = 0, "internal error (the engine's log says more)"
    detail: dict[str, object] = {"code": code, "message": message} if code else {"message": message}
    await stream.line({"errorDetail": detail, "error": message})
