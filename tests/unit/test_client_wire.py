"""HTTP/1.1 of the client, without I/O: answers in any pieces, and what is no answer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.client import containers, images
from onggi.client.call import Request, frames, json_lines
from onggi.client.endpoint import Endpoint
from onggi.client.errors import BrokenAnswer, ConnectionRefused
from onggi.client.wire import ResponseParser, chunk, encode_head

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"hello ") + chunk(b"world") + chunk(b"")
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"
CLOSE = b"HTTP/1.0 200 OK\r\n\r\nhello world"


@given(st.sampled_from([CHUNKED, LENGTH, CLOSE]), st.lists(st.integers(1, 40), max_size=30))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(answer, cuts):
    parser, body, at = ResponseParser("GET"), b"", 0
    for cut in [*cuts, len(answer)]:
        body += b"".join(parser.feed(answer[at : at + cut]))
        at += cut
        if at >= len(answer):
            break
    parser.end()
    assert (parser.status, body, parser.done) == (200, b"hello world", True)


def test_what_follows_a_101_belongs_to_the_stream():
    parser = ResponseParser("POST")
    assert parser.feed(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nfirst") == []
    assert (parser.done, parser.rest) == (True, b"first")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_refused(answer):
    with pytest.raises(BrokenAnswer):
        ResponseParser("GET").feed(answer)


def test_an_answer_that_is_cut_is_no_answer():
    parser = ResponseParser("GET")
    parser.feed(LENGTH[:-3])
    with pytest.raises(BrokenAnswer):
        parser.end()


@given(st.binary(max_size=300))
def test_hostile_bytes_end_in_pieces_or_an_error(data):
    parser = ResponseParser("GET")
    try:
        parser.feed(data)
        parser.end()
    except BrokenAnswer:
        pass


def test_a_line_break_can_not_split_a_request():
    with pytest.raises(ValueError, match="line break"):
        encode_head("GET", "/x HTTP/1.1\r\nX: y", {})


def test_queries_leave_out_nothing_but_what_was_not_given():
    target = Request(
        "GET", "/x", {"all": True, "no": False, "n": None, "list": ["a", "b c"], "f": {"k": ["v"]}}
    ).target("/v1")
    assert target == "/v1/x?all=1&list=a&list=b%20c&f=%7B%22k%22%3A%5B%22v%22%5D%7D"
    assert containers.inspect("a/b").request.path == "/containers/a%2Fb/json"
    assert images.inspect("h:5/a/b:1").request.path == "/images/h:5/a/b:1/json"


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=50)), max_size=10), st.integers(1, 17)
)
def test_frames_are_whole_in_whatever_pieces_they_come(items, size):
    stream = b"".join(bytes([number, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for number, data in items)
    split = frames()
    assert [item for at in range(0, len(stream), size) for item in split(stream[at : at + size])] == items


def test_json_lines_wait_for_their_end():
    split = json_lines()
    text = b"".join(json.dumps({"n": n}).encode() + b"\r\n" for n in range(3))
    assert [item["n"] for at in range(0, len(text), 5) for item in split(text[at : at + 5])] == [0, 1, 2]


@pytest.mark.row("CL-147")
@pytest.mark.parametrize(
    "text",
    [
        "ftp://x",
        "tcp://host:port",
        "unix://",
        "fd://",
        "npipe:////./pipe/x",
        "ssh://user:secret@host",
        "ssh://-oProxyCommand=true",
    ],
)
def test_an_endpoint_that_is_none_is_refused(text):
    with pytest.raises(ConnectionRefused):
        Endpoint(text)
