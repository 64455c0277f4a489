"""A pull-through cache: what another registry has is kept here as it is asked for.

Invariants: (1) what is under a digest is never asked for twice; (2) a tag is compared with the upstream's by HEAD, which isn't
counted as a pull there, at most once in `fresh_s`; (3) an upstream that is away hides nothing that is here.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web

from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.images.challenge import RegistryAuth, credentials_of
from onggi.images.connection import RegistryClient
from onggi.images.downloads import Downloads, pull_scope
from onggi.images.endpoints import endpoints
from onggi.images.options import RegistryOptions
from onggi.images.pull import list_tags
from onggi.images.remote import Document, fetch_document, newest_digest
from onggi.oci.digest import Digest, is_digest
from onggi.oci.manifest import OCI_INDEX, Descriptor
from onggi.oci.reference import Reference
from onggi.registry.answers import HEADERS, Refused
from onggi.registry.call import Call, Handler
from onggi.registry.names import Repository, digest_of
from onggi.registry.repositories import Repositories
from onggi.registry.routes import Action
from onggi.registry.upstreams import Upstream, choose
from onggi.store.blocking import blocking

_STALE: Final = '110 - "the upstream is away: this is what was here"'
_REMEMBERED: Final = 4096
_DOCUMENT_LIMIT: Final = 4 * 1024 * 1024
_EVERYBODYS: Final = frozenset({Action.BASE, Action.CATALOG})


class Mirrors:
    """Stands before the registry's own handlers, and passes on to them what is nobody else's."""

    def __init__(
        self,
        repositories: Repositories,
        own: Mapping[Action, Handler],
        upstreams: Sequence[Upstream],
        credentials: Mapping[str, RegistryAuth],
        options: RegistryOptions,
        *,
        fresh_s: float = 60.0,
    ) -> None:
        self._repositories, self._own, self._upstreams, self._fresh_s = repositories, own, upstreams, fresh_s
        self._downloads = Downloads(repositories.content, options)
        self._clients = {
            upstream.domain: RegistryClient(
                endpoints(upstream.domain, options)[-1], credentials_of(credentials.get(upstream.domain)), options
            )
            for upstream in upstreams
        }
        self._asked: OrderedDict[tuple[str, str], tuple[float, bool]] = OrderedDict()
        """(repository, tag) → until when the last answer counts, and whether there was one."""
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    def handlers(self) -> dict[Action, Handler]:
        mirrored = {
            Action.GET_MANIFEST: self._manifest, Action.GET_BLOB: self._blob, Action.TAGS: self._tags, Action.REFERRERS: self._referrers,
        }  # fmt: skip
        return {
            action: own if action in _EVERYBODYS else self._before(own, mirrored.get(action, _refuse))
            for action, own in self._own.items()
        }

    async def close(self) -> None:
        await self._downloads.close()

    def _before(self, own: Handler, mirrored: Callable[[Call, Upstream], Awaitable[web.StreamResponse]]) -> Handler:
        async def handle(call: Call) -> web.StreamResponse:
            namespace = call.query("ns")
            chosen = choose(self._upstreams, call.name, namespace)
            if chosen is None:
                return await own(call)
            upstream, call.name = chosen
            try:
                answer = await mirrored(call, upstream)
            except NotFound:
                raise Refused("MANIFEST_UNKNOWN", "manifest unknown", detail=call.argument) from None
            if namespace and not answer.prepared:
                answer.headers["OCI-Namespace"] = namespace
            return answer

        return handle

    async def _manifest(self, call: Call, upstream: Upstream) -> web.StreamResponse:
        reference = _there(upstream, call.name, call.argument)
        warning = ""
        if not (is_digest(call.argument) and self._repositories.has_manifest(call.name, Digest(call.argument))):
            key = (call.name, call.argument)
            async with self._locks.setdefault(key, asyncio.Lock()):  # many ask at once, one of them further
                warning = await self._renew(call.name, reference, key)
            self._locks.pop(key, None)
        answer = await self._own[Action.GET_MANIFEST](call)
        if warning:
            answer.headers["Warning"] = warning
        return answer

    async def _renew(self, name: Repository, reference: Reference, key: tuple[str, str]) -> str:
        """The manifest is here as the upstream has it now; a warning when that couldn't be found out. Raises NotFound, Refused."""
        until, there = self._asked.get(key, (0.0, True))
        if until > time.monotonic():
            if there:
                return ""
            raise NotFound(str(reference))
        try:
            async with self._clients[reference.domain] as client:
                await self._fetch(client, name, reference)
        except NotFound:
            self._remember(key, there=False)
            raise
        except OnggiError as error:
            with suppress(Refused):
                self._repositories.manifest(name, self._repositories.resolve(name, key[1]))
                return _STALE
            raise Refused("UNAVAILABLE", f"{reference.domain}: {error}", headers={"Retry-After": "10"}) from error
        self._remember(key, there=True)
        return ""

    async def _fetch(self, client: RegistryClient, name: Repository, reference: Reference) -> None:
        tags = [reference.tag] if reference.tag and not reference.digest else []
        if tags:
            newest = await newest_digest(client, reference)
            if is_digest(newest) and self._repositories.has_manifest(name, Digest(newest)):
                await blocking(self._repositories.move_tag, name, tags[0], Digest(newest))
                return
        await blocking(self._keep, name, await fetch_document(client, reference), tags)

    def _keep(self, name: Repository, document: Document, tags: list[str]) -> None:
        """Blocks. Unlike a pushed manifest's, what it names may still be elsewhere."""
        value = document.value
        subject = value.subject.digest if value.subject else None
        with self._repositories.naming():
            self._repositories.put_manifest(name, document.data, document.digest, value.media_type, tags, subject)

    def _remember(self, key: tuple[str, str], *, there: bool) -> None:
        self._asked[key] = time.monotonic() + self._fresh_s, there
        self._asked.move_to_end(key)
        while len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)

    async def _blob(self, call: Call, upstream: Upstream) -> web.StreamResponse:
        """From here, or while it comes: one transfer for all who wait for it."""
        digest = digest_of(call.argument)
        if self._repositories.has_blob(call.name, digest):
            return await self._own[Action.GET_BLOB](call)
        reference = _there(upstream, call.name, digest)
        async with self._clients[upstream.domain] as client:
            # Also when the bytes are here from elsewhere: only the upstream knows whether this repository shows them (S-70).
            blob = await _described(client, reference, digest)
            if call.request.method == "HEAD":
                return web.Response(headers={"Docker-Content-Digest": digest, "Content-Length": str(blob.size)})
            if not self._repositories.content.has(digest):
                async with self._downloads.get(client, reference.path, blob) as download:
                    if "Range" not in call.request.headers:
                        answer = await _passed_on(call, blob, download.stream())
                        await blocking(self._repositories.link_blob, call.name, digest)
                        return answer
                    await download.wait()
        await blocking(self._repositories.link_blob, call.name, digest)
        return await self._own[Action.GET_BLOB](call)

    async def _tags(self, call: Call, upstream: Upstream) -> web.StreamResponse:
        """All that the upstream has; what is here, when it is away."""
        reference = _there(upstream, call.name, "latest")
        try:
            async with self._clients[upstream.domain] as client:
                tags = sorted(await list_tags(client, reference))
        except NotFound:
            raise Refused("NAME_UNKNOWN", "repository name not known to registry", detail=call.name) from None
        except OnggiError:
            answer = await self._own[Action.TAGS](call)
            answer.headers["Warning"] = _STALE
            return answer
        return web.json_response({"name": call.name, "tags": tags})

    async def _referrers(self, call: Call, upstream: Upstream) -> web.StreamResponse:
        """The upstream's list; of one that has no such thing, what was pulled through."""
        subject = digest_of(call.argument)
        reference = _there(upstream, call.name, subject)
        path = f"/v2/{reference.path}/referrers/{subject}"
        with suppress(OnggiError):
            async with self._clients[upstream.domain] as client:
                data, _ = await client.fetch(path, pull_scope(reference.path), _DOCUMENT_LIMIT, accept=OCI_INDEX)
                return web.Response(body=data, content_type=OCI_INDEX)
        return await self._own[Action.REFERRERS](call)


async def _refuse(call: Call, upstream: Upstream) -> web.StreamResponse:
    raise Refused("UNSUPPORTED", f"{call.name} mirrors {upstream.domain}: nothing is pushed to it or deleted from it")


def _there(upstream: Upstream, name: Repository, wanted: str) -> Reference:
    try:
        return upstream.there(name, wanted)
    except InvalidArgument as error:
        raise Refused("NAME_INVALID", str(error)) from None


async def _described(client: RegistryClient, reference: Reference, digest: Digest) -> Descriptor:
    """Its size, from the upstream. Raises Refused BLOB_UNKNOWN, UNAVAILABLE."""
    path = f"/v2/{reference.path}/blobs/{digest}"
    try:
        _, headers = await client.fetch(path, pull_scope(reference.path), 0, method="HEAD")
        return Descriptor("application/octet-stream", digest, int(headers["Content-Length"]))
    except (NotFound, InvalidArgument):
        raise Refused("BLOB_UNKNOWN", "blob unknown to registry", detail=digest) from None
    except (OnggiError, KeyError, ValueError) as error:
        raise Refused("UNAVAILABLE", f"{reference.domain}: {error}", headers={"Retry-After": "10"}) from error


async def _passed_on(call: Call, blob: Descriptor, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """Raises Refused while nothing has been said yet; later the connection breaks off.

    The last piece waits until the digest was found right: nobody gets wrong bytes to their end.
    """
    answer = web.StreamResponse(
        headers={
            **HEADERS, "Docker-Content-Digest": blob.digest, "Content-Length": str(blob.size), "Content-Type": blob.media_type,
            "Accept-Ranges": "bytes",
        }
    )  # fmt: skip
    held = b""
    try:
        async for piece in pieces:
            if held:
                if not answer.prepared:
                    await answer.prepare(call.request)
                await answer.write(held)
            held = piece
    except OnggiError as error:
        if not answer.prepared:
            raise Refused("UNAVAILABLE", f"{blob.digest}: {error}", headers={"Retry-After": "10"}) from error
        if call.request.transport:
            call.request.transport.abort()
        raise ConnectionResetError(str(error)) from error
    if not answer.prepared:
        await answer.prepare(call.request)
    await answer.write_eof(held)
    return answer
