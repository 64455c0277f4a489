"""A Dockerfile as logical lines: directives, comments, continuations and heredocs are dealt with here.

Pure. Behaviour: BuildKit frontend/dockerfile/parser. What isn't UTF-8 is replaced in instructions (a config can't hold it), and
kept in the bodies of heredocs, as surrogates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from onggi.build.errors import DockerfileError
from onggi.build.shellwords import Lexer
from onggi.errors import InvalidArgument

SIZE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a Dockerfile: heredocs may be long."""

_DIRECTIVE: Final = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S.*)", re.ASCII)
_HEREDOC: Final = re.compile(r"(\d*)<<(-?)([^<]*)", re.ASCII)
_BOM: Final = "\ufeff"
_KNOWN_DIRECTIVES: Final = frozenset({"syntax", "escape", "check"})
_WITH_HEREDOCS: Final = frozenset({"ADD", "COPY", "RUN"})


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`expand`: the word after << was not quoted. `chomp`: it was <<-, leading tabs go away."""

    name: str
    content: str
    expand: bool
    chomp: bool

    @property
    def text(self) -> str:
        return re.sub(r"^\t+", "", self.content, flags=re.MULTILINE) if self.chomp else self.content


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction as it was written, joined over its continuations. Lines count from 1."""

    text: str
    first: int
    last: int
    heredocs: tuple[Heredoc, ...] = ()
    comments: tuple[str, ...] = ()


@dataclass(slots=True)
class Lines:
    """All instructions of a file. `empty_continuations` are the lines on which an instruction with such ones ends."""

    lines: list[Line]
    escape: str = "\\"
    directives: dict[str, str] = field(default_factory=dict)
    empty_continuations: list[int] = field(default_factory=list)


def split_lines(data: bytes) -> Lines:
    """Raises DockerfileError."""
    if len(data) > SIZE_LIMIT:
        raise DockerfileError(f"the Dockerfile has {len(data)} bytes (at most {SIZE_LIMIT})")
    if b"\0" in data[:4096]:
        raise DockerfileError("the Dockerfile is not a text")
    raw = data.decode("utf-8", "surrogateescape").removeprefix(_BOM).split("\n")
    if raw[-1] == "":
        raw.pop()
    directives, at = _directives(raw)
    escape = directives.get("escape", "\\")
    found = _Splitter(raw, escape, at).split()
    found.directives = directives
    if not found.lines:
        raise DockerfileError("file with no instructions")
    return found


def _directives(raw: list[str]) -> tuple[dict[str, str], int]:
    """`# key=value` from the top, up to the first line that is something else; the number of lines that they take."""
    found: dict[str, str] = {}
    end = 0
    for number, line in enumerate(raw, 1):
        if number == 1 and line.startswith("#!"):
            continue
        match = _DIRECTIVE.fullmatch(line.strip())
        key = match[1].lower() if match else ""
        if match is None or key not in _KNOWN_DIRECTIVES:
            break
        if key in found:
            raise DockerfileError(f"only one {key} parser directive can be used", number, spoken=False)
        value = match[2].strip()
        if key == "escape" and value not in ("\\", "`"):
            raise DockerfileError(f"invalid escape token '{value}' does not match ` or \\", number, spoken=False)
        found[key], end = value, number
    return found, end


class _Splitter:
    """`at`: number of lines at the top that are directives."""

    def __init__(self, raw: list[str], escape: str, at: int) -> None:
        self._raw = raw
        self._at = at
        self._escape = escape

    def split(self) -> Lines:
        found = Lines([], self._escape)
        comments: list[str] = []
        while self._at < len(self._raw):
            first = self._at + 1
            line = self._take().lstrip()
            if line.startswith("#"):
                # An empty comment sets what is above it apart from the instruction below.
                comments = [*comments, line[1:].strip()] if line[1:].strip() else []
            if line.startswith("#") or not line:
                continue
            empty_continuation = False
            text, continued = self._continuation(line)
            parts = [text]
            while continued and self._at < len(self._raw):
                following = self._take()
                stripped = following.lstrip()
                if stripped.startswith("#"):
                    continue
                if not stripped:
                    empty_continuation = True
                    continue
                text, continued = self._continuation(following)
                parts.append(text)
            joined = "".join(parts)
            if empty_continuation:
                found.empty_continuations.append(self._at)
            if joined.strip():
                found.lines.append(self._with_heredocs(_utf8(joined), first, tuple(comments)))
                comments = []
        return found

    def _take(self) -> str:
        line = self._raw[self._at]
        self._at += 1
        return line.removesuffix("\r")

    def _continuation(self, line: str) -> tuple[str, bool]:
        """The line without an escape at its end, and whether it had one: an escaped escape is none."""
        stripped = line.rstrip(" \t")
        if not stripped.endswith(self._escape) or stripped.endswith(self._escape * 2):
            return line, False
        return stripped[:-1], True

    def _with_heredocs(self, text: str, first: int, comments: tuple[str, ...]) -> Line:
        if "<<" not in text or not _may_have_heredocs(text):
            return Line(text, first, self._at, (), comments)
        bodies = tuple(self._body(*begun, first) for begun in _heredocs(text))
        return Line(text, first, self._at, bodies, comments)

    def _body(self, name: str, expand: bool, chomp: bool, first: int) -> Heredoc:
        body: list[str] = []
        while self._at < len(self._raw):
            line = self._raw[self._at]
            self._at += 1
            end = line.removesuffix("\r")
            if (end.lstrip("\t") if chomp else end) == name:
                return Heredoc(name, "".join(body), expand, chomp)
            body.append(line + "\n")
        raise DockerfileError("unterminated heredoc", first, self._at, spoken=False)


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _may_have_heredocs(text: str) -> bool:
    """ADD, COPY and RUN in shell form, also behind ONBUILD."""
    words = text.split(None, 2)
    if words[0].upper() == "ONBUILD":
        words = words[1:] and [words[1], *words[2:]]
    if not words or words[0].upper() not in _WITH_HEREDOCS:
        return False
    rest = text.split(None, 1)[1].lstrip() if len(words) > 1 else ""
    return not rest.startswith("[")


def heredoc_start(word: str) -> tuple[str, bool, bool] | None:
    """Name, expand, chomp when `word` is `<<NAME`, with or without quotes; None when it is something else."""
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    try:
        plain = Lexer(skip_unset=True).words(match[3], {})
        raw = Lexer(raw_quotes=True, raw_escapes=True, skip_unset=True).words(match[3], {})
    except InvalidArgument:
        return None
    if len(plain) != 1:
        return None
    return plain[0], plain == raw, bool(match[2])


def _heredocs(text: str) -> list[tuple[str, bool, bool]]:
    """Those that begin on a line, in order. `<<` in quotes or within another word is none."""
    try:
        words = Lexer(raw_quotes=True, raw_escapes=True, skip_unset=True).words(text, {})
    except InvalidArgument:
        # An open quote is the shell's affair.
        return []
    return [begun for word in words if (begun := heredoc_start(word))]
