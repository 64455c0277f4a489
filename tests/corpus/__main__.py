"""Builds the corpus with a dockerd, through buildx: `python -m tests.corpus unix:///run/docker.sock [--compare] [name…]`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.clients.buildx import PLUGINS
from tests.clients.daemon import DOCKER
from tests.corpus import describe
from tests.corpus.case import BASE, HERE, MTIME, Case, base_tar, load, write
from tests.corpus.told import Told, from_rawjson

RECORDED = HERE / "recorded.json"


class Peer:
    """A dockerd; the client's configuration is in `directory`."""

    def __init__(self, host: str, directory: Path) -> None:
        self._directory = directory
        (directory / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
        self._env = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": str(directory), "NO_COLOR": "1"}
        words = ["import", "-c", "ENV PATH=/bin:/usr/bin", "-c", 'CMD ["sh"]', "-", BASE]
        self._docker(words, base_tar(os.urandom(16)))

    def record(self, case: Case) -> dict[str, Any]:
        """What the case comes to."""
        with tempfile.TemporaryDirectory(dir=self._directory) as place:
            for name, text in case.before.items():
                self._build(Case("", (), text), Path(place) / name, name)
            told = self._build(case, Path(place) / "first", "corpus-case", "--no-cache")
            found: dict[str, Any] = {"steps": told.names, "warnings": told.warnings}
            if told.error:
                return {**found, "error": told.error}
            found |= self._image("corpus-case")
            if case.edits:
                found["cached"] = {}
                for number, (name, files) in enumerate(case.edits.items(), 1):
                    edited = replace(case, files={**case.files, **files})
                    again = self._build(edited, Path(place) / f"edit-{name}", "corpus-edit", mtime=MTIME + 100 * number)
                    found["cached"][name] = sorted(again.cached)
            return found

    def _build(self, case: Case, root: Path, tag: str, *words: str, mtime: int = MTIME) -> Told:
        context = root / "context"
        context.mkdir(parents=True)
        write(context, {"Dockerfile": case.dockerfile, **case.files}, mtime=mtime)
        line = ["buildx", "build", "--progress=rawjson", "--provenance=false", "-t", tag, *words]
        line += [word for name, value in case.args.items() for word in ("--build-arg", f"{name}={value}")]
        for name, value in case.secrets.items():
            (root / f"secret-{name}").write_text(value)
            line += ["--secret", f"id={name},src={root / f'secret-{name}'}"]
        for name, more in case.contexts.items():
            (root / f"context-{name}").mkdir()
            write(root / f"context-{name}", more)
            line += ["--build-context", f"{name}={root / f'context-{name}'}"]
        line += ["--target", case.target] if case.target else []
        line += ["--platform", case.platform] if case.platform else []
        line += [word for name in case.entitlements for word in ("--allow", name)]
        done = subprocess.run(
            [DOCKER, *line, str(context)], capture_output=True, env=self._env, timeout=120, check=False
        )
        return from_rawjson(done.stderr.decode())

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
        return subprocess.run(
            [DOCKER, *words], input=data, capture_output=True, env=self._env, check=True, timeout=120
        ).stdout


def main(words: list[str]) -> int:
    host, *rest = words
    compare = "--compare" in rest
    names = [word for word in rest if not word.startswith("-")]
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    differs = 0
    with tempfile.TemporaryDirectory() as directory:
        peer = Peer(host, Path(directory))
        for case in load():
            if names and case.name not in names:
                continue
            found = peer.record(case)
            if compare and found != recorded.get(case.name):
                differs += 1
                print(f"{case.name}:", json.dumps(found, indent=1))
            recorded[case.name] = found
    if not compare:
        kept = {case.name: recorded[case.name] for case in load() if case.name in recorded}
        RECORDED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
