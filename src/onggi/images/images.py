"""Images with all that can be done to them: the catalogue, and the ways in and out.

What speaks to registries is imported when it's first needed: aiohttp's client takes long, and worker processes that come by
this room never use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.images import removing
from onggi.images.catalog import Catalog, Image
from onggi.images.challenge import Keeper, RegistryAuth, credentials_of
from onggi.images.endpoints import endpoints
from onggi.images.options import RegistryOptions
from onggi.images.removing import Users
from onggi.images.sources import Sources
from onggi.oci.digest import Digest
from onggi.oci.manifest import Descriptor, Manifest
from onggi.oci.reference import DEFAULT_DOMAIN, Reference, parse_reference
from onggi.store.content import Content
from onggi.store.database import Database
from onggi.store.layers import Layers

if TYPE_CHECKING:
    from onggi.images.connection import RegistryClient
    from onggi.images.downloads import Downloads
    from onggi.images.lookup import Found
    from onggi.images.progress import Output
    from onggi.images.search import SearchResult
    from onggi.oci.platform import Platform

T = TypeVar("T")

_MIRROR_TRIES = 2
_HUB_ADDRESS = "https://index.docker.io/v1/"


class Images(Catalog):
    """See the room. `restore` before anything else, `close` at the end."""

    def __init__(
        self, content: Content, layers: Layers, database: Database, registries: RegistryOptions | None = None
    ) -> None:
        super().__init__(content, layers, database)
        self.registries = registries or RegistryOptions()
        self.sources = Sources(database)
        self._downloads: Downloads | None = None

    def restore(self) -> list[str]:
        self.sources.restore()
        return super().restore()

    def reconfigure(self, registries: RegistryOptions) -> None:
        """What begins from now on keeps to it; what is under way goes on as it was."""
        self.registries = registries
        if self._downloads:
            self._downloads.limit(registries.downloads)

    async def close(self) -> None:
        """Downloads under way end; what they have stays for the next try."""
        if self._downloads:
            await self._downloads.close()

    async def pull(
        self,
        reference: Reference,
        *,
        auth: RegistryAuth | Keeper | None,
        platform: Platform | None,
        progress: Output,
    ) -> None:
        """All tags when the reference has none and no digest. Raises NotFound, Unauthorized, Unavailable, Corrupt, NoSpace.

        Cancelled: nothing has a name that wasn't whole; another pull of the same blobs goes on.
        """
        from onggi.images.pull import Pull

        downloads = self._downloads_service()

        async def work(client: RegistryClient) -> None:
            pull = Pull(self, downloads, client, progress)
            if reference.tag or reference.digest:
                await pull.one(reference, platform)
            else:
                await pull.all_tags(reference, platform)

        await self._at(reference, auth, work)

    async def push(self, reference: Reference, *, auth: RegistryAuth | Keeper | None, progress: Output) -> None:
        """All tags of the repository when the reference has none. Raises NotFound, Unauthorized, Forbidden, Unavailable."""
        from onggi.images.push import Push, announce

        announce(reference, progress)  # before anything can fail, as dockerd does it
        tags = self._tags_to_push(reference)

        async def work(client: RegistryClient) -> None:
            push = Push(self, client, progress)
            for tag in tags:
                await push.one(tag, self.resolve(str(tag)))

        await self._at(reference, auth, work, pushing=True)

    async def push_document(
        self,
        reference: Reference,
        data: bytes,
        media_type: str,
        blobs: Sequence[Descriptor],
        *,
        auth: RegistryAuth | Keeper | None,
    ) -> None:
        """A manifest that is no image here, after `blobs`, which are in the store. Raises as `push`."""
        from onggi.images.push import Push

        async def work(client: RegistryClient) -> None:
            await Push(self, client, lambda _message: None).document(reference, data, media_type, blobs)

        await self._at(reference, auth, work, pushing=True)

    async def read_remote(
        self, reference: Reference, *, auth: RegistryAuth | Keeper | None, limit: int
    ) -> tuple[Manifest, bytes]:
        """A registry's manifest (of an index: the host's) and its config's bytes, whatever they are. Raises as `pull`."""
        from onggi.images.remote import choose_manifest, fetch_document, fetch_small

        async def work(client: RegistryClient) -> tuple[Manifest, bytes]:
            top = await fetch_document(client, reference)
            found = await choose_manifest(client, reference, top, None)
            if not isinstance(found.value, Manifest):
                raise InvalidArgument(f"{reference.familiar()} is no manifest")
            return found.value, await fetch_small(client, reference, found.value.config, limit)

        return await self._at(reference, auth, work)

    async def fetch_layer(
        self, reference: Reference, diff_id: Digest, blob: Descriptor, *, auth: RegistryAuth | Keeper | None
    ) -> None:
        """A layer from a registry into the store, without an image. Raises as `pull`."""
        from onggi.images.pull import Pull

        async def work(client: RegistryClient) -> None:
            await Pull(self, self._downloads_service(), client, lambda _message: None).layer(reference, diff_id, blob)

        await self._at(reference, auth, work)

    def _tags_to_push(self, reference: Reference) -> Sequence[Reference]:
        if reference.tag and not reference.digest:
            if self.named(str(reference)) is None:
                raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
            return [reference]
        names = [name for name in self.names() if name.startswith(f"{reference.name}:")]
        if not names:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        return [parse_reference(name) for name in sorted(names)]

    async def remove(self, text: str, *, force: bool, prune: bool, users: Users) -> Sequence[dict[str, str]]:
        """`docker rmi`: docker's list of {Untagged} and {Deleted}. Raises Conflict in docker's words, NotFound."""
        return await removing.remove(self, text, force=force, prune=prune, users=users)

    async def prune(
        self, *, dangling_only: bool, wanted: Callable[[Image], bool], users: Users
    ) -> tuple[Sequence[dict[str, str]], int]:
        """Images that no container uses and, `dangling_only`, no tag names; what went, and the bytes that are free now."""
        return await removing.prune(self, dangling_only=dangling_only, wanted=wanted, users=users)

    async def load(self, body: AsyncIterable[bytes], *, quiet: bool, progress: Output) -> list[Image]:
        """The images of an archive that `save`, docker or another tool has made. Raises InvalidArgument, Corrupt, NoSpace."""
        from onggi.images.load import load

        return await load(self, body, quiet=quiet, output=progress)

    def save(self, names: Sequence[str]) -> AsyncIterator[bytes]:
        """An archive of images, by names or ids; all are found before the first bytes. Raises NotFound, InvalidArgument."""
        from onggi.images.save import save

        return save(self, names)

    async def look_up(self, reference: Reference, *, auth: RegistryAuth | Keeper | None) -> Found:
        """What stands under a name, without pulling it. Raises NotFound, Unauthorized."""
        from onggi.images.lookup import look_up

        return await self._at(reference, auth, lambda client: look_up(client, reference))

    async def search(
        self, term: str, limit: int, wanted: Callable[[SearchResult], bool], *, auth: RegistryAuth | Keeper | None
    ) -> list[SearchResult]:
        """Repositories by a word. Raises InvalidArgument in docker's words, Unavailable."""
        from onggi.images.search import search

        return await search(term, limit, wanted, credentials_of(auth), self.registries)

    async def log_in(self, auth: RegistryAuth, address: str = "") -> str:
        """An identity token, if the registry gives one. Raises Unauthorized in the registry's words, Unavailable."""
        from onggi.images.connection import RegistryClient

        address = address or str(getattr(auth, "serveraddress", ""))
        host = address.partition("://")[2] or address
        domain = DEFAULT_DOMAIN if not host or address == _HUB_ADDRESS else host.partition("/")[0]
        endpoint = endpoints(domain, self.registries)[-1]
        async with RegistryClient(endpoint, credentials_of(auth), self.registries) as client:
            return await client.log_in()

    async def _at(
        self,
        reference: Reference,
        auth: RegistryAuth | Keeper | None,
        work: Callable[[RegistryClient], Awaitable[T]],
        *,
        pushing: bool = False,
    ) -> T:
        """`work` with the first endpoint that can do it: one to pull from, or one to push to.

        A mirror gets no credentials, and what fails there is asked further on.
        """
        from onggi.images.challenge import Credentials
        from onggi.images.connection import RegistryClient
        from onggi.images.tries import trying

        for endpoint in endpoints(reference.domain, self.registries):
            if not (endpoint.pushes if pushing else endpoint.pulls):
                continue
            credentials = Credentials() if endpoint.is_mirror else credentials_of(auth)
            # Somebody else can do it: a mirror that is down must not hold a pull up for long.
            options = replace(self.registries, tries=_MIRROR_TRIES) if endpoint.is_mirror else self.registries
            try:
                async with RegistryClient(endpoint, credentials, options) as client:
                    await trying(options, client.connect)
                    return await work(client)
            except OnggiError:
                if not endpoint.is_mirror:
                    raise
        raise NotFound(f"no registry serves {reference.familiar()}")

    def _downloads_service(self) -> Downloads:
        from onggi.images.downloads import Downloads

        if self._downloads is None:
            self._downloads = Downloads(self.content, self.registries)
        return self._downloads
