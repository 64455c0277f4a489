"""The corpus built by onggi, compared with what BuildKit made of it: steps, checks, config, history, every layer, the cache after edits."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onggi.build.context import Context
from onggi.build.options import BuildOptions
from onggi.build.posted import NoAgents, PostedCredentials, PostedSecrets
from onggi.build.request import Request
from onggi.build.vertices import Vertex
from onggi.engine.engine import Engine
from onggi.errors import NotFound, OnggiError
from onggi.ignore import IgnoreRules
from onggi.images.importing import import_image
from onggi.oci.image import RunConfig, encode_image_config
from onggi.oci.platform import parse_platform
from onggi.oci.reference import parse_reference
from tests.corpus import describe
from tests.corpus.case import BASE, HERE, MTIME, Case, base_tar, load, write
from tests.corpus.told import Listening, Told
from tests.engine.engines import an_engine, needs_root
from tests.engine.mirrored import read_directory

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

RECORDED: Mapping[str, Any] = json.loads((HERE / "recorded.json").read_text(encoding="utf-8"))


class Directories:
    """Directories of this machine, with ignore files obeyed, as a client sends them."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = roots

    async def local(
        self,
        name: str,
        *,
        follow: Sequence[str] = (),
        exclude: Sequence[str] = (),
        include: Sequence[str] = (),
        vertex: Vertex | None = None,
    ) -> Context:
        del follow, include, vertex
        if name not in self._roots:
            raise NotFound(name)
        return read_directory(self._roots[name], IgnoreRules(exclude))


class Corpus:
    """An engine for all cases, in a loop of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self.engine: Engine = self._runner.run(self._open())

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def describe(self, case: Case) -> dict[str, Any]:
        return self._runner.run(self._describe(case))

    async def _open(self) -> Engine:
        engine = await self._stack.enter_async_context(an_engine(self._root / "engine"))
        await import_image(
            engine.images,
            _pieces(),
            name=parse_reference(BASE),
            config=RunConfig(env=["PATH=/bin:/usr/bin"], cmd=["sh"]),
        )
        return engine

    async def _describe(self, case: Case) -> dict[str, Any]:
        place = self._root / case.name
        for name, text in case.before.items():
            await self._build(Case("", (), text), place / name, name=name)
        told, found = await self._build(case, place / "first", fresh=True)
        described: dict[str, Any] = {"steps": told.names, "warnings": told.warnings}
        if told.error:
            return {**described, "error": told.error}
        described |= found
        if case.edits:
            described["cached"] = {}
        for number, (name, files) in enumerate(case.edits.items(), 1):
            edited = replace(case, files={**case.files, **files})
            again, _ = await self._build(edited, place / f"edit-{name}", mtime=MTIME + 100 * number)
            described["cached"][name] = sorted(again.cached)
        return described

    async def _build(
        self, case: Case, root: Path, *, name: str = "", fresh: bool = False, mtime: int = MTIME
    ) -> tuple[Told, dict[str, Any]]:
        context = root / "context"
        context.mkdir(parents=True)
        write(context, {"Dockerfile": case.dockerfile, **case.files}, mtime=mtime)
        roots = {"context": context, "dockerfile": context}
        for each, files in case.contexts.items():
            roots[each] = root / f"context-{each}"
            roots[each].mkdir()
            write(roots[each], files)
        options = BuildOptions(
            build_args=case.args,
            target=case.target,
            no_cache=fresh,
            network="none",
            platforms=(parse_platform(case.platform),) if case.platform else (),
            contexts={each: f"local:{each}" for each in case.contexts},
            entitlements=frozenset(case.entitlements),
        )
        secrets = PostedSecrets({each: value.encode() for each, value in case.secrets.items()})
        request = Request(options, Directories(roots), secrets, NoAgents(), PostedCredentials({}))
        listening = Listening()
        try:
            async with self.engine.builder.solve(request, listening) as solved:
                built = solved.images[0]
                document = json.loads(encode_image_config(built.config))
                based = (document.get("history") or [{}])[0].get("comment", "").startswith("Imported from")
                layers = [self.engine.layers.path(layer) for layer in built.layers[based:]]
                found = {
                    **describe.config(document),
                    "history": describe.history(document, int(based)),
                    "layers": [describe.disk_layer(layer) for layer in layers],
                }
                if name:
                    await self.engine.images.create(built.config, names=[parse_reference(name)])
                return listening.told, found
        except OnggiError as error:
            listening.told.error = str(error)
            return listening.told, {}


async def _pieces() -> AsyncIterator[bytes]:
    yield base_tar()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    made = Corpus(tmp_path_factory.mktemp("corpus"))
    yield made
    made.close()


@pytest.mark.row("corpus/cases")
@pytest.mark.parametrize("case", [pytest.param(each, id=each.name) for each in load()])
def test_a_dockerfile_comes_to_what_buildkit_makes_of_it(corpus: Corpus, case: Case) -> None:
    wanted = dict(RECORDED[case.name])
    found = corpus.describe(case)
    if "refused" in case.known:
        assert case.known["refused"] in found["error"]
        return
    if "error" in wanted:
        # Around the cause each client has words of its own.
        assert found.get("error"), "this is refused"
        assert "error" in case.known or found["error"].partition("\n")[0] in wanted["error"]
        return
    for part, value in wanted.items():
        if part not in case.known:
            assert found.get(part) == value, part
    assert set(found) == set(wanted)
