"""What becomes of a request whose client goes away."""

from __future__ import annotations

from enum import Enum


class HangUp(Enum):
    """What the end of the client's side does to the handler."""

    FINISH = "runs to its end: what was asked is done though nobody hears of it"
    CANCEL = "cancelled: it only waits or sends"
    HALF_CLOSE = "goes on: the client has no more input, and reads still"
