"""`cachefrom`: images built elsewhere, whose steps are taken for ours where their history says the same. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onggi.build.state import StageState
from onggi.oci.digest import Digest
from onggi.oci.image import History, ImageConfig


@dataclass(frozen=True, slots=True)
class PriorStep:
    """`diff_id` None: the step changed no file."""

    created: str
    diff_id: Digest | None


class PriorImages:
    """The history of COPY steps names its sources by our digests: images of other builders match up to their first COPY."""

    def __init__(self, images: Sequence[ImageConfig]) -> None:
        self._images = images

    def find(self, state: StageState, created_by: str) -> PriorStep | None:
        """The step after `state` in one of the images, if all before it is the same."""
        for image in self._images:
            history = image.history or []
            at = len(state.history)
            if at >= len(history) or history[at].created_by != created_by:
                continue
            if not _same(state.history, history[:at]):
                continue
            layers = [Digest(diff) for diff in image.rootfs.diff_ids]
            if tuple(layers[: len(state.layers)]) != state.layers:
                continue
            step = history[at]
            if step.empty_layer:
                return PriorStep(step.created or "", None)
            if len(layers) > len(state.layers):
                return PriorStep(step.created or "", layers[len(state.layers)])
        return None


def _same(ours: Sequence[History], theirs: Sequence[History]) -> bool:
    return [(step.created_by, step.empty_layer) for step in ours] == [
        (step.created_by, step.empty_layer) for step in theirs
    ]
