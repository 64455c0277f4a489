"""Whatever a client sends is answered: with a status of its own, in the API's form, and with nothing of ours in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.api.bodies import decode_body
from onggi.api.detachkeys import DetachScanner, parse_keys
from onggi.api.options import merge, parse_arguments, parse_file
from onggi.api.query import Query
from onggi.api.routes import every_route
from onggi.api.service import Service
from onggi.api.shapes_containers import adapt_create
from onggi.api.site import Site
from onggi.api.times import parse_moment
from onggi.engine.config import CreateBody
from onggi.errors import InvalidArgument

ROUTES = list(every_route())
LEAKS = re.compile(rb"Traceback|/usr/lib/python|\.py\b|object at 0x")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    [field.encode_name for kind in (CreateBody,) for field in msgspec.structs.fields(kind)]
    + ["hostconfig", "cmd", "ENV"]
)


async def answers(requests: list[bytes]) -> list[bytes]:
    """What the whole site answers, on one connection each, with an engine that isn't there."""
    service = Service()
    service.close("no engine in this test")
    site = Site(service, ROUTES)
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "s")
    server = await asyncio.get_running_loop().create_unix_server(site.connections(None), path)
    found = []
    try:
        for request in requests:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(request)
            writer.write_eof()
            found.append(await asyncio.wait_for(reader.read(), 5))
            writer.close()
    finally:
        server.close()
        await site.close(1)
        shutil.rmtree(folder)
    return found


@pytest.mark.row("S-66")
@pytest.mark.row("S-69")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5))
def test_bytes_that_are_no_request_get_an_error_or_nothing(requests: list[bytes]) -> None:
    for answer in asyncio.run(answers(requests)):
        assert not answer or re.match(rb"HTTP/1\.1 (200|4\d\d|501|503) ", answer), answer[:80]
        assert not LEAKS.search(answer)


@pytest.mark.row("S-69")
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ROUTES),
    st.integers(20, 60),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs")), min_size=1, max_size=10),
    st.text("abc=&%0129{}[]\"':,+", max_size=40),
    st.binary(max_size=60),
)
def test_every_route_answers_odd_requests_in_the_apis_form(
    route: object, version: int, name: str, query: str, body: bytes
) -> None:
    from urllib.parse import quote

    target = re.sub(r"\{\w+\*?\}", lambda _: quote(name, safe=""), route.pattern)  # type: ignore[attr-defined]
    head = f"{route.method} /v1.{version}{target}?{query} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(body)}\r\n\r\n"  # type: ignore[attr-defined]
    (answer,) = asyncio.run(answers([head.encode() + body]))
    line, _, rest = answer.partition(b"\r\n\r\n")
    status = int(line.split()[1])
    # Half of a connection is closed here: what only waits or sends gives up then, in dockerd's words.
    assert status in (200, 400, 404, 405, 501, 503) or rest == b'{"message":"context canceled"}\n', answer
    assert b"Api-Version: 1.55" in line
    assert not LEAKS.search(answer)
    if status >= 400 and route.method != "HEAD" and "_ping" not in route.pattern:  # type: ignore[attr-defined]
        assert json.loads(rest)["message"]


@pytest.mark.row("E-231")
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(field_names, json_values, max_size=4) | json_values, st.integers(24, 55))
def test_any_json_is_a_create_body_or_refused(value: object, version: int) -> None:
    try:
        body = decode_body(json.dumps(value).encode(), CreateBody)
        adapt_create(body, version)
    except InvalidArgument:
        return


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.binary(max_size=60))
def test_words_of_requests_are_values_or_refused(text: str, data: bytes) -> None:
    for read in (
        lambda: Query(text).filters(frozenset({"label"}), "a"),
        lambda: Query("a=" + text).number("a"),
        lambda: parse_moment(text, 0),
        lambda: merge(parse_arguments(text.split()), parse_file(data)),
    ):
        try:
            read()
        except InvalidArgument:
            continue
    try:
        keys = parse_keys(text)
    except ValueError:
        return
    scanner = DetachScanner(keys)
    passed = scanner.feed(data)
    assert scanner.found or data.startswith(passed[: len(data)])


def test_a_config_file_of_rubbish_is_an_error_of_ours(tmp_path: Path) -> None:
    from onggi.api import onggid

    for rubbish in (b"\xff\xfe", b"[]", b'{"debug": "yes"}', b'{"hosts": [1]}', b'{"a":' * 10000):
        (tmp_path / "daemon.json").write_bytes(rubbish)
        with pytest.raises(InvalidArgument, match="unable to configure"):
            onggid.load(["--config-file", str(tmp_path / "daemon.json")])
