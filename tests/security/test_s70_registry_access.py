"""Who may do what at the registry: the table of routes against every kind of caller."""

from __future__ import annotations

import asyncio
import base64
import statistics
import time
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from onggi.errors import InvalidArgument
from onggi.registry import Access
from onggi.registry.access import Scope, parse_htpasswd
from onggi.registry.command import is_loopback, main
from onggi.registry.routes import ROUTES, Action
from tests.imaging import digest, make_image, publish, serving

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()


@pytest.fixture
def htpasswd(tmp_path: Path) -> str:
    path = tmp_path / "htpasswd"
    path.write_text(f"# users\nanna:{HASH}\n")
    return str(path)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def path_of(shape: str) -> str:
    return "/v2/" + shape.replace("<name>", "a").replace("{}", digest(b"x"))


@pytest.mark.row("S-70")
def test_every_route_states_a_scope_and_every_action_has_a_route():
    assert {route.action for route in ROUTES} == set(Action)
    assert all(isinstance(route.scope, Scope) for route in ROUTES)
    assert len({(route.method, route.shape) for route in ROUTES}) == len(ROUTES)


@pytest.mark.row("S-70")
@pytest.mark.row("D-05")
def test_nobody_gets_anywhere_without_logging_in(tmp_path, htpasswd):
    async def run() -> None:
        async with serving(tmp_path / "root", Access(htpasswd)) as (_, session):
            for route in ROUTES:
                for headers in ({}, {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}, {"Authorization": "Basic !"}):
                    async with session.request(route.method, path_of(route.shape), headers=headers) as answer:
                        assert answer.status == 401, route
                        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")

    asyncio.run(run())


@pytest.mark.row("S-70")
@pytest.mark.row("D-05")
def test_anonymous_pull_opens_pulling_and_nothing_else(tmp_path, htpasswd):
    async def run() -> None:
        async with serving(tmp_path / "root", Access(htpasswd, anonymous_pull=True)) as (_, session):
            for route in ROUTES:
                async with session.request(route.method, path_of(route.shape)) as answer:
                    allowed = route.scope in (Scope.BASE, Scope.PULL)
                    assert (answer.status != 401) == allowed, route
                    assert answer.status < 500

    asyncio.run(run())


@pytest.mark.row("I-213")
def test_who_logs_in_may_push_and_pull_and_a_changed_file_counts_at_once(tmp_path, htpasswd):
    async def run() -> None:
        async with serving(tmp_path / "root", Access(htpasswd)) as (host, _):
            async with aiohttp.ClientSession(f"http://{host}", headers=basic("anna", "secret")) as session:
                await publish(session, "a", "v1", make_image({"f": b"1"}))
                Path(htpasswd).write_text("bert:" + bcrypt.hashpw(b"other", bcrypt.gensalt(10)).decode())
                async with session.get("/v2/") as answer:
                    assert answer.status == 401
            async with (
                aiohttp.ClientSession(f"http://{host}", headers=basic("bert", "other")) as session,
                session.get("/v2/a/tags/list") as answer,
            ):
                assert (await answer.json())["tags"] == ["v1"]

    asyncio.run(run())


@pytest.mark.row("S-72")
@pytest.mark.parametrize(
    "line",
    [
        "anna:secret",
        "anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "anna:$apr1$abc$def",
        "anna:$2y$05$" + "a" * 53,
        "anna:$2y$31$" + "a" * 53,
        ":" + HASH,
        "anna",
    ],
)
def test_only_bcrypt_of_a_sensible_cost_is_taken(line):
    with pytest.raises(InvalidArgument, match="line 1"):
        parse_htpasswd(line.encode())


@pytest.mark.row("S-72")
def test_an_unknown_user_costs_what_a_known_one_does(tmp_path, htpasswd):
    access = Access(htpasswd)

    async def timed(user: str) -> float:
        begun = time.perf_counter()
        with pytest.raises(Exception, match="invalid username or password"):
            await access.check(Scope.PULL, basic(user, "wrong")["Authorization"], f"peer {time.perf_counter()}")
        return time.perf_counter() - begun

    async def run() -> tuple[list[float], list[float]]:
        known, unknown = [], []
        for _ in range(7):
            known.append(await timed("anna"))
            unknown.append(await timed("nobody"))
        return known, unknown

    known, unknown = asyncio.run(run())
    # The fastest of each: others share the machine.
    assert 0.6 < min(known) / min(unknown) < 1.6
    assert statistics.median(unknown) > 0.01


@pytest.mark.row("S-72")
def test_guessing_is_slowed_down(tmp_path, htpasswd):
    async def run() -> None:
        async with serving(tmp_path / "root", Access(htpasswd)) as (_, session):
            found = []
            for n in range(23):
                async with session.get("/v2/", headers=basic("anna", f"guess {n}")) as answer:
                    found.append(answer.status)
            assert found[:20] == [401] * 20
            assert found[20:] == [429] * 3

    asyncio.run(run())


@pytest.mark.row("D-05")
@pytest.mark.row("I-216")
def test_an_open_registry_stays_on_loopback(tmp_path, capsys):
    assert main(["serve", "--root", str(tmp_path), "--listen", "0.0.0.0:0"]) == 1
    assert "everybody could push" in capsys.readouterr().err
    assert not is_loopback("")
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
