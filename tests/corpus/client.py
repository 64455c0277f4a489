"""A client of one engine, through one door: what a case comes to, in words that can be compared."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.clients.daemon import DOCKER
from tests.corpus import describe
from tests.corpus.case import BASE, MTIME, Case, base_tar
from tests.corpus.doors import Door, laid_out
from tests.corpus.told import Told


class Client:
    """`directory` is for contexts while they are built. The base image is another each time: none of its steps are in any cache."""

    def __init__(self, host: str, door: Door, directory: Path) -> None:
        self._host, self._door, self._directory = host, door, directory
        words = ["import", "-c", "ENV PATH=/bin:/usr/bin", "-c", 'CMD ["sh"]', "-", BASE]
        self._docker(words, base_tar(os.urandom(16)))

    def record(self, case: Case) -> dict[str, Any]:
        """What the case comes to; may run for several cases at once."""
        with tempfile.TemporaryDirectory(dir=self._directory) as place:
            tag = f"case-{case.name}"
            for name, text in case.before.items():
                self._build(Case("", (), text), Path(place) / name, name, fresh=False)
            told = self._build(case, Path(place) / "first", tag, fresh=True)
            found: dict[str, Any] = {"steps": told.names, "warnings": told.warnings} if self._door.tells_steps else {}
            if told.error:
                return {**found, "error": told.error}
            found |= self._image(tag)
            if case.edits:
                found["cached"] = {}
                for number, (name, files) in enumerate(case.edits.items(), 1):
                    edited = replace(case, files={**case.files, **files})
                    root = Path(place) / f"edit-{name}"
                    again = self._build(edited, root, f"{tag}-edited", fresh=False, mtime=MTIME + 100 * number)
                    found["cached"][name] = sorted(again.cached)
            return found

    def _build(self, case: Case, root: Path, tag: str, *, fresh: bool, mtime: int = MTIME) -> Told:
        laid_out(case, root, mtime=mtime)
        return self._door.build(case, root, tag, fresh=fresh)

    def _image(self, tag: str) -> dict[str, Any]:
        def read(name: str) -> bytes:
            member = saved.extractfile(name)
            return member.read() if member else b""

        with tarfile.open(fileobj=io.BytesIO(self._docker(["save", tag]))) as saved:
            manifest = json.loads(read("manifest.json"))[0]
            document = json.loads(read(manifest["Config"]))
            based = (document.get("history") or [{}])[0].get("comment") == "Imported from -"
            layers = manifest["Layers"][based:]
            return {
                **describe.config(document),
                "history": describe.history(document, int(based)),
                "layers": [describe.tar_layer(io.BytesIO(read(layer))) for layer in layers],
            }

    def _docker(self, words: list[str], data: bytes = b"") -> bytes:
        line = [DOCKER, "-H", self._host, *words]
        return subprocess.run(line, input=data, capture_output=True, check=True, timeout=120).stdout
