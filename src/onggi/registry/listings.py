"""Lists: repositories, tags, referrers; a page at a time, never more than a thousand entries (S-71)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from onggi.errors import OnggiError
from onggi.oci.digest import Digest
from onggi.oci.manifest import OCI_EMPTY, OCI_INDEX, Descriptor, Index, Manifest, decode_manifest
from onggi.registry.answers import Refused
from onggi.registry.call import Call
from onggi.registry.names import Repository, digest_of
from onggi.registry.repositories import Repositories
from onggi.store.blocking import blocking

_PAGE: Final = 1000
_REFERRERS_BYTES: Final = 3 * 1024 * 1024
"""Of one page: below what clients take for an index."""


class Listings:
    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    async def base(self, call: Call) -> web.StreamResponse:  # noqa: ARG002 - a handler's shape
        return _json({})

    async def catalog(self, call: Call) -> web.StreamResponse:
        count, last = _page(call)
        names = await blocking(lambda: list(islice(self._repositories.names(last), count + 1)))
        return _json({"repositories": names[:count]}, _next("/v2/_catalog", names, count))

    async def tags(self, call: Call) -> web.StreamResponse:
        count, last = _page(call)
        tags = [tag for tag in await blocking(self._repositories.tags, call.name) if tag > last]
        if not tags and not self._repositories.exists(call.name):
            raise Refused("NAME_UNKNOWN", "repository name not known to registry", detail=call.name)
        path = f"/v2/{call.name}/tags/list"
        return _json({"name": call.name, "tags": tags[:count]}, _next(path, tags, count))

    async def referrers(self, call: Call) -> web.StreamResponse:
        """An index of what says that it is about this digest; empty, not 404, when nothing does."""
        subject, wanted = digest_of(call.argument), call.query("artifactType")
        found, more = await blocking(self._referrers, call.name, subject, wanted, call.query("last"))
        headers = {"Content-Type": OCI_INDEX}
        if wanted:
            headers["OCI-Filters-Applied"] = "artifactType"
        if more:
            query = urlencode({"last": found[-1].digest} | ({"artifactType": wanted} if wanted else {}))
            headers["Link"] = f'</v2/{call.name}/referrers/{subject}?{query}>; rel="next"'
        return _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}, headers)

    def _referrers(
        self, name: Repository, subject: Digest, wanted: str, last: str
    ) -> tuple[Sequence[Descriptor], bool]:
        found: list[Descriptor] = []
        size = 0
        for digest in sorted({*self._repositories.referrers(name, subject), *self._by_tag(name, subject)}):
            if digest <= last:
                continue
            try:
                stored = self._repositories.manifest(name, digest)
                document = decode_manifest(self._repositories.content.read(digest))
            except OnggiError:
                continue  # deleted since the list was read
            entry = _described(document, digest, stored.size)
            if wanted and entry.artifact_type != wanted:
                continue
            size += len(msgspec.json.encode(entry))
            if found and (size > _REFERRERS_BYTES or len(found) >= _PAGE):
                return found, True
            found.append(entry)
        return found, False

    def _by_tag(self, name: Repository, subject: Digest) -> Sequence[Digest]:
        """What older clients have put under the tag that stood in for this list (dist-spec, "Referrers Tag Schema")."""
        try:
            kept = self._repositories.resolve(name, subject.replace(":", "-"))
            index = decode_manifest(self._repositories.content.read(kept))
        except (OnggiError, LookupError):
            return []
        return [entry.digest for entry in index.manifests] if isinstance(index, Index) else []


def _described(document: Manifest | Index, digest: Digest, size: int) -> Descriptor:
    """Source: distribution-spec, "Listing Referrers": a config's type stands for the artifact's where that isn't said."""
    kind = document.artifact_type
    if not kind and isinstance(document, Manifest) and document.config.media_type != OCI_EMPTY:
        kind = document.config.media_type
    return Descriptor(document.media_type, digest, size, annotations=document.annotations, artifact_type=kind)


def _page(call: Call) -> tuple[int, str]:
    """(entries, the last one of the page before). Raises Refused PAGINATION_NUMBER_INVALID."""
    text = call.query("n")
    if not text:
        return _PAGE, call.query("last")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Refused("PAGINATION_NUMBER_INVALID", f"invalid number of results requested: {text[:40]!r}")
    return min(int(text), _PAGE), call.query("last")


def _next(path: str, entries: Sequence[str], count: int) -> Mapping[str, str]:
    if not 0 < count < len(entries):
        return {}
    return {"Link": f'<{path}?last={quote(entries[count - 1], safe="")}&n={count}>; rel="next"'}


def _json(document: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(document), headers={"Content-Type": "application/json", **(headers or {})}
    )
