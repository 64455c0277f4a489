"""Digests: `algorithm:hex`, checked to the last character before anything is named after them.

Source: image-spec, descriptor.md, "Digests". Both registered algorithms are read; all that is made here is sha256.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final, NewType

import msgspec

from onggi.errors import InvalidArgument

Digest = NewType("Digest", str)
"""Made by `parse_digest`, `sha256_of` and `from_hex` only, so that it holds no slash, no dot and no surprise."""

# \Z, not $: $ also matches before a newline at the end, which would then be part of a file's name.
DIGEST_PATTERN: Final = r"\A(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z"

DigestField = Annotated[Digest, msgspec.Meta(pattern=DIGEST_PATTERN)]
"""For fields of msgspec Structs: decoding is parsing."""

_DIGEST: Final = re.compile(DIGEST_PATTERN)
_ALGORITHMS: Final = {"sha256": 64, "sha512": 128}


def parse_digest(text: str) -> Digest:
    """`text` as a digest. Raises InvalidArgument with go-digest's words."""
    if _DIGEST.match(text):
        return Digest(text)
    algorithm, colon, encoded = text.partition(":")
    if not colon or not encoded:
        raise InvalidArgument("invalid checksum digest format")
    if algorithm not in _ALGORITHMS:
        raise InvalidArgument("unsupported digest algorithm")
    if len(encoded) != _ALGORITHMS[algorithm]:
        raise InvalidArgument("invalid checksum digest length")
    raise InvalidArgument("invalid checksum digest format")


def is_digest(text: str) -> bool:
    return _DIGEST.match(text) is not None


def sha256_of(data: bytes | bytearray | memoryview) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_by(algorithm: str, data: bytes) -> Digest:
    """With the algorithm of a digest that was promised."""
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def from_hex(encoded: str) -> Digest:
    """The sha256 digest whose hex part is `encoded` (an image id without its prefix, a directory's name)."""
    return parse_digest("sha256:" + encoded)


def algorithm_of(digest: Digest) -> str:
    return digest[:6]


def hex_of(digest: Digest) -> str:
    return digest[7:]
