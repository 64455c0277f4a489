"""Shell words of Dockerfiles: the table of BuildKit's frontend/dockerfile/shell, in our words."""

from __future__ import annotations

import time

import pytest

from onggi.build import gowords
from onggi.build.modes import parse as parse_mode
from onggi.build.shellwords import Lexer
from onggi.errors import InvalidArgument

VARIABLES = {"PWD": "/home", "KO": "ko", "X": "hello.tar.gz", "EMPTY": "", "PATHS": "/a/b/c", "SPACED": "two words"}


@pytest.mark.row("F-020")
@pytest.mark.row("F-021")
@pytest.mark.row("F-022")
@pytest.mark.row("F-024")
@pytest.mark.row("F-025")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("he'll'o", "hello"),
        ('he"ll"o', "hello"),
        ("'$PWD'", "$PWD"),
        ('"$PWD"', "/home"),
        (r"\$PWD", "$PWD"),
        (r"\\$PWD", r"\/home"),
        (r'"\$PWD"', "$PWD"),
        (r'"a\b"', r"a\b"),
        ("a$", "a$"),
        ("a$ b", "a$ b"),
        ("$PWD/x", "/home/x"),
        ("${PWD}x", "/homex"),
        ("$UNSET", ""),
        ("$1 $@ $$ $*", "   "),
        ("${X:-d}|${UNSET:-d}|${EMPTY:-d}|${EMPTY-d}", "hello.tar.gz|d|d|"),
        ("${X:+a}|${UNSET:+a}|${EMPTY:+a}|${EMPTY+a}", "a|||a"),
        ("${UNSET:-${KO}}", "ko"),
        ("${UNSET:-'q'}", "q"),
        ("${X?no}|${X:?no}", "hello.tar.gz|hello.tar.gz"),
        ("${X%.*}|${X%%.*}|${X#*.}|${X##*.}", "hello.tar|hello|tar.gz|gz"),
        ("${X%.??}|${X#?????}", "hello.tar|.tar.gz"),
        ("${X%nothing}|${X#nothing}", "hello.tar.gz|hello.tar.gz"),
        ("${X/l/L}|${X//l/L}|${X/l*r/-}", "heLlo.tar.gz|heLLo.tar.gz|he-.gz"),
        (r"${PATHS//\//:}", ":a:b:c"),
        ("${X/nothing/x}", "hello.tar.gz"),
        (r"${X/\*/x}", "hello.tar.gz"),
        ("한글 $PWD", "한글 /home"),
    ],
)
def test_words_expand_as_in_buildkit(text: str, expected: str) -> None:
    assert Lexer().word(text, VARIABLES) == expected


@pytest.mark.row("F-023")
@pytest.mark.row("F-026")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${", "syntax error: missing '}'"),
        ("${}", "bad substitution"),
        ("${{X}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${X", "unsupported modifier"),
        ("${X:-a", "syntax error: missing '}'"),
        ("${X^}", r"unsupported modifier \(\^\) in substitution"),
        ("${X:#a}", "unsupported modifier"),
        ("${X/a}", "syntax error: missing '/' in"),
        ("${UNSET?}", "UNSET: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${UNSET:?needed here}", "UNSET: needed here"),
        ("'open", "looking for matching single-quote"),
        ('"open', "looking for matching double-quote"),
        (r"${X%\a}", "invalid escape"),
        ("${a:-" * 200, "more than 100 substitutions"),
    ],
)
def test_broken_substitutions_are_errors_and_not_text(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Lexer().word(text, VARIABLES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("'a b' c", ["a b", "c"]),
        (r"a\ b c", ["a b", "c"]),
        ("$SPACED x", ["two", "words", "x"]),
        ('"$SPACED" x', ["two words", "x"]),
        ("", []),
    ],
)
def test_words_split_at_blanks_that_nobody_quoted(text: str, expected: list[str]) -> None:
    assert Lexer().words(text, VARIABLES) == expected


@pytest.mark.row("F-007")
def test_the_escape_directive_makes_a_backslash_plain() -> None:
    assert Lexer("`").word(r"c:\$KO `$KO", VARIABLES) == r"c:\ko $KO"


@pytest.mark.row("S-26")
@pytest.mark.parametrize(
    "text",
    [
        "${A%" + "a*" * 500 + "b}",
        "${A//" + "?" * 1000 + "b/x}",
        "${A##" + "*a" * 500 + "c}",
        "$" * 65536,
        "\\" * 65536,
        "'" * 65535,
        "${A" * 20000,
    ],
)
def test_no_pattern_costs_more_than_its_length(text: str) -> None:
    start = time.process_time()
    try:
        Lexer().word(text, {"A": "a" * 65536})
    except InvalidArgument:
        pass
    assert time.process_time() - start < 0.5


@pytest.mark.row("F-093")
@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("755", 0o600, 0o755),
        ("4755", 0o600, 0o4755),
        ("+x", 0o644, 0o755),
        ("u=rwX,go=rX", 0o600, 0o644),
        ("u=rwX,go=rX", 0o700, 0o755),
        ("g=u", 0o740, 0o770),
        ("o-r", 0o644, 0o640),
        ("u+s", 0o755, 0o4755),
        ("a=r", 0o777, 0o444),
    ],
)
def test_chmod_takes_numbers_and_words(text: str, before: int, after: int) -> None:
    assert parse_mode(text).apply(before, directory=False) == after


@pytest.mark.parametrize("text", ["", "8", "77777", "u~x", "x", "u=rw,", "+q"])
def test_chmod_refuses_what_chmod_does_not_know(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid chmod parameter"):
        parse_mode(text)


@pytest.mark.row("F-014")
@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain words", '"plain words"'), ('a "b" \\ c', r'"a \"b\" \\ c"'), ("\a\b\t\n\v\f\r", r'"\a\b\t\n\v\f\r"'), ("é€😀", '"é€😀"'),
        ("\x00\x1b\x7f", r'"\x00\x1b\x7f"'), ("\u00a0\u2028", r'"\u00a0\u2028"'), ("\U000e0001", r'"\U000e0001"'),
        (b"\x9d \xd0\x9b".decode("utf-8", "surrogateescape"), r'"\x9d Л"'),
    ],
)  # fmt: skip
def test_text_is_quoted_as_go_quotes_it(text: str, quoted: str) -> None:
    assert gowords.quoted_text(text) == quoted


@pytest.mark.row("F-014")
def test_an_error_about_bytes_that_are_no_text_can_be_said() -> None:
    found = b"${a/x/y}${B//\x9d\xd0\x9bz ".decode("utf-8", "surrogateescape")
    with pytest.raises(InvalidArgument, match=r"failed to process .*\\x9d"):
        Lexer().expand(found, {})
