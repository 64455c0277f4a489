"""Images that a build is made of: found here or pulled, each once in a build however many stages name it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from onggi.build.definition import told
from onggi.build.plan import Origin
from onggi.build.request import Material
from onggi.errors import InvalidArgument, NotFound
from onggi.images import Image
from onggi.images.catalog import ImageRow
from onggi.oci.digest import Digest, sha256_of
from onggi.oci.image import encode_image_config
from onggi.oci.platform import preference
from onggi.oci.reference import parse_reference

if TYPE_CHECKING:
    from onggi.build.request import Built, Request
    from onggi.build.vertices import Progress, Vertex
    from onggi.images import Images


class Bases:
    """Of one build. `hold` keeps a layer from being removed until the build ends."""

    def __init__(self, images: Images, request: Request, progress: Progress, hold: Callable[[Digest], None]) -> None:
        self._images, self._request, self._progress, self._hold = images, request, progress, hold
        self._found: dict[tuple[str, str], asyncio.Task[Image]] = {}
        self.materials: dict[str, Material] = {}

    async def image(self, origin: Origin, *, pull: bool = False) -> Image:
        """`pull`: whatever is here. Raises NotFound, Unauthorized, Unavailable, InvalidArgument. Cancelled: the pull goes on for who else waits."""
        handed = self._request.results.get(origin.name)
        if handed is not None:
            return self._handed_on(handed)
        key = (origin.name, str(origin.platform or ""))
        task = self._found.get(key)
        if task is None:
            task = self._found[key] = asyncio.create_task(
                self._find(origin, pull=pull), name=f"base image {origin.name}"
            )
        image = await asyncio.shield(task)
        for layer in image.layers:
            self._hold(layer)
        return image

    def _handed_on(self, built: Built) -> Image:
        """A result of another build of the client, as the image that it would be."""
        for layer in built.layers:
            self._hold(layer)
        for material in built.materials:
            self.materials[material.uri] = material
        identifier = sha256_of(encode_image_config(built.config))
        return Image(ImageRow(identifier, size=0, created_ns=0), built.config, (), ())

    async def close(self) -> None:
        for task in self._found.values():
            task.cancel()
        if self._found:
            await asyncio.wait(self._found.values())

    async def _find(self, origin: Origin, *, pull: bool) -> Image:
        try:
            shown = str(parse_reference(origin.name))
        except InvalidArgument:
            shown = origin.name
        vertex = self._progress.vertex(f"[internal] load metadata for {shown}")
        with told(vertex):
            image = (None if pull else self._here(origin)) or await self._pull(origin, vertex)
        name = f"pkg:docker/{shown.removeprefix('docker.io/').removeprefix('library/').replace(':', '@')}"
        uri = f"{name}?platform={quote(str(image.config.platform), safe='')}"
        self.materials[uri] = Material(uri, image.id)
        return image

    def _here(self, origin: Origin) -> Image | None:
        """The image that is here already, unless another is asked for."""
        if self._request.options.pull:
            return None
        try:
            image = self._images.resolve(origin.name)
        except NotFound:
            return None
        if origin.platform is not None and preference(origin.platform, image.config.platform) is None:
            return None
        return image

    async def _pull(self, origin: Origin, vertex: Vertex) -> Image:
        reference = parse_reference(origin.name)
        auth = await self._request.credentials.credentials(reference.domain)

        def heard(message: Any) -> None:
            detail = getattr(message, "progress_detail", None)
            layer, status = getattr(message, "id", ""), getattr(message, "status", "")
            if layer:
                done = status in ("Pull complete", "Already exists")
                vertex.status(
                    layer, current=detail.current if detail else 0, total=detail.total if detail else 0, done=done
                )

        await self._images.pull(reference, auth=auth, platform=origin.platform, progress=heard)
        return self._images.resolve(origin.name)
