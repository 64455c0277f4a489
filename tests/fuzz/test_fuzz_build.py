"""Dockerfiles, ignore files, patterns and contexts of strangers: an answer or one of our errors, in bounded time (F-1)."""

from __future__ import annotations

import fnmatch
import io
import tarfile
import tempfile

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.build.context import Context
from onggi.build.copyjob import CopyArgs
from onggi.build.dockerfile import parse_dockerfile
from onggi.build.entries import Received
from onggi.build.receivejob import Receive, receive
from onggi.build.shellwords import Lexer
from onggi.errors import Corrupt, InvalidArgument
from onggi.globs import Glob
from onggi.ignore import IgnoreRules, read_ignore_file

WORDS = st.sampled_from(
    ["FROM", "x", "RUN", "COPY", "ENV", "a=b", "ARG", "ONBUILD", "\\", "\n", "\n", " ", "<<EOF", "EOF", "<<-'E'", "E", '"', "'", "$x", "${x:-", "}", "#",
     "# escape=`\n", "`", "[", '["a"]', "--from=0", "--", "HEALTHCHECK", "CMD", "LABEL", "\t", "\r\n", "=", "EXPOSE", "80", "VOLUME", "\x00", "é"]
)  # fmt: skip
DOCKERFILES = st.lists(WORDS, max_size=60).map("".join) | st.text(max_size=400)


@pytest.mark.row("F-013")
@settings(max_examples=400, deadline=None)
@given(DOCKERFILES)
def test_any_text_is_a_dockerfile_or_an_error(text: str) -> None:
    try:
        found = parse_dockerfile(text.encode("utf-8", "surrogatepass"))
    except InvalidArgument:
        return
    assert found.stages


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["RUN a b", 'CMD ["a", "b"]', "ENV a=b", "COPY a b", "WORKDIR /x", "COPY <<E /x\nbody\nE", "USER u"]
        ),
        max_size=8,
    )
)
def test_what_was_parsed_and_printed_parses_to_the_same(lines: list[str]) -> None:
    first = parse_dockerfile("\n".join(["FROM x", *lines]).encode()).stages[0].instructions
    printed = []
    for instruction in first:
        printed.append(instruction.text)
        for heredoc in getattr(instruction, "heredocs", ()):
            printed.append(f"{heredoc.content}{heredoc.name}")
    second = parse_dockerfile("\n".join(["FROM x", *printed]).encode()).stages[0].instructions
    assert second == first


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="$x{}:-+?#%/\\'\"ab* \n", max_size=60))
def test_any_word_expands_or_is_an_error(text: str) -> None:
    try:
        result = Lexer().expand(text, {"x": "ab/ab", "a": ""})
    except InvalidArgument:
        return
    if not set(text) & set("$\\'\""):
        assert result.text == text


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="ab*?/", max_size=12), st.text(alphabet="ab/", max_size=14))
def test_globs_agree_with_fnmatch_on_single_names(pattern: str, path: str) -> None:
    matched = Glob(pattern, deep=False).matches(path)
    if "/" not in pattern and "/" not in path:
        assert matched == fnmatch.fnmatchcase(path, pattern)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=40))
def test_any_ignore_file_gives_rules_or_an_error(data: bytes, path: str) -> None:
    try:
        rules = IgnoreRules(read_ignore_file(data))
    except InvalidArgument:
        return
    rules.ignores(path)


def _received(data: bytes) -> Received:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as spool:
        source.write(data)
        source.seek(0)
        answer = receive(msgspec.msgpack.encode(Receive()), [source.fileno(), spool.fileno()], lambda _n: None)
        return msgspec.msgpack.decode(answer, type=Received)


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", "/", "c d", "\udcff"]), min_size=1, max_size=5).map("/".join)


@pytest.mark.row("S-49")
@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]), NAMES),
        max_size=8,
    )
)
def test_no_context_has_a_path_that_leaves_it(members: list[tuple[str, bytes, str]]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    try:
        context = Context(_received(out.getvalue()).entries, -1)
    except Corrupt:
        return
    for path, _ in context.root.walk():
        assert ".." not in path.split("/")
        assert not path.startswith("/")
    for name, _, target in members:
        context.find(name)
        context.find(target)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_a_context_or_corrupt(data: bytes) -> None:
    try:
        _received(data)
    except (Corrupt, EOFError):
        return


def test_arguments_of_the_copying_job_survive_their_encoding() -> None:
    args = CopyArgs(["l"], "u", "w", "/d", [])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(args), type=CopyArgs) == args
