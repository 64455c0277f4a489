"""Logins stay with whoever builds: token servers are asked by the client, and the engine gets tokens."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import Daemon, running
from tests.imaging import make_image, publish
from tests.tokenfront import TokenFront, token_front

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def buildx(daemon: Daemon, tmp_path: Path) -> Buildx:
    return Buildx(daemon, tmp_path)


@pytest.mark.row("F-297")
def test_tokens_are_fetched_by_the_client_for_a_base_and_for_a_push(buildx: Buildx, tmp_path: Path) -> None:
    front = TokenFront({"anna": "only here"}, speaks_oauth=False)

    def log_in(password: str) -> None:
        config = json.loads((buildx.config / "config.json").read_text())
        config["auths"] = {front.host: {"auth": base64.b64encode(f"anna:{password}".encode()).decode()}}
        (buildx.config / "config.json").write_text(json.dumps(config))

    async def go() -> None:
        async with token_front(tmp_path / "registry", front):
            assert front.session
            await publish(front.session, "app", "v1", make_image({"etc/one": b"1"}))
            buildx.context(f"FROM {front.host}/app:v1\nCOPY f /f\n", f="1")
            log_in("wrong")
            refused = await asyncio.to_thread(buildx.run, "build", "--push", "-t", f"{front.host}/made:1", "c")
            assert refused.returncode == 1
            assert "incorrect username or password" in refused.stderr
            log_in("only here")
            front.asked.clear()
            await asyncio.to_thread(buildx.build, "--push", "-t", f"{front.host}/made:1")
            # The client's own way of asking, which the engine never uses: a password by POST, then as the server likes it.
            posted = [given for method, given in front.asked if method == "POST"]
            assert {given["client_id"][0] for given in posted} == {"buildkit-client"}
            assert all(given["password"] == ["only here"] for given in posted)
            scopes = {scope for method, given in front.asked if method == "GET" for scope in given.get("scope", [])}
            assert {"repository:app:pull", "repository:made:pull,push"} <= scopes
            assert len([given for method, given in front.asked if method == "GET"]) == len(posted)

    asyncio.run(go())
