"""`onggi-runtime checkpoint` and `restore`: refused, before anything is touched."""

from __future__ import annotations

from typing import Never

from onggi.errors import NotImplementedHere
from onggi.runtime.flags import Given


def refuse(_: Given, given: Given) -> Never:
    """Both need CRIU's protocol, which isn't spoken here. Raises NotImplementedHere."""
    raise NotImplementedHere(
        f"container {given.rest[0]}: checkpoint and restore are not supported by onggi-runtime "
        "(use a runtime with CRIU, such as runc, for containers that are to be checkpointed)"
    )
