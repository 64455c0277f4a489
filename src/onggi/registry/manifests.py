"""Manifests: given out as the bytes that came, taken in when everything they name is here."""

from __future__ import annotations

import hashlib

from aiohttp import web

from onggi.errors import InvalidArgument
from onggi.oci.digest import Digest, algorithm_of, is_digest
from onggi.oci.manifest import DOCUMENT_LIMIT, Descriptor, Index, Manifest, decode_manifest
from onggi.registry.answers import Refused
from onggi.registry.call import Call
from onggi.registry.names import Repository, digest_of, parse_tag
from onggi.registry.repositories import Repositories
from onggi.registry.rules import Rules
from onggi.store.blocking import blocking


class Manifests:
    def __init__(self, repositories: Repositories, rules: Rules) -> None:
        self._repositories, self._rules = repositories, rules

    async def get(self, call: Call) -> web.StreamResponse:
        """By tag or digest; whatever is accepted: the stored type is the only one there is."""
        stored = self._repositories.manifest(call.name, self._repositories.resolve(call.name, call.argument))
        headers = {
            "Docker-Content-Digest": stored.digest,
            "Content-Type": stored.media_type,
            "ETag": f'"{stored.digest}"',
        }
        if f'"{stored.digest}"' in call.request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        if call.request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(stored.size)})
        data = await blocking(self._repositories.content.read, stored.digest)
        return web.Response(body=data, headers=headers)

    async def put(self, call: Call) -> web.StreamResponse:
        data = await call.body(DOCUMENT_LIMIT)
        document = decode_manifest(data, call.request.headers.get("Content-Type", ""))
        tags = [parse_tag(tag) for tag in call.queries("tag")]
        if ":" in call.argument:
            digest = digest_of(call.argument)
        else:
            digest = Digest("sha256:" + hashlib.sha256(data).hexdigest())
            tags.append(parse_tag(call.argument))
        if hashlib.new(algorithm_of(digest), data).hexdigest() != digest.partition(":")[2]:
            raise Refused("DIGEST_INVALID", f"provided digest did not match uploaded content: {digest}")
        subject = document.subject.digest if document.subject else None
        await blocking(self._store, call.name, data, digest, document, tags)
        headers = {"Location": f"/v2/{call.name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if subject:
            headers["OCI-Subject"] = subject
        answer = web.Response(status=201, headers=headers)
        for tag in call.queries("tag"):
            answer.headers.add("OCI-Tag", tag)
        return answer

    async def delete(self, call: Call) -> web.StreamResponse:
        """A tag alone, or a digest with all tags that lead to it."""
        if not is_digest(call.argument):
            self._rules.check_tag(call.name, parse_tag(call.argument))
            await blocking(self._repositories.delete_tag, call.name, call.argument)
            return web.Response(status=202)
        digest = Digest(call.argument)
        self._repositories.manifest(call.name, digest)
        await blocking(self._delete, call.name, digest)
        return web.Response(status=202)

    def _store(
        self, name: Repository, data: bytes, digest: Digest, document: Manifest | Index, tags: list[str]
    ) -> None:
        """All or nothing, and nothing that is named is collected meanwhile (R-35). Blocks."""
        subject = document.subject.digest if document.subject else None
        with self._repositories.naming():
            for tag in tags:
                self._may_move(name, tag, digest)
            self._check(name, document)
            self._repositories.put_manifest(name, data, digest, document.media_type, tags, subject)

    def _check(self, name: Repository, document: Manifest | Index) -> None:
        """Raises Refused MANIFEST_BLOB_UNKNOWN for the first thing that isn't here, SIZE_INVALID for one of another size."""
        if isinstance(document, Index):
            for child in document.manifests:
                if not self._repositories.has_manifest(name, child.digest):
                    raise Refused("MANIFEST_BLOB_UNKNOWN", f"manifest references unknown manifest: {child.digest}")
                self._same_size(child)
            return
        for blob in (document.config, *document.layers):
            if self._repositories.has_blob(name, blob.digest):
                self._same_size(blob)
                self._repositories.touch_blob(blob.digest)
            elif not blob.urls:  # foreign layers stay where they are
                raise Refused("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", detail=blob.digest)

    def _same_size(self, named: Descriptor) -> None:
        size = self._repositories.content.size(named.digest)
        if size != named.size:
            raise Refused("MANIFEST_INVALID", f"{named.digest} has {size} bytes, the manifest says {named.size}")

    def _may_move(self, name: Repository, tag: str, digest: Digest) -> None:
        """Raises Refused DENIED for an immutable tag that is there and leads elsewhere."""
        try:
            if self._repositories.resolve(name, tag) == digest:
                return
        except Refused:
            return  # there is none yet
        self._rules.check_tag(name, tag)

    def _delete(self, name: Repository, digest: Digest) -> None:
        for tag in self._repositories.tags(name):
            if self._repositories.resolve(name, tag) == digest:
                self._rules.check_tag(name, tag)
        subject = None
        try:
            document = decode_manifest(self._repositories.content.read(digest))
            subject = document.subject.digest if document.subject else None
        except InvalidArgument:
            pass  # an older version took it; it names no subject that we know
        self._repositories.delete_manifest(name, digest, subject)
