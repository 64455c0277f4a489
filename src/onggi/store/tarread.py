"""Members of a tar stream, one after the other, without seeking and without holding a file in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from onggi.errors import Corrupt
from onggi.store import tarparse
from onggi.store.tarparse import BLOCK, HeaderParser, Member, shown

_MAP_LINE_LIMIT: Final = 24

_EMPTY: Final = memoryview(b"")


class TarReader:
    """`more` gives the next bytes of the archive, as many as it likes, and b"" at the end.

    Call `next`, then `data` of the member (what is left of it is passed over by the following `next`). An archive that ends
    at a member's end is whole, with or without the two empty blocks: docker and GNU tar take both. Its padding may be missing
    then too: so docker's command line sends a context whose Dockerfile lies outside.
    """

    def __init__(self, more: Callable[[], bytes | memoryview]) -> None:
        self._more = more
        self._chunk = _EMPTY
        self._parser = HeaderParser()
        self._left = 0
        """Bytes of the present member, with its padding, that were not read."""
        self._padding = 0
        self._ended = False

    def next(self) -> Member | None:
        """The next member; None at the end. Raises Corrupt."""
        while not self._ended:
            self._skip(max(0, self._left - self._padding))
            padding = min(self._left, self._padding)
            if padding and not self._take(padding, short=True):
                self._ended = True
                break
            self._left = self._padding = 0
            block = self._take(BLOCK, at_end=True)
            if not block:
                self._ended = True
                break
            found = self._parser.header(block)
            if found is None:
                self._ended = True
            elif isinstance(found, int):
                self._parser.extension(self._take(found))
                self._skip(-found % BLOCK)
            else:
                while found.map_follows == "blocks":
                    tarparse.sparse_block(found, self._take(BLOCK))
                self._padding = found.padding
                self._left = found.size + found.padding
                if found.map_follows == "data":
                    self._read_map(found)
                if found.is_sparse and sum(length for _, length in found.sparse) != found.size:
                    raise Corrupt(f"tar: the sparse map of {shown(found.name)} doesn't fit its data")
                return found
        return None

    def data(self, member: Member) -> Iterator[tuple[int, memoryview]]:
        """(offset in the file, bytes) of the member that `next` gave last. A view is good until the following one."""
        for start, length in member.sparse if member.is_sparse else ((0, member.size),):
            offset, left = start, length
            while left:
                piece = self._some(left)
                self._left -= len(piece)
                yield offset, piece
                offset += len(piece)
                left -= len(piece)

    def drain(self) -> int:
        """Reads to the end of the stream and returns how many bytes stood after the archive."""
        passed = len(self._chunk)
        self._chunk = _EMPTY
        while piece := self._more():
            passed += len(piece)
        return passed

    def _some(self, limit: int) -> memoryview:
        """One to `limit` bytes. Raises Corrupt at the end."""
        chunk = self._chunk or self._refill()
        if not chunk:
            raise Corrupt("tar: the archive ends within a file")
        self._chunk = chunk[limit:]
        return chunk[:limit]

    def _refill(self) -> memoryview:
        self._chunk = memoryview(self._more())
        return self._chunk

    def _take(self, size: int, *, at_end: bool = False, short: bool = False) -> bytes:
        """Exactly `size` bytes, or none when the stream ends here and `at_end` allows it, or within them and `short` does."""
        chunk = self._chunk
        if len(chunk) >= size:
            self._chunk = chunk[size:]
            return bytes(chunk[:size])
        parts: list[bytes] = []
        left = size
        while left:
            if not self._chunk and not self._refill():
                if short or (at_end and not parts):
                    return b""
                raise Corrupt("tar: the archive ends within a header")
            piece = self._some(left)
            parts.append(bytes(piece))
            left -= len(piece)
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._some(size))

    def _read_map(self, member: Member) -> None:
        """Pax sparse 1.0: a count, then offsets and lengths, a line each, padded to a block; then the pieces."""
        used = 0
        text = b""

        def line() -> int:
            nonlocal used, text
            while b"\n" not in text:
                if len(text) > _MAP_LINE_LIMIT or used + BLOCK > member.size:
                    raise Corrupt(f"tar: the sparse map of {shown(member.name)} is damaged")
                text += self._take(BLOCK)
                used += BLOCK
                self._left -= BLOCK
            number, _, text = text.partition(b"\n")
            if not number.isdigit() or len(number) > _MAP_LINE_LIMIT:
                raise Corrupt(f"tar: the sparse map of {shown(member.name)} is damaged")
            return int(number)

        count = line()
        if count > tarparse.SPARSE_LIMIT:
            raise Corrupt(f"tar: the sparse map of {shown(member.name)} is too long")
        tarparse.set_sparse_map(member, [line() for _ in range(2 * count)])
        member.size -= used
        member.map_follows = ""
