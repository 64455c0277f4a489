"""Results as files of the client: an image archive, a tar of the tree, the tree itself."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from onggi.build.buildkit.outputs import CONFIG_DIGEST, DESCRIPTOR, DIGEST, NAME, Export, encoded, step_of
from onggi.build.buildkit.sending import send_directory, send_file
from onggi.build.buildkit.stores import ClientStore
from onggi.build.exporters import archives, trees
from onggi.errors import InvalidArgument
from onggi.oci.reference import parse_reference
from onggi.store.blocking import blocking

if TYPE_CHECKING:
    from onggi.build.entries import Entry
    from onggi.build.exporters.archives import Bundle

_LAYOUT_STORE = "export"
"""What clients call the store of a layout that is to be a directory."""


async def archive(work: Export) -> dict[str, str]:
    """An image archive, or with `tar=false` a layout in a directory."""
    is_docker = work.attrs["type"] == "docker"
    if is_docker and len(work.results) > 1:
        raise InvalidArgument("docker exporter does not currently support exporting manifest lists")
    session = await work.session()
    references = [parse_reference(name) for name in work.names]
    with step_of(work, f"exporting to {'docker' if is_docker else 'oci'} image format") as step:
        step.status("exporting layers")
        bundle = await work.bundle(references, is_oci=not is_docker)
        release = work.images.lease((), [blob.digest for blob in bundle.blobs])
        try:
            step.status("exporting layers", done=True)
            for descriptor, _ in bundle.manifests:
                step.status(f"exporting manifest {descriptor.digest}", done=True)
            answer = {DIGEST: bundle.top.digest, DESCRIPTOR: encoded(bundle.top)}
            if not bundle.index:
                answer[CONFIG_DIGEST] = bundle.packs[0].manifest.config.digest
            if references:
                answer[NAME] = ",".join(str(reference) for reference in references)
            step.status("sending tarball")
            if work.is_set("tar", default=True):
                pieces = archives.archive(work.images, bundle, references, is_docker=is_docker)
                await send_file(session, work.number, answer, pieces)
            else:
                await _layout(work, ClientStore(session, _LAYOUT_STORE), bundle)
            step.status("sending tarball", done=True)
        finally:
            release()
    return answer


async def _layout(work: Export, store: ClientStore, bundle: Bundle) -> None:
    """Blobs and manifests into the client's directory; it writes the index itself."""
    content = work.images.content
    documents = [*bundle.manifests, *([(bundle.top, bundle.index)] if bundle.index else [])]
    for _, data in documents:
        await blocking(content.put, data)
    for descriptor in [*bundle.blobs, *(descriptor for descriptor, _ in documents)]:
        with content.open(descriptor.digest) as file:
            await store.write(descriptor.digest, descriptor.size, file)


async def tar(work: Export) -> dict[str, str]:
    """All files of the result, as one tar; several platforms each in a directory of their own."""
    layering = work.door.builder.layering
    session = await work.session()
    if len(work.results) > 1:
        raise InvalidArgument("several platforms can't be one tree: use --output type=local")

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in trees.tar_pieces(layering.layers, layering.workers, work.results[0].layers):
            yield piece

    with step_of(work, "exporting to client tarball") as step:
        step.status("sending tarball")
        await send_file(session, work.number, {}, pieces())
        step.status("sending tarball", done=True)
    return {}


async def local(work: Export) -> dict[str, str]:
    """All files of the result, into a directory of the client; several platforms into one each."""
    layering = work.door.builder.layering
    session = await work.session()
    split = work.is_set("platform-split", default=len(work.results) > 1)
    with step_of(work, "exporting to client directory") as step:
        spool = work.door.mirrors.scratch()
        try:
            entries: list[Entry] = []
            for built in work.results:
                found = await trees.entries_of(layering.layers, layering.workers, built.layers, spool)
                entries += _below(str(built.platform).replace("/", "_"), found) if split else found
            step.status("copying files")
            await send_directory(session, work.number, entries, spool)
            step.status("copying files", current=os.lseek(spool, 0, os.SEEK_END), done=True)
        finally:
            os.close(spool)
    return {}


def _below(directory: str, entries: list[Entry]) -> list[Entry]:
    """The entries in a directory of their own."""
    for entry in entries:
        entry.path = f"{directory}/{entry.path}" if entry.path else directory
        if entry.inode == -1:
            entry.link = f"{directory}/{entry.link}"
    return entries
