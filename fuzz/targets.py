"""Name → what is fed. Each takes any bytes and raises nothing but what its room documents."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Callable
from typing import Final

from onggi.build.dockerfile import parse_dockerfile
from onggi.build.shellwords import Lexer
from onggi.errors import Corrupt, InvalidArgument
from onggi.globs import Glob
from onggi.ignore import IgnoreRules, read_ignore_file
from onggi.oci.digest import parse_digest
from onggi.oci.image import decode_image_config
from onggi.oci.manifest import decode_manifest
from onggi.oci.platform import parse_platform
from onggi.oci.reference import parse_reference
from onggi.store.tarread import TarReader

REFUSED: Final = (InvalidArgument, Corrupt)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def dockerfile(data: bytes) -> None:
    """A Dockerfile with all its directives, flags and heredocs."""
    parse_dockerfile(data)


def words(data: bytes) -> None:
    """Substitution in the words of an instruction."""
    text = _text(data)
    for escape in "\\`":
        Lexer(escape).words(text, {"a": "b", "B": "c d", "empty": ""})


def ignore(data: bytes) -> None:
    """An ignore file, and a path that is judged by it."""
    rules, _, path = data.partition(b"\0")
    IgnoreRules(read_ignore_file(rules)).ignores(_text(path) or "a/b")


def glob(data: bytes) -> None:
    """A pattern and a path."""
    pattern, _, path = _text(data).partition("\0")
    for deep in (False, True):
        Glob(pattern, deep=deep).matches(path)


def reference(data: bytes) -> None:
    """Names, digests and platforms."""
    text = _text(data)
    for parse in (parse_reference, parse_digest, parse_platform):
        with contextlib.suppress(*REFUSED):
            parse(text)


def manifest(data: bytes) -> None:
    """A manifest or an index, by what it says it is."""
    decode_manifest(data)


def config(data: bytes) -> None:
    """An image's configuration."""
    decode_image_config(data)


def tar(data: bytes) -> None:
    """A layer or a build context: headers, pax records, sparse files, names."""
    reader = TarReader(io.BytesIO(_with_sums(data)).read)
    while (member := reader.next()) is not None:
        for _ in reader.data(member):
            pass


def _with_sums(data: bytes) -> bytes:
    """Checksums of headers made right: a changed byte would not get past them otherwise (pax(1), chksum)."""
    fixed = bytearray(data)
    for start in range(0, len(data) - 511, 512):
        if fixed[start + 257 : start + 262] == b"ustar":
            fixed[start + 148 : start + 156] = b" " * 8
            fixed[start + 148 : start + 156] = b"%06o\0 " % sum(fixed[start : start + 512])
    return bytes(fixed)


def _archive(format: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, kind, size in (
            ("d", tarfile.DIRTYPE, 0),
            ("d/" + "l" * 99, tarfile.REGTYPE, 9),
            ("s", tarfile.SYMTYPE, 0),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mtime, info.linkname = kind, size, 12, "d/x" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info, io.BytesIO(b"x" * size))
    return out.getvalue()


SEEDS: Final[dict[str, list[bytes]]] = {
    "dockerfile": [
        b"# syntax=docker/dockerfile:1\n# escape=`\nARG v=1\nFROM --platform=linux/amd64 a:${v} AS b\nRUN --mount=type=cache,target=/c <<E\nx\nE\n",
        b'FROM scratch\nCOPY --from=b --chown=1:2 ["a b", "/c/"]\nENV a=b c="d e"\nHEALTHCHECK --interval=1s CMD x\nONBUILD ADD a b\n',
        b'FROM x\nSHELL ["a"]\nEXPOSE 80-90/udp\nVOLUME /a /b\nUSER u:g\nWORKDIR c\nSTOPSIGNAL 9\nLABEL "k"=v \\\n # c\n l=m\n',
    ],
    "words": [b"${a:-b} ${B%%c*}", b"${a/x/y}${B//c/d} '$a' \"$B\"", b"${empty:?no} ${a:+${B#c}}"],
    "ignore": [b"# c\n*.o\n!a.o\n/b/**/c\n\0b/x/c"],
    "glob": [b"a/**/[a-z]*?.[^x]\0a/b/c.d"],
    "reference": [b"reg.io:5000/a/b:t@sha256:" + b"0" * 64, b"linux/arm64/v8"],
    "manifest": [
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"sha256:'
        + b"0" * 64
        + b'","size":1,"mediaType":"a/b","platform":{"os":"linux","architecture":"amd64"}}]}'
    ],
    "config": [
        b'{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]},"config":{"Env":["a=b"]}}'
    ],
    "tar": [_archive(form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)],
}
"""What a target begins with: one of each form, or it would take hours to find them."""

TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target for target in (dockerfile, words, ignore, glob, reference, manifest, config, tar)
}
