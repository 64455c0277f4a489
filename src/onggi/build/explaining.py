"""Why a step is made anew: what it was made of the last time, kept beside the cache, and compared.

A step is known again by its place: the Dockerfile's name, the image's, the stage, and which instruction of it. Rows are small;
of files only paths and short digests are kept.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build.keys import StepKey
from onggi.store.database import Database, Delete, Put, Table

if TYPE_CHECKING:
    from onggi.build.options import BuildOptions
    from onggi.build.plan import PlannedStage

_ROWS_LIMIT: Final = 5000
_FILES_LIMIT: Final = 20_000
_NAMED_LIMIT: Final = 3
"""Files that an explanation names; the others are counted."""

Files = Sequence[tuple[str, str]]


class InputsRow(msgspec.Struct, frozen=True):
    """`parts`: label → digest; `files` packed."""

    parts: dict[str, str]
    files: bytes
    used_ns: int


TABLE: Final = Table("build_inputs", InputsRow)


class Explainer:
    """One for an engine."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[str, InputsRow] = {}

    def restore(self) -> None:
        self._rows = self._database.load(TABLE)

    def compared(self, place: str, key: StepKey, files: Files) -> str:
        """What has changed since the step was last made here, for people; then this is what it was made of."""
        before = self._rows.get(place)
        parts = key.digests()
        if before is not None and before.parts == parts:
            return "its result was removed from the cache"
        row = InputsRow(parts, zlib.compress(msgspec.msgpack.encode(list(files[:_FILES_LIMIT])), 1), time.time_ns())
        self._rows[place] = row
        changes = [Put(TABLE, place, row)]
        if len(self._rows) > _ROWS_LIMIT:
            oldest = min(self._rows, key=lambda each: self._rows[each].used_ns)
            del self._rows[oldest]
            self._database.submit(Delete(TABLE, oldest)).add_done_callback(lambda done: done.exception())
        for change in changes:
            # A full disk costs an explanation, no more.
            self._database.submit(change).add_done_callback(lambda done: done.exception())
        return "it has not been made here before" if before is None else _differences(before, row, files)


def place_of(options: BuildOptions, stage: PlannedStage, at: int) -> str:
    """Where a step is, whatever it says."""
    name = options.tags[0].name if options.tags else ""
    text = repr((name, options.dockerfile or "Dockerfile", options.target, stage.name, at))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _differences(before: InputsRow, row: InputsRow, files: Files) -> str:
    """The parts that differ, the most telling first: what is below is seldom what somebody wants to hear of."""
    labels = [label for label, digest in row.parts.items() if before.parts.get(label) != digest]
    labels += [label for label in before.parts if label not in row.parts]
    told: list[str] = []
    for label in labels:
        if label == "files copied":
            told.append(_changed_files(before, files))
        elif label not in before.parts:
            told.append(f"{label} is new")
        elif label not in row.parts:
            told.append(f"{label} is gone")
        else:
            told.append(f"{label} changed")
    below = "files of the steps before changed"
    return "; ".join([each for each in told if each != below] or told)


def _changed_files(before: InputsRow, files: Files) -> str:
    old: dict[str, str] = dict(msgspec.msgpack.decode(zlib.decompress(before.files)))
    new = dict(files)
    changed = sorted(path for path, digest in new.items() if path in old and old[path] != digest)
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    told = [
        f"{word} {_listed(paths)}"
        for word, paths in (("changed:", changed), ("added:", added), ("removed:", removed))
        if paths
    ]
    return ", ".join(told) or "a mode, a link or an attribute of a copied file changed"


def _listed(paths: Sequence[str]) -> str:
    more = len(paths) - _NAMED_LIMIT
    return ", ".join(paths[:_NAMED_LIMIT]) + (f" and {more} more" if more > 0 else "")
