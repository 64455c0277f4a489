"""Bytes of a stream to a file that appears whole, or to stdout that must not be a terminal."""

from __future__ import annotations

import contextlib
import os
import sys

from onggi.cli.command import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def told_as(action: str) -> Iterator[None]:
    """`failed to save image: …` before what goes wrong with the output. Raises Exit."""
    try:
        yield
    except Exit as error:
        raise Exit(error.code, f"failed to {action}: {error.message}") from None


def check_output(path: str) -> None:
    """Refuses, before anything is asked of the engine, what can't be written. Raises Exit."""
    if not path:
        if sys.stdout.isatty():
            raise Exit(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect")
        return
    directory = os.path.dirname(path)
    if directory and not os.path.isdir(directory):
        raise Exit(1, f"invalid output path: stat {directory}: no such file or directory")
    if os.path.isdir(path):
        raise Exit(1, "cannot write to a directory")
    if os.path.exists(path) and not os.path.isfile(path) and not os.access(path, os.W_OK):
        raise Exit(1, f"invalid output path: {path}")


def write_stream(pieces: Iterable[bytes], path: str) -> None:
    """A device or a pipe is written to; a file is replaced when all is there."""
    if not path:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            for piece in pieces:
                file.write(piece)
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
