"""Words of a Dockerfile: quotes, escapes and variables, as BuildKit reads them (not quite as a shell does).

Pure. `Lexer.word` keeps blanks, `Lexer.words` splits at those that are not quoted, after substitution. Behaviour: BuildKit
frontend/dockerfile/shell, whose test table is among our tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from onggi.build import shellpatterns
from onggi.build.gowords import quoted_text
from onggi.errors import InvalidArgument

_SPECIAL: Final = frozenset("@*#?-$!0")
"""One-letter parameters of a shell: names like any other here, and never set."""

_DEPTH_LIMIT: Final = 100
"""`${a:-${b:-${c…`: nobody writes more, and each level is a call."""


@dataclass(slots=True)
class Expansion:
    """`used` and `missing` are the names that were looked up and were there, or not."""

    text: str
    words: list[str]
    used: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Lexer:
    """`raw_quotes` and `raw_escapes` leave them in the result; `skip_unset` leaves variables that aren't set as they stand."""

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    skip_quotes: bool = False
    skip_unset: bool = False

    def expand(self, text: str, variables: Mapping[str, str], missing: set[str] | None = None) -> Expansion:
        """Raises InvalidArgument on an open quote or a broken `${…}`; `missing` then has the names that were looked up till there."""
        reading = _Reading(self, text, variables, set() if missing is None else missing)
        result, words = reading.until("", raw_escapes=self.raw_escapes)
        return Expansion(result, words, reading.used, reading.missing)

    def word(self, text: str, variables: Mapping[str, str]) -> str:
        return self.expand(text, variables).text

    def words(self, text: str, variables: Mapping[str, str]) -> list[str]:
        return self.expand(text, variables).words


class _Words:
    """Collects letters into words; only letters that come through `plain` can end one."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._word: list[str] = []

    def plain(self, text: str) -> None:
        for letter in text:
            if not letter.isspace():
                self._word.append(letter)
            elif self._word:
                self._words.append("".join(self._word))
                self._word = []

    def quoted(self, text: str) -> None:
        if text:
            self._word.append(text)

    def end(self) -> list[str]:
        if self._word:
            self._words.append("".join(self._word))
            self._word = []
        return self._words


class _Reading:
    """One pass over a text. `_at` is the next letter; the end of the text is the empty string."""

    def __init__(self, lexer: Lexer, text: str, variables: Mapping[str, str], missing: set[str]) -> None:
        self._lexer = lexer
        self._text = text
        self._variables = variables
        self._at = 0
        self._depth = 0
        self._raw_escapes = lexer.raw_escapes
        self.used: set[str] = set()
        self.missing = missing

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        letter = self._text[self._at : self._at + 1]
        self._at += 1
        return letter

    def until(self, stop: str, *, raw_escapes: bool) -> tuple[str, list[str]]:
        """Up to `stop`, which is passed, or to the end of the text when `stop` is empty."""
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise self._error(f"more than {_DEPTH_LIMIT} substitutions in each other")
        before, self._raw_escapes = self._raw_escapes, raw_escapes
        try:
            return self._until(stop)
        finally:
            self._raw_escapes = before
            self._depth -= 1

    def _until(self, stop: str) -> tuple[str, list[str]]:
        result: list[str] = []
        words = _Words()
        escape = self._lexer.escape
        quotes = not self._lexer.skip_quotes
        while letter := self._peek():
            if letter == stop:
                self._at += 1
                return "".join(result), words.end()
            if letter == "$":
                value = self._dollar()
                result.append(value)
                words.plain(value)
            elif quotes and letter in "'\"":
                value = self._single() if letter == "'" else self._double()
                result.append(value)
                words.quoted(value)
            elif letter == escape:
                self._at += 1
                if self._raw_escapes:
                    result.append(letter)
                    words.quoted(letter)
                escaped = self._next()
                result.append(escaped)
                words.quoted(escaped)
            else:
                self._at += 1
                result.append(letter)
                words.plain(letter)
        if stop:
            raise self._error(f"unexpected end of statement while looking for matching {stop}")
        return "".join(result), words.end()

    def _single(self) -> str:
        """Everything up to the next quote, as it is."""
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._error("unexpected end of statement while looking for matching single-quote")
        start, self._at = self._at, end + 1
        return self._text[start : end + 1] if self._lexer.raw_quotes else self._text[start + 1 : end]

    def _double(self) -> str:
        """Variables are replaced; only the quote, the dollar and the escape itself can be escaped."""
        escape = self._lexer.escape
        result = ['"'] if self._lexer.raw_quotes else []
        self._at += 1
        while letter := self._peek():
            if letter == '"':
                self._at += 1
                if self._lexer.raw_quotes:
                    result.append(letter)
                return "".join(result)
            if letter == "$":
                result.append(self._dollar())
                continue
            self._at += 1
            if letter == escape:
                if self._raw_escapes:
                    result.append(letter)
                following = self._peek()
                if not following:
                    continue
                if following in ('"', "$", escape):
                    letter = self._next()
            result.append(letter)
        raise self._error("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._value(name)
            return f"${name}" if value is None and self._lexer.skip_unset else value or ""
        self._at += 1
        following = self._peek()
        if not following:
            raise self._error("syntax error: missing '}'")
        if following in "{}:":
            raise self._error("syntax error: bad substitution")
        return self._braces(self._name())

    def _braces(self, name: str) -> str:
        """What stands between the name and the closing brace says what becomes of the value."""
        modifier = sign = self._next()
        if sign == "}":
            value = self._value(name)
            return f"${{{name}}}" if value is None and self._lexer.skip_unset else value or ""
        if sign == "/":
            return self._replacement(name)
        if sign == ":":
            sign = self._next()
            modifier += sign
        if not sign or sign not in "+-?#%":
            if sign:
                self._value(name)
            raise self._error(f"unsupported modifier ({modifier or chr(0xFFFD)}) in substitution")
        word = self._inner("}", "syntax error: missing '}'", raw_escapes=sign in "#%")
        value = self._value(name)
        if value is None and self._lexer.skip_unset:
            return f"${{{name}{modifier}{word}}}"
        if sign in "#%":
            return self._trimmed(sign, word, value or "", modifier)
        empty = value is None or (modifier[0] == ":" and not value)
        match sign:
            case "-":
                return word if empty else value or ""
            case "+":
                return "" if empty else word
            case _:
                if empty:
                    state = "unset" if value is None else "empty"
                    raise self._error(f"{name}: {word or f'is not allowed to be {state}'}")
                return value or ""

    def _trimmed(self, sign: str, pattern: str, value: str, modifier: str) -> str:
        if modifier[0] == ":":
            raise self._error(f"unsupported modifier ({modifier or chr(0xFFFD)}) in substitution")
        greedy = pattern.startswith(sign)
        trim = shellpatterns.trim_prefix if sign == "#" else shellpatterns.trim_suffix
        return trim(pattern[1:] if greedy else pattern, value, greedy=greedy)

    def _replacement(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._at += 1
        pattern = self._inner("/", "syntax error: missing '/' in ${}", raw_escapes=True)
        replacement = self._inner("}", "syntax error: missing '}'", raw_escapes=True)
        value = self._value(name)
        if value is None and self._lexer.skip_unset:
            return f"${{{name}/{'/' if every else ''}{pattern}/{replacement}}}"
        return shellpatterns.replace(pattern, replacement, value or "", every=every)

    def _inner(self, stop: str, missing: str, *, raw_escapes: bool) -> str:
        try:
            return self.until(stop, raw_escapes=raw_escapes)[0]
        except InvalidArgument:
            if self._at >= len(self._text):
                raise self._error(missing) from None
            raise

    def _name(self) -> str:
        """Letters, digits and underscores; digits alone, or one special sign."""
        start = self._at
        text = self._text
        letter = text[start : start + 1]
        if letter.isdigit():
            while text[self._at : self._at + 1].isdigit():
                self._at += 1
        elif letter and letter in _SPECIAL:
            self._at += 1
        else:
            while (letter := text[self._at : self._at + 1]) == "_" or letter.isalpha() or letter.isdigit():
                self._at += 1
        return text[start : self._at]

    def _value(self, name: str) -> str | None:
        value = self._variables.get(name)
        (self.missing if value is None else self.used).add(name)
        return value

    def _error(self, message: str) -> InvalidArgument:
        shown = self._text if len(self._text) <= 200 else self._text[:200] + "…"
        return InvalidArgument(f"failed to process {quoted_text(shown)}: {message}")
