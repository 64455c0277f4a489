"""Names of images as people write them, and what they mean.

`busybox` is docker.io/library/busybox:latest; `host:5000/team/app@sha256:…` means itself. Grammar and normalisation are
those of distribution/reference (regexp.go, normalize.go), because every client takes names apart the same way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from onggi.errors import InvalidArgument
from onggi.oci.digest import Digest, parse_digest

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"

_LEGACY_DOMAIN: Final = "index.docker.io"
_OFFICIAL: Final = "library/"
_NAME_LIMIT: Final = 255
"""Of the path without the domain (reference.NameTotalLengthMax)."""
_TEXT_LIMIT: Final = 4096

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE: Final = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII
)
_TAG_ONLY: Final = re.compile(_TAG, re.ASCII)
_IMAGE_ID: Final = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository (`domain`/`path`), perhaps with a tag, perhaps with a digest. `str()` is the full form."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """`docker.io/library/busybox`"""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """`busybox`: as docker prints a repository."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return short if "/" not in short else self.path

    def familiar(self) -> str:
        """`busybox:latest`: as docker prints a reference."""
        return self.familiar_name + self._suffix()

    def with_tag(self, tag: str) -> Reference:
        """Raises InvalidArgument when `tag` is none."""
        return replace(self, tag=parse_tag(tag), digest=None)

    def with_digest(self, digest: Digest) -> Reference:
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse_reference(text: str, default_tag: str | None = DEFAULT_TAG) -> Reference:
    """What `text` names; without tag and digest it gets `default_tag`. Raises InvalidArgument with docker's words."""
    if _IMAGE_ID.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    if len(text) > _TEXT_LIMIT:
        raise InvalidArgument("invalid reference format")
    domain, remainder = _split_domain(text)
    found = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if found is None:
        path = re.split("[:@]", remainder, maxsplit=1)[0]
        if path != path.lower():
            raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase")
        raise InvalidArgument("invalid reference format")
    if len(found["path"]) > _NAME_LIMIT:
        raise InvalidArgument(f"repository name must not be more than {_NAME_LIMIT} characters")
    digest = parse_digest(found["digest"]) if found["digest"] else None
    tag = found["tag"] or (default_tag if digest is None else None)
    return Reference(found["domain"], found["path"], tag, digest)


def parse_tag(text: str) -> str:
    """Raises InvalidArgument with docker's words when `text` is no tag."""
    if not _TAG_ONLY.fullmatch(text):
        raise InvalidArgument("invalid tag format")
    return text


def _split_domain(text: str) -> tuple[str, str]:
    """The first part is a host if it looks like one: has a dot or a port, is localhost, or can't be part of a path."""
    first, slash, rest = text.partition("/")
    if not slash or not ({".", ":"} & set(first) or first == "localhost" or first != first.lower()):
        domain, remainder = DEFAULT_DOMAIN, text
    else:
        domain, remainder = first, rest
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder
