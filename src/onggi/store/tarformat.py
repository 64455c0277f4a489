"""Tar headers as bytes: the same member always gives the same bytes (a layer's digest depends on it).

ustar, with a pax header in front when a field doesn't fit (POSIX.1-2001). Times are whole seconds, as docker writes them, so
that unpacking and packing again changes nothing.
"""

from __future__ import annotations

import struct
from typing import Final

from onggi.store.tarparse import BLOCK, Member

END: Final = bytes(2 * BLOCK)
"""Stands at the end of an archive."""

_FIELDS: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_MAX_ID: Final = 0o7777777
_MAX_LONG: Final = 0o77777777777
_SPACES: Final = b" " * 8


def header(member: Member) -> bytes:
    """All header blocks of `member`; its `size` bytes and `padding` zeros come next."""
    pax: list[tuple[bytes, bytes]] = []
    prefix, name = b"", member.name
    if len(name) > 100:
        prefix, name = _split(name)
        if not name:
            prefix, name = b"", member.name[:100]
            pax.append((b"path", member.name))
    link = member.link
    if len(link) > 100:
        pax.append((b"linkpath", link))
    seconds = member.mtime_ns // 1_000_000_000
    numbers = [
        (b"uid", member.uid, _MAX_ID),
        (b"gid", member.gid, _MAX_ID),
        (b"size", member.size, _MAX_LONG),
        (b"mtime", seconds, _MAX_LONG),
    ]
    values = []
    for key, value, limit in numbers:
        if 0 <= value <= limit:
            values.append(value)
        else:
            pax.append((key, b"%d" % value))
            values.append(0)
    pax.extend((b"SCHILY.xattr." + key, value) for key, value in sorted(member.xattrs.items()))
    uid, gid, size, mtime = values
    block = _block(
        name, member.mode, uid, gid, size, mtime, member.type, link[:100], member.major, member.minor, prefix
    )
    if not pax:
        return block
    body = b"".join(_record(key, value) for key, value in pax)
    extended = _block(b"./PaxHeaders/" + name[-80:].lstrip(b"/"), 0o644, 0, 0, len(body), 0, b"x", b"", 0, 0, b"")
    return extended + body + bytes(-len(body) % BLOCK) + block


def _block(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    link: bytes,
    major: int,
    minor: int,
    prefix: bytes,
) -> bytes:
    block = _FIELDS.pack(
        name,
        b"%07o\0" % mode,
        b"%07o\0" % uid,
        b"%07o\0" % gid,
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        _SPACES,
        kind,
        link,
        b"ustar\x0000",
        b"",
        b"",
        b"%07o\0" % major,
        b"%07o\0" % minor,
        prefix,
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Prefix and name for ustar, or nothing when they don't fit: the cut is at a slash."""
    cut = name.rfind(b"/", 0, 156)
    if cut <= 0 or len(name) - cut - 1 > 100 or cut == len(name) - 1:
        return b"", b""
    return name[:cut], name[cut + 1 :]


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value\\n`, where length counts itself."""
    length = len(key) + len(value) + 3
    digits = len(b"%d" % length)
    while len(b"%d" % (length + digits)) != digits:
        digits += 1
    return b"%d %s=%s\n" % (length + digits, key, value)
