"""Images that a client has as OCI layouts (`--build-context base=oci-layout://…`), brought in for the builds that stand on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from onggi.build.buildkit.stores import ClientStore
from onggi.build.request import Built, Material
from onggi.build.vertices import SourceFile
from onggi.errors import InvalidArgument, NotFound
from onggi.oci.digest import Digest, parse_digest
from onggi.oci.image import decode_image_config
from onggi.oci.manifest import Descriptor, Index, Manifest, decode_manifest
from onggi.oci.platform import Platform

if TYPE_CHECKING:
    from onggi.build.buildkit.session import Session
    from onggi.images import Images

SCHEME: Final = "oci-layout://"
_CONTEXT: Final = "context:"


class Layouts:
    """Of one build. `close` when it is over: the layers may go then."""

    def __init__(self, images: Images, session: Session, platform: Platform) -> None:
        self._images, self._session, self._platform = images, session, platform
        self._releases: list[Callable[[], None]] = []

    def close(self) -> None:
        for release in self._releases:
            release()

    async def all(self, attrs: Mapping[str, str]) -> dict[str, Built]:
        """Those that named contexts name, by the contexts' values. Raises NotFound, InvalidArgument, Corrupt, RpcError."""
        values = {value for name, value in attrs.items() if name.startswith(_CONTEXT) and value.startswith(SCHEME)}
        return {value: await self.image(value.removeprefix(SCHEME), "", self._platform) for value in sorted(values)}

    async def image(self, value: str, store_name: str, platform: Platform) -> Built:
        """`store[:tag]@digest`; `store_name` when the client has another name for its store. Raises as `all`."""
        name, _, digest = value.partition("@")
        store = ClientStore(self._session, f"oci:{store_name or name.partition(':')[0]}")
        if not digest:
            raise InvalidArgument(f"{value}: a layout's image is named by its digest")
        manifest = await self._manifest(store, parse_digest(digest), platform)
        config = decode_image_config(await store.document(manifest.config.digest))
        layers = [Digest(diff) for diff in config.rootfs.diff_ids]
        if len(layers) != len(manifest.layers):
            raise InvalidArgument(f"{value}: {len(manifest.layers)} layers, {len(layers)} diff ids")
        self._releases.append(self._images.lease(layers, [blob.digest for blob in manifest.layers]))
        for layer, blob in zip(layers, manifest.layers, strict=True):
            await self._layer(store, layer, blob)
        material = Material(f"pkg:oci/{name.partition(':')[0]}", digest)
        return Built(config.platform, config, tuple(layers), SourceFile("", b""), (material,))

    async def _manifest(self, store: ClientStore, digest: Digest, platform: Platform) -> Manifest:
        found = decode_manifest(await store.document(digest))
        if isinstance(found, Index):
            entry = found.choose(platform)
            if entry is None:
                raise NotFound(f"no matching manifest for {platform} in the manifest list entries")
            found = decode_manifest(await store.document(entry.digest))
        if isinstance(found, Index):
            raise InvalidArgument("manifest invalid: an index within an index")
        return found

    async def _layer(self, store: ClientStore, layer: Digest, blob: Descriptor) -> None:
        if self._images.layers.has(layer) and self._images.blob_of(layer):
            return
        await store.fetch(blob, self._images.content)
        await self._images.layers.apply(blob.digest, diff_id=layer)
        await self._images.keep_lone_blob(layer, blob.digest)
