"""docker search and onggi search, answered from an index of our own that speaks Hub's protocol."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.clients.daemon import Daemon, running

pytestmark = pytest.mark.root
FOUND = [
    {"name": "redis", "description": "Keys\nand values, kept in memory by a program of some renown", "star_count": 90, "is_official": True, "is_automated": True},
    {"name": "team/redis", "description": "", "star_count": 3, "is_official": False},
]  # fmt: skip


class Index(BaseHTTPRequestHandler):
    asked: list[dict[str, list[str]]] = []  # noqa: RUF012  (one server a module)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/v1/search":
            self.asked.append(parse_qs(url.query))
        data = json.dumps({"query": "redis", "num_results": 2, "results": FOUND}).encode()
        broken = parse_qs(url.query).get("q") == ["broken"]
        self.send_response(200 if url.path == "/v1/search" else 404)
        body = b"<html>" if broken else data
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.mark.row("E-036", "I-142", "I-146", "I-162")
def test_a_search_finds_sorts_filters_and_is_limited_as_dockers(daemon: Daemon, index: str) -> None:
    lines = daemon.say("search", f"{index}/redis").splitlines()
    assert lines[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert [line.split()[0] for line in lines[1:]] == ["redis", "team/redis"]
    assert lines[1].split()[-2:] == ["90", "[OK]"]
    own = subprocess.run([Path(sys.executable).parent / "onggi", "-H", daemon.host, "search", f"{index}/redis"], capture_output=True, text=True, check=True)  # fmt: skip
    assert [line.split() for line in own.stdout.splitlines()] == [line.split() for line in lines]
    assert daemon.say("search", "--format", "{{.Name}}", "-f", "stars=4", f"{index}/redis") == "redis"
    assert daemon.say("search", "--format", "{{.Name}}", "-f", "is-official=false", f"{index}/redis") == "team/redis"
    assert daemon.say("search", "--format", "{{.Name}}", "-f", "is-automated=true", f"{index}/redis") == ""
    assert "of some renown" in daemon.say("search", "--no-trunc", f"{index}/redis")
    Index.asked.clear()
    daemon.say("search", "--limit", "7", f"{index}/redis")
    daemon.say("search", f"{index}/a b&c")
    assert Index.asked == [{"q": ["redis"], "n": ["7"]}, {"q": ["a b&c"], "n": ["25"]}]


@pytest.mark.row("E-036")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "200", "x"], "limit 200 is outside the range of [1, 100]"),
        (["-f", "color=red", "x"], "invalid filter 'color'"),
        (["-f", "stars=x", "x"], "invalid filter 'stars=x'"),
        (["-f", "is-official=maybe", "x"], "invalid filter 'is-official="),
        (["http://x"], "invalid repository name: repository name (http://x) should not have a scheme"),
        (["INDEX/broken"], "error decoding registry search results: "),
    ],
)
def test_a_search_that_cant_be_done_says_why_in_dockers_words(
    daemon: Daemon, index: str, words: list[str], said: str
) -> None:
    done = daemon.docker("search", *[word.replace("INDEX", index) for word in words])
    assert done.returncode == 1
    assert f"Error response from daemon: {said}" in done.stderr
