"""Parts that this engine doesn't have answer as an engine without them does: clients match status and words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onggi.api.routes_absent import NO_CHECKPOINTS
from tests.unit.test_api_core import ask, message

MANAGER = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
NO_PLUGIN = 'plugin "x" not found'
ANSWERS = [
    ("E-067", "GET", "/plugins/privileges?remote=x", 501, "plugins are not supported"),
    ("E-068", "POST", "/plugins/pull?remote=x", 501, "plugins are not supported"),
    ("E-069", "GET", "/plugins/x/json", 404, NO_PLUGIN),
    ("E-070", "DELETE", "/plugins/x", 404, NO_PLUGIN),
    ("E-071", "POST", "/plugins/x/enable", 404, NO_PLUGIN),
    ("E-072", "POST", "/plugins/x/disable", 404, NO_PLUGIN),
    ("E-073", "POST", "/plugins/x/upgrade?remote=y", 404, NO_PLUGIN),
    ("E-074", "POST", "/plugins/create?name=x", 501, "plugins are not supported"),
    ("E-075", "POST", "/plugins/x/push", 404, NO_PLUGIN),
    ("E-076", "POST", "/plugins/x/set", 404, NO_PLUGIN),
    ("E-082", "POST", "/swarm/init", 501, "swarm mode is not provided by this engine"),
    ("E-083", "POST", "/swarm/join", 501, "swarm mode is not provided by this engine"),
    ("E-084", "POST", "/swarm/leave", 503, "This node is not part of a swarm"),
    *((row, method, path, 503, MANAGER) for row, method, path in (
        ("E-077", "GET", "/nodes"), ("E-078", "GET", "/nodes/x"), ("E-079", "DELETE", "/nodes/x"), ("E-080", "POST", "/nodes/x/update"),
        ("E-081", "GET", "/swarm"), ("E-085", "POST", "/swarm/update"), ("E-086", "GET", "/swarm/unlockkey"), ("E-087", "POST", "/swarm/unlock"),
        ("E-088", "GET", "/services"), ("E-089", "POST", "/services/create"), ("E-090", "GET", "/services/x"), ("E-091", "DELETE", "/services/x"),
        ("E-092", "POST", "/services/x/update"), ("E-093", "GET", "/services/x/logs"), ("E-094", "GET", "/tasks"), ("E-095", "GET", "/tasks/x"),
        ("E-096", "GET", "/tasks/x/logs"), ("E-097", "GET", "/secrets"), ("E-098", "POST", "/secrets/create"), ("E-099", "GET", "/secrets/x"),
        ("E-100", "DELETE", "/secrets/x"), ("E-101", "POST", "/secrets/x/update"), ("E-102", "GET", "/configs"), ("E-103", "POST", "/configs/create"),
        ("E-104", "GET", "/configs/x"), ("E-105", "DELETE", "/configs/x"), ("E-106", "POST", "/configs/x/update"),
    )),
    ("E-113", "POST", "/containers/x/checkpoints", 501, NO_CHECKPOINTS),
    ("E-114", "DELETE", "/containers/x/checkpoints/y", 501, NO_CHECKPOINTS),
    ("E-056", "PUT", "/volumes/x?version=1", 503, "volume update only valid for cluster volumes, but swarm is unavailable"),
    ("E-115", "GET", "/debug/vars", 404, "page not found"),
    ("E-115", "GET", "/debug/pprof/", 404, "page not found"),
]  # fmt: skip


@pytest.mark.row(
    "E-067", "E-068", "E-069", "E-070", "E-071", "E-072", "E-073", "E-074", "E-075", "E-076", "E-077", "E-078", "E-079", "E-080", "E-081",
    "E-082", "E-083", "E-084", "E-085", "E-086", "E-087", "E-088", "E-089", "E-090", "E-091", "E-092", "E-093", "E-094", "E-095", "E-096",
    "E-097", "E-098", "E-099", "E-100", "E-101", "E-102", "E-103", "E-104", "E-105", "E-106", "E-056", "E-113", "E-114", "E-115", "E-270",
)  # fmt: skip
@pytest.mark.parametrize(("row", "method", "path", "status", "text"), ANSWERS, ids=[f"{a[0]}-{a[2]}" for a in ANSWERS])
def test_a_part_that_is_not_here_answers_in_dockers_words(
    tmp_path: Path, row: str, method: str, path: str, status: int, text: str
) -> None:
    answer = ask(tmp_path, f"{method} /v1.51{path} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n".encode())
    assert (answer[0], message(answer[2])) == (status, text), row


@pytest.mark.row("E-066")
def test_there_are_no_plugins(tmp_path: Path) -> None:
    for query in ("", "?filters=%7B%22enabled%22:%5B%22true%22%5D%7D"):
        answer = ask(tmp_path, f"GET /v1.51/plugins{query} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        assert (answer[0], json.loads(answer[2])) == (200, [])
