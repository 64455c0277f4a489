"""Who we are to a registry: tokens, refresh tokens, scopes, passwords of all kinds, and what a challenge may look like."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import bcrypt
import pytest

from onggi.errors import NotFound, OnggiError, Unauthorized
from onggi.images.challenge import Challenge, credentials_of, parse_challenges
from onggi.oci.reference import parse_reference
from onggi.registry import Access
from tests.imaging import Room, TestImage, make_image, publish, room, serving
from tests.tokenfront import TokenFront, token_front

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked")
IMAGE = make_image({"etc/one": b"1"}, {"etc/two": b"2"}, {"etc/three": b"3"})


def auth(**words: str) -> SimpleNamespace:
    """X-Registry-Auth, decoded."""
    return SimpleNamespace(
        **{"username": "", "password": "", "auth": "", "identitytoken": "", "registrytoken": "", **words}
    )


def with_front(
    tmp_path: Path, front: TokenFront, test: Callable[[Room, TokenFront], Awaitable[None]], image: TestImage = IMAGE
) -> TokenFront:
    """app:v1 is in the registry behind it."""

    async def run() -> None:
        async with token_front(tmp_path / "registry", front), room(tmp_path / "room") as here:
            assert front.session
            await publish(front.session, "app", "v1", image)
            await test(here, front)

    asyncio.run(run())
    return front


async def pull(here: Room, front: TokenFront, name: str = "app:v1", **words: str) -> None:
    reference = parse_reference(f"{front.host}/{name}")
    await here.images.pull(reference, auth=auth(**words), platform=None, progress=here.messages.append)


@pytest.mark.row("I-119", "I-122")
def test_a_token_is_asked_for_once_for_each_scope(tmp_path: Path) -> None:
    async def test(here: Room, front: TokenFront) -> None:
        await pull(here, front, username="anna", password="s:e:c")
        assert front.asked == [
            ("GET", {"service": ["front, and back"], "scope": ["repository:app:pull"], "account": ["anna"]})
        ]
        reference = parse_reference(f"{front.host}/app:v1")
        await here.images.tag(here.images.resolve(str(reference)), parse_reference(f"{front.host}/team/copy:1"))
        front.asked.clear()
        await here.images.push(parse_reference(f"{front.host}/team/copy:1"), auth=auth(username="anna", password="s:e:c"), progress=here.messages.append)  # fmt: skip
        scopes = [parameters["scope"] for _, parameters in front.asked]
        # Mounting from another repository needs the right to read there: a second scope of the same request.
        assert ["repository:team/copy:pull,push"] in scopes
        assert ["repository:team/copy:pull,push", "repository:app:pull"] in scopes
        assert any("mount=" in path for method, path in front.requests if method == "POST")
        assert [method for method, _ in front.requests].count("PATCH") == 1  # the config: nothing of the layers is sent

    with_front(tmp_path, TokenFront({"anna": "s:e:c"}), test)


@pytest.mark.row("I-120")
def test_a_token_may_be_spelled_access_token_and_nobody_needs_a_name(tmp_path: Path) -> None:
    front = with_front(tmp_path, TokenFront(spelled="access_token"), pull)
    assert front.asked == [("GET", {"service": ["front, and back"], "scope": ["repository:app:pull"]})]


@pytest.mark.row("I-121", "I-129")
def test_an_identity_token_is_exchanged_the_way_oauth_has_it(tmp_path: Path) -> None:
    async def test(here: Room, front: TokenFront) -> None:
        # As Azure's registry: a user of zeros, and a refresh token.
        await pull(here, front, username="00000000-0000-0000-0000-000000000000", identitytoken="long")
        with pytest.raises(OnggiError, match="token is void"):
            await pull(here, front, identitytoken="other")

    front = with_front(tmp_path, TokenFront({"anna": "x"}, {"long"}), test)
    assert front.asked[0] == (
        "POST",
        {
            "grant_type": ["refresh_token"], "refresh_token": ["long"], "service": ["front, and back"], "scope": ["repository:app:pull"],
            "client_id": ["onggi"],
        },
    )  # fmt: skip


@pytest.mark.row("I-120")
def test_a_refresh_token_that_is_good_once_is_replaced_by_the_answers(tmp_path: Path) -> None:
    async def test(here: Room, front: TokenFront) -> None:
        await pull(here, front, identitytoken="long")

    front = with_front(
        tmp_path, TokenFront({"anna": "x"}, {"long"}, rotates=True, uses=1), test, make_image({"etc/one": b"1"})
    )
    assert [parameters["refresh_token"][0] for _, parameters in front.asked] == ["long", "long+", "long++"]


@pytest.mark.row("I-121")
def test_a_token_server_without_oauth_takes_the_refresh_token_as_a_password(tmp_path: Path) -> None:
    async def test(here: Room, front: TokenFront) -> None:
        await pull(here, front, username="anna", identitytoken="long")

    front = with_front(tmp_path, TokenFront({"anna": "x"}, {"long"}, speaks_oauth=False), test)
    assert [method for method, _ in front.asked] == ["POST", "GET"]


@pytest.mark.row("I-123")
def test_a_token_that_ends_halfway_is_asked_for_again(tmp_path: Path) -> None:
    front = with_front(tmp_path, TokenFront(uses=2), pull, make_image({"etc/one": b"1"}))
    assert len(front.asked) == 2  # manifest and config with the first, the layer with the second


@pytest.mark.row("I-123")
def test_a_registry_that_takes_no_token_is_not_asked_for_ever(tmp_path: Path) -> None:
    async def test(here: Room, front: TokenFront) -> None:
        with pytest.raises(
            NotFound, match="pull access denied for .*/app, repository does not exist or may require 'docker login'"
        ):
            await pull(here, front)
        assert len(front.asked) == 2

    with_front(tmp_path, TokenFront(uses=0), test)


@pytest.mark.row("I-125")
def test_a_login_gets_an_identity_token_or_hears_why_not(tmp_path: Path) -> None:
    async def test(here: Room, front: TokenFront) -> None:
        good = auth(username="anna", password="secret")
        assert await here.images.log_in(good, front.host) == "kept-for-long"
        assert await here.images.log_in(good, f"http://{front.host}/v2/") == "kept-for-long"
        assert front.asked[0] == (
            "GET", {"service": ["front, and back"], "offline_token": ["true"], "client_id": ["onggi"], "account": ["anna"]},
        )  # fmt: skip
        with pytest.raises(Unauthorized, match="unauthorized: incorrect username or password"):
            await here.images.log_in(auth(username="anna", password="wrong"), front.host)

    with_front(tmp_path, TokenFront({"anna": "secret"}), test)


@pytest.mark.row("I-126")
def test_access_tokens_and_keys_of_the_clouds_are_passwords(tmp_path: Path) -> None:
    """Hub's and GitHub's personal tokens, ECR's, GAR's key files, GitLab's job tokens, Quay's robots: names and passwords of odd shapes."""
    users = {
        "anna": "dckr_pat_x-y_z", "AWS": "eyJ" + "x" * 2000, "_json_key": '{\n  "type": "service_account",\n  "key": "a:b"\n}\n',
        "oauth2accesstoken": "ya29.a0", "gitlab-ci-token": "glcbt-64_x", "team+robot": "ABC123", "$oauthtoken": "nvapi-ä",
    }  # fmt: skip

    async def test(here: Room, front: TokenFront) -> None:
        for user, password in users.items():
            await here.images.log_in(auth(username=user, password=password), front.host)
            encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
            await pull(here, front, auth=encoded)  # config.json's spelling

    with_front(tmp_path, TokenFront(users), test)


@pytest.mark.row("I-124", "I-127", "I-128")
def test_a_registry_may_ask_for_the_password_itself(tmp_path: Path) -> None:
    async def run() -> None:
        users = {
            b"AWS": b"token-of-12-hours",
            b"_json_key_base64": base64.b64encode(b'{"type": "service_account"}'),
            b"oauth2accesstoken": b"ya29",
        }
        (tmp_path / "users").write_bytes(
            b"\n".join(name + b":" + bcrypt.hashpw(word, bcrypt.gensalt(10)) for name, word in users.items())
        )
        access = Access(str(tmp_path / "users"))
        async with serving(tmp_path / "registry", access) as (host, _), room(tmp_path / "room") as here:
            for name, word in users.items():
                assert await here.images.log_in(auth(username=name.decode(), password=word.decode()), host) == ""
            with pytest.raises(Unauthorized, match="unauthorized: "):
                await here.images.log_in(auth(username="AWS", password="old"), host)
            with pytest.raises(NotFound, match="pull access denied"):
                await here.pull(f"{host}/app:v1")

    asyncio.run(run())


@pytest.mark.row("I-118")
@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic", [Challenge("basic")]),
        ('Basic realm="a, b"', [Challenge("basic", {"realm": "a, b"})]),
        ('BEARER Realm="https://t/",SERVICE=s', [Challenge("bearer", {"realm": "https://t/", "service": "s"})]),
        ('Bearer realm="t", Basic realm="x"', [Challenge("bearer", {"realm": "t"}), Challenge("basic", {"realm": "x"})]),
        ('Negotiate, Bearer realm = "t" , scope="repository:a:pull,push"',
         [Challenge("negotiate"), Challenge("bearer", {"realm": "t", "scope": "repository:a:pull,push"})]),
        (r'Bearer realm="say \"t\""', [Challenge("bearer", {"realm": 'say "t"'})]),
        ('Negotiate oYGe/+x==, Basic realm="x"', [Challenge("negotiate"), Challenge("basic", {"realm": "x"})]),
        ("", []),
        ('="nothing"', []),
    ],
)  # fmt: skip
def test_challenges_are_read_in_every_spelling(header: str, found: list[Challenge]) -> None:
    assert parse_challenges(header) == found


@pytest.mark.row("I-111", "I-131")
def test_credentials_are_never_printed() -> None:
    kept = credentials_of(auth(auth=base64.b64encode(b"anna:s:ecret\0").decode(), identitytoken="long"))
    assert (kept.user, kept.password, kept.refresh_token) == ("anna", "s:ecret", "long")
    assert "ecret" not in f"{kept!r} {kept}"
    assert "long" not in repr(kept)
