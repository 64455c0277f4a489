"""What all requests share: the engine, and whether it has finished reading its state."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from onggi.errors import Unavailable

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_LOADING_S: Final = 60.0


class Service:
    """`engine` may be used once `loaded()` has returned; the dispatcher waits for it before every handler but ping's."""

    def __init__(self, *, debug: bool = False) -> None:
        self.debug = debug
        self._engine: Engine | None = None
        self._settled = asyncio.Event()
        self._reason = ""

    @property
    def is_ready(self) -> bool:
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise Unavailable(self._reason or "the engine is starting")
        return self._engine

    def ready(self, engine: Engine) -> None:
        self._engine = engine
        self._settled.set()

    def close(self, reason: str) -> None:
        """No more work: requests that come now, or still wait for the engine, are told `reason`."""
        self._engine = None
        self._reason = reason
        self._settled.set()

    async def loaded(self) -> None:
        """Returns when the engine is there. Raises Unavailable when it doesn't come."""
        if self._engine is not None:
            return
        try:
            async with asyncio.timeout(_LOADING_S):
                await self._settled.wait()
        except TimeoutError:
            raise Unavailable("the engine is still starting") from None
