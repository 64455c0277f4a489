"""Names in the registry's paths. Pure; nothing becomes a file's name without having passed here."""

from __future__ import annotations

import re
from typing import Final, NewType

from onggi.errors import InvalidArgument
from onggi.oci.digest import Digest, parse_digest
from onggi.registry.answers import Refused

Repository = NewType("Repository", str)
"""Made by `parse_repository` only: no empty part, no dot at either end of a part, no underscore in front."""

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_NAME_LIMIT: Final = 255


def parse_repository(text: str) -> Repository:
    """Raises Refused NAME_INVALID. Source: distribution-spec, "Pulling manifests"."""
    if len(text) > _NAME_LIMIT or not _REPOSITORY.fullmatch(text):
        raise Refused("NAME_INVALID", f"invalid repository name: {text[:_NAME_LIMIT]!r}")
    return Repository(text)


def parse_tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise Refused("TAG_INVALID", f"manifest tag did not match URI: {text[:200]!r}")
    return text


def digest_of(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidArgument as error:
        raise Refused("DIGEST_INVALID", f"{error}: {text[:200]!r}") from None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None
