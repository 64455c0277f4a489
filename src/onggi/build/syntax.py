"""`# syntax=`: which frontend a Dockerfile asks for. The built-in one serves docker/dockerfile; others are images. Pure.

Source: moby buildkit frontend/dockerfile/parser/directives.go (DetectSyntax): only the way to the frontend has these three forms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from onggi.build.errors import OtherFrontend
from onggi.errors import InvalidArgument
from onggi.oci.reference import parse_reference

_OURS: Final = frozenset({"docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"})
_DIRECTIVES: Final = tuple(
    re.compile(rf"{comment}\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*") for comment in (r"\#", "//")
)
_LINES: Final = 100
"""Directives are at the top: nobody writes more of them."""


class _Document(msgspec.Struct):
    syntax: str = ""


def syntax_of(data: bytes) -> str:
    """What stands at the top as `# syntax=…`, `// syntax=…`, or in a JSON object as `syntax`; "" when nothing does."""
    text = data.removeprefix(b"\xef\xbb\xbf")
    if text.startswith(b"#!"):
        text = text.partition(b"\n")[2]
    lines = text.split(b"\n", _LINES)[:_LINES]
    for directive in _DIRECTIVES:
        for line in lines:
            match = directive.fullmatch(line.decode("utf-8", "replace").strip())
            if match is None:
                break
            if match[1].lower() == "syntax":
                return match[2]
    try:
        return msgspec.json.decode(text, type=_Document).syntax if text.lstrip()[:1] == b"{" else ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def check_syntax(data: bytes, given: Mapping[str, str | None]) -> None:
    """Raises OtherFrontend for a frontend that isn't the built-in one, InvalidArgument for no name at all."""
    asked = given.get("BUILDKIT_SYNTAX")
    if asked == "":
        raise InvalidArgument("BUILDKIT_SYNTAX must not be empty")
    words = (asked or syntax_of(data)).strip()
    text = words.split(None, 1)[0] if words else ""
    if not text or text == "dockerfile.v0":
        return
    try:
        name = parse_reference(text).name
    except InvalidArgument:
        raise InvalidArgument(f"failed to parse frontend source {text!r}: invalid reference format") from None
    if name not in _OURS:
        raise OtherFrontend(text, words)
