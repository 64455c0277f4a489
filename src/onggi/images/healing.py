"""Layers whose files are not what they were: found by reading them, made anew from the blob that they came in."""

from __future__ import annotations

import logging
from enum import Enum

from onggi.images.catalog import Catalog
from onggi.oci.digest import Digest
from onggi.store.blocking import blocking

log = logging.getLogger(__name__)


class Health(Enum):
    WHOLE = "whole"
    HEALED = "healed"
    BUSY = "damaged, and under running containers"
    """Its files can't be replaced beneath them: heal it when they have ended."""
    LOST = "damaged, and not to be had here"
    """It is removed, and its blob too if that is damaged: a pull fetches both."""


async def heal(catalog: Catalog, diff_id: Digest) -> Health:
    """Reads all of a layer that is here, and makes it anew if it must. Raises NotFound, NoSpace."""
    layers, content = catalog.layers, catalog.content
    if await layers.verify(diff_id):
        return Health.WHOLE
    if catalog.is_running_on(diff_id):
        log.warning("layer %s is damaged, and containers run on it", diff_id)
        return Health.BUSY
    blob = catalog.blob_of(diff_id)
    if blob is not None and not await blocking(content.verify, blob):
        log.warning("blob %s is damaged: removed", blob)
        await blocking(content.delete, blob)
        blob = None
    await layers.remove(diff_id)
    if blob is None:
        log.warning("layer %s is damaged: removed, pull or build its image again", diff_id)
        return Health.LOST
    await layers.apply(blob, diff_id=diff_id)
    log.warning("layer %s was damaged: made anew from %s", diff_id, blob)
    return Health.HEALED


async def heal_all(catalog: Catalog) -> list[Digest]:
    """After the machine went down under an engine: every layer is read once. Returns those that are lost or busy."""
    found = []
    for diff_id in list(catalog.layers.walk()):
        if catalog.layers.has(diff_id) and await heal(catalog, diff_id) in (Health.BUSY, Health.LOST):
            found.append(diff_id)
    return found
