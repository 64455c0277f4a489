"""`POST /build?version=2`: contexts from the body and from the session, BuildKit's messages in the stream."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from onggi.build.buildkit.pb import control_pb2
from tests.clients.daemon import Daemon, running
from tests.clients.gateway import Directory, connected
from tests.clients.test_clients_build_post import Posted, post
from tests.engine.building import context

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def told(posted: Posted) -> tuple[list[str], str, str, dict[str, Any]]:
    """Steps, what they said, the image's id, and the last message."""
    messages = [json.loads(line) for line in posted.raw.splitlines()]
    names, said, image = [], b"", ""
    for message in messages:
        if message.get("id") == "moby.buildkit.trace":
            status = control_pb2.StatusResponse.FromString(base64.b64decode(message["aux"]))
            names += [vertex.name for vertex in status.vertexes if vertex.name not in names]
            said += b"".join(log.msg for log in status.logs)
        elif message.get("id") == "moby.image.id":
            image = message["aux"]["ID"]
    return list(dict.fromkeys(names)), said.decode(), image, messages[-1]


@pytest.mark.row("F-252", "F-245", "F-241")
def test_the_stream_is_of_buildkits_messages(daemon: Daemon) -> None:
    found = post(daemon, context("FROM busybox\nRUN echo heard\nCOPY f /f\n", {"f": "x"}), version="2", t="second")
    names, said, image, _ = told(found)
    assert found.status == 200
    assert [name for name in names if not name.startswith("[internal]")] == [
        "[1/3] FROM docker.io/library/busybox:latest", "[2/3] RUN echo heard", "[3/3] COPY f /f",
    ]  # fmt: skip
    assert said == "heard\n"
    assert daemon.say("inspect", "-f", "{{.Id}}", "second") == image
    names, said, image, last = told(post(daemon, context("FROM busybox\nRUN echo why; exit 3\n"), version="2"))
    assert (said, image) == ("why\n", "")
    assert last["error"] == 'process "/bin/sh -c echo why; exit 3" did not complete successfully: exit code: 3'
    refused = post(daemon, context("FROM busybox\n"), version="2", networkmode="container:x")
    assert (refused.status, refused.said) == (400, '<message network mode "container:x" not supported by buildkit>')


@pytest.mark.row("F-253", "F-293")
def test_the_session_gives_the_context(daemon: Daemon) -> None:
    async def main() -> Posted:
        directory = Directory({"Dockerfile": b"FROM busybox\nCOPY f /f\nRUN cat /f\n", "f": b"of the session\n"})
        async with connected(daemon.socket, directory) as client:
            words = {"version": "2", "remote": "client-session", "session": client.session}
            return await asyncio.to_thread(post, daemon, b"", **words)

    _, said, image, _ = told(asyncio.run(main()))
    assert said == "of the session\n"
    assert image.startswith("sha256:")
    alone = post(daemon, b"", version="2", remote="client-session")
    assert (alone.status, alone.said) == (400, "<message a context of the client's session needs a session>")
