"""`# syntax=`: which frontend a Dockerfile asks for. Ours serves docker/dockerfile; others are programs that aren't run here. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from onggi.build.errors import BuildFailed
from onggi.errors import InvalidArgument
from onggi.oci.reference import parse_reference

_OURS = frozenset({"docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"})


def check_syntax(directive: str, given: Mapping[str, str | None]) -> None:
    """Raises BuildFailed for a frontend that isn't ours, InvalidArgument for no name at all."""
    asked = given.get("BUILDKIT_SYNTAX")
    if asked == "":
        raise InvalidArgument("BUILDKIT_SYNTAX must not be empty")
    text = (asked or directive).split(None, 1)[0] if (asked or directive).strip() else ""
    if not text or text == "dockerfile.v0":
        return
    try:
        name = parse_reference(text).name
    except InvalidArgument:
        raise InvalidArgument(f"failed to parse frontend source {text!r}: invalid reference format") from None
    if name not in _OURS:
        raise BuildFailed(f"frontend {text} is not supported here: the built-in one serves docker/dockerfile")
