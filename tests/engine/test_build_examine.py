"""What a Dockerfile says without building it: the documents that BuildKit's clients print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onggi.build.options import BuildOptions
from onggi.build.posted import PostedContexts, PostedCredentials, PostedSecrets
from onggi.build.postedagents import PostedAgents
from onggi.build.request import Request
from onggi.engine.engine import Engine
from onggi.ignore import IgnoreRules
from tests.corpus.case import write
from tests.corpus.told import Listening
from tests.engine.engines import needs_root, with_engine
from tests.engine.mirrored import read_directory

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


async def examine(engine: Engine, root: Path, text: str, what: str, **words: Any) -> Any:
    place = root / "context"
    place.mkdir(exist_ok=True)
    write(place, {"Dockerfile": text})
    options = BuildOptions(**words)
    context = read_directory(place, IgnoreRules(()))
    request = Request(
        options, PostedContexts(context, options), PostedSecrets({}), PostedAgents({}), PostedCredentials({})
    )
    try:
        return json.loads(await engine.builder.examine(request, what, Listening()))
    finally:
        context.close()


@pytest.mark.row("F-152")
@pytest.mark.row("F-346")
def test_a_check_names_rules_with_lines_and_looks_at_stages_that_nobody_needs(tmp_path: Path) -> None:
    text = "FROM busybox AS Unused\nCMD shell\nFROM busybox\nRUN exit 1\n"

    async def test(engine: Engine) -> None:
        found = await examine(engine, tmp_path, text, "lint")
        assert [(each["ruleName"], each["location"]["ranges"][0]["start"]["line"]) for each in found["warnings"]] == [
            ("StageNameCasing", 1), ("JSONArgsRecommended", 2),
        ]  # fmt: skip
        assert found["warnings"][0]["url"].endswith("/stage-name-casing/")
        assert found["sources"][0]["filename"] == "Dockerfile"
        broken = await examine(engine, tmp_path, "FROM busybox\nCOPY a\n", "lint")
        assert "requires at least two arguments" in broken["buildError"]["message"]
        assert broken["buildError"]["location"]["ranges"][0]["start"]["line"] == 2

    with_engine(tmp_path, test)


@pytest.mark.row("F-152")
def test_an_outline_says_what_the_target_takes(tmp_path: Path) -> None:
    text = """
# VERSION of the thing
ARG VERSION=1
ARG UNUSED=2
# base is where it begins
FROM busybox AS base
# MODE fast or slow
ARG MODE=fast
RUN --mount=type=secret,id=token,required=true --mount=type=ssh true
FROM base AS last
ARG VERSION
FROM busybox AS other
ARG NOT_OURS=1
"""

    async def test(engine: Engine) -> None:
        found = await examine(engine, tmp_path, text, "outline", target="last")
        args = {each["name"]: (each["value"], each.get("description", "")) for each in found["args"]}
        assert args == {"VERSION": ("1", "of the thing"), "MODE": ("fast", "fast or slow")}
        assert [(each["name"], each["required"]) for each in found["secrets"]] == [("token", True)]
        assert [each["name"] for each in found["ssh"]] == ["default"]
        listed = await examine(engine, tmp_path, text, "targets")
        assert [(each["name"], each.get("description", "")) for each in listed["targets"]] == [
            ("base", "is where it begins"), ("last", ""), ("other", ""),
        ]  # fmt: skip
        assert [each["name"] for each in listed["targets"] if each.get("default")] == ["other"]

    with_engine(tmp_path, test)
