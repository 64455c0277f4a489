"""`docker search`: repositories by a word, as an index knows them. Hub has the only one of note; its API is the first version's.

Source: moby daemon/pkg/registry/search.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

import msgspec

from onggi.errors import Corrupt, InvalidArgument
from onggi.images.challenge import Credentials
from onggi.images.connection import RegistryClient
from onggi.images.endpoints import endpoints
from onggi.images.options import RegistryOptions
from onggi.oci.reference import DEFAULT_DOMAIN

_INDEX: Final = "index.docker.io"
_USUAL: Final = 25
_ANSWER_LIMIT: Final = 4 * 1024 * 1024


class SearchResult(msgspec.Struct, frozen=True):
    """One repository. `is_automated` means nothing any more and is always false."""

    star_count: int = 0
    is_official: bool = False
    name: str = ""
    is_automated: bool = False
    description: str = ""


class _Answer(msgspec.Struct):
    results: list[SearchResult] | None = None


async def search(
    term: str, limit: int, wanted: Callable[[SearchResult], bool], credentials: Credentials, options: RegistryOptions
) -> list[SearchResult]:
    """At most `limit` (0: as many as usual), then those that are `wanted`. Raises InvalidArgument, Unavailable, Corrupt."""
    if "://" in term:
        raise InvalidArgument(f"invalid repository name: repository name ({term}) should not have a scheme")
    limit = limit or _USUAL
    if not 1 <= limit <= 100:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, 100]")
    domain, word = _split(term)
    endpoint = replace(endpoints(domain, options)[-1], root="/v1")
    if domain == DEFAULT_DOMAIN:
        endpoint, word = replace(endpoint, host=_INDEX), word.removeprefix("library/")
    async with RegistryClient(endpoint, credentials, options) as client:
        data, _ = await client.fetch(
            f"/v1/search?{urlencode({'q': word, 'n': limit})}", "registry:catalog:search", _ANSWER_LIMIT
        )
    try:
        found = msgspec.json.decode(data, type=_Answer).results or []
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"error decoding registry search results: {error}") from None
    return [msgspec.structs.replace(one, is_automated=False) for one in found if wanted(one)]


def _split(term: str) -> tuple[str, str]:
    """The registry, if the first part looks like one, and the word."""
    first, slash, rest = term.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (DEFAULT_DOMAIN if first in (DEFAULT_DOMAIN, _INDEX) else first), rest
    return DEFAULT_DOMAIN, term
