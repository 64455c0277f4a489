"""Bytes of a stream to a file that appears whole, or to stdout that must not be a terminal."""

from __future__ import annotations

import os
import sys

from onggi.cli.main import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def write_stream(pieces: Iterable[bytes], path: str) -> None:
    """Raises Exit when stdout is a terminal: bytes of a tar would garble it."""
    if not path:
        if sys.stdout.isatty():
            raise Exit(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect")
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    temporary = f"{path}.part-{os.getpid()}"
    try:
        with open(temporary, "xb") as file:
            for piece in pieces:
                file.write(piece)
        os.rename(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
