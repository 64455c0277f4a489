"""The engine is killed at each point of a build: no image has a name that wasn't earned, nothing is left, and the next build goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from onggi.client import ApiError, Client, images
from onggi.client.errors import BrokenAnswer, ConnectionRefused, StreamError
from tests.clients.daemon import Daemon
from tests.engine.building import context
from tests.engine.engines import needs_root
from tests.engine.test_engine_kill_points import restart
from tests.engine.test_engine_reconcile import client, leaks, watched, within

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

DOCKERFILE = """
FROM busybox AS one
COPY f /f
RUN --mount=type=cache,target=/c --mount=type=bind,target=/ctx --mount=type=secret,id=s echo $MARK > /one; touch /c/x; cat /run/secrets/s
FROM busybox
WORKDIR /w
COPY --from=one /one /one
RUN --mount=type=tmpfs,target=/t echo two > /two
"""
SECRET = b"a-secret-of-the-killed"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from watched(tmp_path_factory.mktemp("killed"))


def build(engine: Client, name: str) -> int:
    """How many steps were cached. Raises what the engine's end makes of it."""
    query: dict[str, object] = {"t": name, "networkmode": "none", "buildid": name}
    engine(images.build_secrets(name, {"s": SECRET}))
    text = DOCKERFILE.replace("$MARK", name)
    said = list(engine.stream(images.build(iter([context(text, {"f": name * 1000})]), query, registries={})))
    for message in said:
        if "error" in message:
            raise StreamError(str(message["error"]))
    return sum(str(message.get("stream", "")).count("Using cache") for message in said)


def left(daemon: Daemon) -> list[str]:
    """Of builds, in the data root and in the execution root's private places."""
    found = [f"{kind}/{name}" for kind in ("containers", "ingest") for name in os.listdir(daemon.root / "data" / kind)]
    for directory, _, names in os.walk(daemon.root / "exec"):
        found += [f"{directory}/{name}" for name in names if name in ("secret", "agent")]
    return found


POINTS = [
    "build.received=kill@1",
    *(f"build.step.prepared=kill@{n}" for n in (1, 3)),
    *(f"build.step.made=kill@{n}" for n in (1, 4)),
    "build.solved=kill@1",
    *(f"store.commit.before=kill@{n}" for n in (2, 4)),
    *(f"store.commit.after=kill@{n}" for n in (1, 3)),
    "store.snapshot.renamed=kill@2",
]


@pytest.mark.row("R-32", "K-01", "F-197", "S-51", "F-079")
@pytest.mark.parametrize("fault", POINTS)
def test_a_build_that_a_killed_engine_was_at_leaves_nothing_but_whole_layers(daemon: Daemon, fault: str) -> None:
    name = fault.replace("=", "-").replace("@", "-").replace(".", "-")
    restart(daemon, fault)
    with client(daemon) as engine, pytest.raises((ApiError, BrokenAnswer, ConnectionRefused, OSError, StreamError)):
        build(engine, name)
    assert daemon.process is not None
    assert daemon.process.wait(10) == -signal.SIGKILL
    restart(daemon)
    with client(daemon) as engine:
        assert within(5, lambda: left(daemon) == []), left(daemon)
        assert within(5, lambda: leaks(engine) == []), leaks(engine)
        named = [tag for one in engine(images.listing(all=True)) for tag in one["RepoTags"] or ()]
        assert f"{name}:latest" not in named or fault.startswith("store.commit.after")
        build(engine, name)
        assert build(engine, name) >= 5
        assert within(5, lambda: left(daemon) == []), left(daemon)
        engine(images.remove(name, force=True))
    for directory, _, names in os.walk(daemon.root / "data"):
        for each in names:
            with open(os.path.join(directory, each), "rb") as file:
                assert SECRET not in file.read(), each
