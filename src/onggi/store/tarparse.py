"""Tar headers: bytes in, members out, no I/O.

Reads what docker, BuildKit, GNU tar, Python, Go and git write: ustar, pax (POSIX.1-2001), GNU long names, base-256 numbers,
and sparse files of all four kinds. Everything is bounded before it is used (a size that is negative or a pax record that
never ends has hung other readers: CVE-2025-8194, CVE-2024-6232), and nothing is guessed: what can't be read is Corrupt.

Names stay bytes: tar has no encoding, and a name must come out of a layer as it went in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from onggi.errors import Corrupt

BLOCK: Final = 512
ZERO_BLOCK: Final = bytes(BLOCK)

PAX_LIMIT: Final = 1024 * 1024
NAME_LIMIT: Final = 4096
"""PATH_MAX; a longer name can't be made by one call anyway."""
SPARSE_LIMIT: Final = 1_000_000
"""Pieces of one sparse file."""
SIZE_LIMIT: Final = 2**62

# Types, POSIX.1-2001 "ustar Interchange Format" and GNU's.
FILE: Final = b"0"
HARD_LINK: Final = b"1"
SYMLINK: Final = b"2"
CHAR_DEVICE: Final = b"3"
BLOCK_DEVICE: Final = b"4"
DIRECTORY: Final = b"5"
FIFO: Final = b"6"
_CONTIGUOUS: Final = b"7"
_OLD_FILE: Final = b"\x00"
_PAX: Final = b"x"
_PAX_SUN: Final = b"X"
_PAX_GLOBAL: Final = b"g"
_GNU_NAME: Final = b"L"
_GNU_LINK: Final = b"K"
_GNU_SPARSE: Final = b"S"

_WITHOUT_DATA: Final = frozenset({HARD_LINK, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO})
"""Whatever size their header states, no data follows (POSIX; Go's reader does the same)."""

_FIELDS: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_XATTR_PREFIX: Final = b"SCHILY.xattr."


@dataclass(slots=True)
class Member:
    """One entry. `size` counts the bytes that follow in the archive; `real_size` those of the file (sparse ones differ).

    `type` is one of the constants above. `xattrs` are as they came: whoever sets them chooses.
    """

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    real_size: int = -1
    sparse: list[tuple[int, int]] = field(default_factory=list)
    """(offset, length) of the pieces that follow, in order; `is_sparse` says whether it counts."""
    is_sparse: bool = False
    map_follows: Literal["", "blocks", "data"] = ""
    """More of the map comes first: blocks for `sparse_block` (GNU), or text at the start of the data (pax 1.0)."""

    @property
    def padding(self) -> int:
        return -self.size % BLOCK


class HeaderParser:
    """Feed it each header block in turn; what it answers says what to feed next.

    An int: so many bytes of data (then padding to a block) belong to the parser: give them to `extension`.
    A Member: its `size` bytes and padding follow, then the next header. None: an empty block (two end the archive).
    """

    def __init__(self) -> None:
        self._type = b""
        self._name: bytes | None = None
        self._link: bytes | None = None
        self._pax: dict[bytes, bytes] = {}
        self._sparse_pairs: list[bytes] = []

    def header(self, block: bytes) -> Member | int | None:
        if block == ZERO_BLOCK:
            return None
        if len(block) != BLOCK:
            raise Corrupt("tar: the archive ends within a header")
        fields = _FIELDS.unpack(block)
        _check_sum(block, fields[6])
        kind = fields[7]
        if kind in {_PAX, _PAX_SUN, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK}:
            size = _number(fields[4])
            if size > PAX_LIMIT:
                raise Corrupt(f"tar: an extended header of {size} bytes (at most {PAX_LIMIT})")
            self._type = kind
            return size
        member = self._member(fields, kind, block)
        self._name = self._link = None
        self._pax = {}
        self._sparse_pairs = []
        return member

    def extension(self, data: bytes) -> None:
        """What stands in the extended header that was just read."""
        match self._type:
            case b"L":
                self._name = data.partition(b"\0")[0]
            case b"K":
                self._link = data.partition(b"\0")[0]
            case b"g":
                # git archive's comment; a global path, size or link would be an attack or a mistake. Read for errors only.
                _records(data, [])
            case _:
                self._pax.update(_records(data, self._sparse_pairs))

    def _member(self, fields: tuple[bytes, ...], kind: bytes, block: bytes) -> Member:
        pax = self._pax
        magic = block[257:265]
        name = fields[0].partition(b"\0")[0]
        if magic[:6] == b"ustar\0" and (prefix := fields[14].partition(b"\0")[0]):
            name = prefix + b"/" + name
        name = pax.get(b"path", self._name if self._name is not None else name)
        link = pax.get(b"linkpath", self._link if self._link is not None else fields[8].partition(b"\0")[0])
        if len(name) > NAME_LIMIT or len(link) > NAME_LIMIT:
            raise Corrupt(f"tar: a name of {max(len(name), len(link))} bytes (at most {NAME_LIMIT})")
        if b"\0" in name or b"\0" in link:
            raise Corrupt(f"tar: a name with a zero byte: {shown(name)}")
        size = _decimal(pax[b"size"]) if b"size" in pax else _number(fields[4])
        if size > SIZE_LIMIT:
            raise Corrupt(f"tar: {shown(name)} has {size} bytes")
        sparse_old = kind == _GNU_SPARSE
        if kind in {_OLD_FILE, _CONTIGUOUS, _GNU_SPARSE}:
            # Before POSIX a directory was a file whose name ends in a slash.
            kind = DIRECTORY if kind == _OLD_FILE and name.endswith(b"/") else FILE
        if kind in _WITHOUT_DATA:
            size = 0
        device = kind in {CHAR_DEVICE, BLOCK_DEVICE}
        member = Member(
            name=name,
            type=kind,
            mode=_number(fields[1]) & 0o7777,
            uid=_decimal(pax[b"uid"]) if b"uid" in pax else _number(fields[2]),
            gid=_decimal(pax[b"gid"]) if b"gid" in pax else _number(fields[3]),
            size=size,
            mtime_ns=_seconds(pax[b"mtime"]) if b"mtime" in pax else _number(fields[5], signed=True) * 1_000_000_000,
            link=link,
            major=_number(fields[12]) if device else 0,
            minor=_number(fields[13]) if device else 0,
            xattrs={
                key.removeprefix(_XATTR_PREFIX): value for key, value in pax.items() if key.startswith(_XATTR_PREFIX)
            },
        )
        if member.uid >= 2**32 - 1 or member.gid >= 2**32 - 1:
            raise Corrupt(f"tar: {shown(name)} is owned by {member.uid}:{member.gid}")
        if not -(2**62) < member.mtime_ns < 2**62:
            member.mtime_ns = 0
        member.real_size = size
        if kind == FILE:
            if sparse_old:
                _old_sparse(member, block)
            else:
                self._pax_sparse(member)
        return member

    def _pax_sparse(self, member: Member) -> None:
        """The three kinds that GNU tar writes with --posix (its manual, "Storing Sparse Files")."""
        pax = self._pax
        if b"GNU.sparse.major" in pax:
            if (pax[b"GNU.sparse.major"], pax.get(b"GNU.sparse.minor")) != (b"1", b"0"):
                raise Corrupt(f"tar: {shown(member.name)} is sparse of an unknown kind")
            member.is_sparse = True
            member.map_follows = "data"
            member.real_size = _decimal(pax.get(b"GNU.sparse.realsize", b""))
        elif b"GNU.sparse.map" in pax or self._sparse_pairs:
            numbers = pax[b"GNU.sparse.map"].split(b",") if b"GNU.sparse.map" in pax else self._sparse_pairs
            member.real_size = _decimal(pax.get(b"GNU.sparse.size", b""))
            set_sparse_map(member, (_decimal(number) for number in numbers if number))
        else:
            return
        if b"GNU.sparse.name" in pax:
            member.name = pax[b"GNU.sparse.name"]
            if len(member.name) > NAME_LIMIT or b"\0" in member.name:
                raise Corrupt("tar: a sparse file's name is too long or has a zero byte")


def shown(name: bytes) -> str:
    """A member's name in a message: quoted, cut, whatever bytes it has."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return '"' + "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text) + '"'


def set_sparse_map(member: Member, numbers: Iterable[int]) -> None:
    """offset, length, offset, length…: in order and inside the file."""
    flat = list(numbers)
    if len(flat) % 2:
        raise Corrupt(f"tar: the sparse map of {shown(member.name)} is damaged")
    member.is_sparse = True
    member.sparse = []
    for offset, length in zip(flat[::2], flat[1::2], strict=True):
        _add_piece(member, offset, length)


def sparse_block(member: Member, block: bytes) -> None:
    """A GNU sparse file's map goes on in `block`; `map_follows` says whether another one comes."""
    if len(block) != BLOCK:
        raise Corrupt("tar: the archive ends within a header")
    _old_pieces(member, block, 0, 21)
    member.map_follows = "blocks" if block[504] else ""


def _old_sparse(member: Member, block: bytes) -> None:
    member.is_sparse = True
    member.real_size = _number(block[483:495])
    if member.real_size > SIZE_LIMIT:
        raise Corrupt(f"tar: {shown(member.name)} has {member.real_size} bytes")
    _old_pieces(member, block, 386, 4)
    member.map_follows = "blocks" if block[482] else ""


def _old_pieces(member: Member, block: bytes, start: int, count: int) -> None:
    for place in range(start, start + count * 24, 24):
        if not block[place]:
            break
        _add_piece(member, _number(block[place : place + 12]), _number(block[place + 12 : place + 24]))


def _add_piece(member: Member, offset: int, length: int) -> None:
    pieces = member.sparse
    end = pieces[-1][0] + pieces[-1][1] if pieces else 0
    if offset < end or offset + length > member.real_size or len(pieces) >= SPARSE_LIMIT:
        raise Corrupt(f"tar: the sparse map of {shown(member.name)} overlaps, leaves the file or is too long")
    pieces.append((offset, length))


def _check_sum(block: bytes, stated: bytes) -> None:
    """Sum of the header's bytes with the sum's own field as spaces; old tars took bytes as signed."""
    try:
        wanted = _number(stated)
    except Corrupt:
        wanted = -1
    unsigned = sum(block) - sum(block[148:156]) + 256
    if wanted == unsigned:
        return
    signed = unsigned - 256 * (sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[148:156]))
    if wanted != signed:
        raise Corrupt("archive/tar: invalid tar header (this is no tar archive, or it is damaged)")


def _number(text: bytes, *, signed: bool = False) -> int:
    """Octal with spaces or zeros around it, or base-256 when the first bit is set (GNU, star)."""
    if text and text[0] & 0x80:
        value = int.from_bytes(text, "big")
        bits = 8 * len(text)
        # The marker bit is no part of the number; with all bits set it is a negative one.
        value = value - (1 << bits) if text[0] & 0x40 else value - (1 << (bits - 1))
        if value < 0 and not signed:
            raise Corrupt("tar: a negative number")
        return value
    digits = text.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise Corrupt(f"tar: {digits!r} is no octal number")
    return int(digits, 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise Corrupt(f"tar: {text[:32]!r} is no number")
    return int(text)


def _seconds(text: bytes) -> int:
    """`1700000000.123456789` or `-1.5` in nanoseconds."""
    sign = -1 if text.startswith(b"-") else 1
    whole, _, fraction = text.removeprefix(b"-").partition(b".")
    if (
        (whole and not whole.isdigit())
        or (fraction and not fraction.isdigit())
        or not (whole or fraction)
        or len(text) > 64
    ):
        raise Corrupt(f"tar: {text[:32]!r} is no time")
    return sign * (int(whole or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def _records(data: bytes, sparse_pairs: list[bytes]) -> dict[bytes, bytes]:
    """`length key=value\\n` until the data ends. Sparse 0.0 repeats its two keys: those go to `sparse_pairs`."""
    records: dict[bytes, bytes] = {}
    place = 0
    while place < len(data):
        space = data.find(b" ", place, place + 8)
        if space < 0 or not data[place:space].isdigit():
            # GNU tar pads with zeros at times.
            if not data[place:].strip(b"\0"):
                break
            raise Corrupt("tar: a pax record without a length")
        length = int(data[place:space])
        end = place + length
        record = data[space + 1 : end]
        if length <= space - place + 1 or end > len(data) or not record.endswith(b"\n"):
            raise Corrupt("tar: a pax record's length is wrong")
        key, equals, value = record[:-1].partition(b"=")
        if not equals or not key:
            raise Corrupt("tar: a pax record without a key")
        if key in {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}:
            sparse_pairs.append(value)
        elif value:
            records[key] = value
        else:
            # An empty value takes back what an earlier record or header says; only xattrs may be empty.
            records.pop(key, None)
            if key.startswith(_XATTR_PREFIX):
                records[key] = value
        place = end
    return records
