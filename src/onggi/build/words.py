"""The arguments of one instruction: flags, words, JSON arrays, name=value pairs. Pure; behaviour as BuildKit's parser."""

from __future__ import annotations

from typing import Final

import msgspec

from onggi.build.suggest import suggestion
from onggi.errors import InvalidArgument

_WORD_ENDS: Final = frozenset(" \t\v\f\r")


class NotStrings(InvalidArgument):
    """A JSON array that holds something else: found while lines are read, before there is an instruction."""


def split_command(text: str) -> tuple[str, list[str], str]:
    """The instruction's word, its `--flag`s, and the rest without blanks around it."""
    word, _, rest = _cut(text.strip())
    flags, rest = _flags(rest)
    return word.upper(), flags, rest.strip()


def _cut(text: str) -> tuple[str, str, str]:
    for at, letter in enumerate(text):
        if letter in _WORD_ENDS:
            return text[:at], letter, text[at + 1 :].lstrip()
    return text, "", ""


def _flags(text: str) -> tuple[list[str], str]:
    """Leading words that begin with `--`; quotes and backslashes in them are taken away. `--` alone ends them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith("--", at):
            return flags, text[at:]
        word: list[str] = []
        quote = ""
        while at < len(text):
            letter = text[at]
            if quote and letter == quote:
                quote = ""
            elif not quote and letter in "'\"":
                quote = letter
            elif not quote and letter.isspace():
                break
            elif letter == "\\":
                at += 1
                word.append(text[at : at + 1])
            else:
                word.append(letter)
            at += 1
        flag = "".join(word)
        if flag == "--":
            return flags, text[at:]
        flags.append(flag)


def split_words(text: str, escape: str) -> list[str]:
    """At blanks that are not quoted or escaped. Quotes and escapes stay: the lexer takes them away later."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    quoted = False
    at = 0
    while at < len(text):
        letter = text[at]
        at += 1
        if not quote and letter.isspace():
            if word or quoted:
                words.append("".join(word))
            word, quoted = [], False
            continue
        if letter == escape and quote != "'":
            if at == len(text):
                break
            word += (letter, text[at])
            at += 1
            continue
        if not quote and letter in "'\"":
            quote, quoted = letter, True
        elif letter == quote:
            quote = ""
        word.append(letter)
    if word or quoted:
        words.append("".join(word))
    return words


def json_array(text: str) -> list[str] | None:
    """The strings of a JSON array; None for what is none, which then is shell form without a word.

    Raises InvalidArgument for an array that holds anything else.
    """
    if not text.startswith("["):
        return None
    try:
        found = msgspec.json.decode(text.encode("utf-8"))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise NotStrings("when using JSON array syntax, arrays must be comprised of strings only")
    return list(found)


def name_values(text: str, instruction: str, escape: str) -> tuple[list[tuple[str, str]], bool]:
    """`name=value …`, or the old `name value`, which the second part says. Raises InvalidArgument."""
    words = split_words(text, escape)
    if not words:
        raise InvalidArgument(f"{instruction} requires at least one argument")
    if "=" not in words[0]:
        name, separator, value = _cut(text)
        if not separator:
            raise InvalidArgument(f"{instruction} must have two arguments")
        return [(name, value)], True
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise InvalidArgument(f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value')
        if not name:
            raise InvalidArgument(f"{instruction} names can not be blank")
        pairs.append((name, value))
    return pairs, False


def split_blanks(text: str) -> list[str]:
    """At every blank, quoted or not: EXPOSE, FROM, and COPY in its shell form."""
    return text.split()


class Flags:
    """The flags of one instruction, each at most once unless it is a list. Raises InvalidArgument as docker does."""

    def __init__(
        self, given: list[str], strings: tuple[str, ...], booleans: tuple[str, ...], lists: tuple[str, ...]
    ) -> None:
        self._values: dict[str, list[str]] = {}
        for flag in given:
            name, separator, value = flag[2:].partition("=")
            if name not in (*strings, *booleans, *lists):
                raise InvalidArgument(f"unknown flag: --{name}{suggestion(name, (*strings, *booleans, *lists))}")
            if name in self._values and name not in lists:
                raise InvalidArgument(f"duplicate flag specified: --{name}")
            if name in booleans:
                if separator and value.lower() not in ("true", "false"):
                    raise InvalidArgument(
                        f"expecting boolean value for flag --{name}, not: {value}"
                        if value
                        else f"missing a value on flag: --{name}"
                    )
                value = "false" if value.lower() == "false" else "true"
            elif not separator:
                raise InvalidArgument(f"missing a value on flag: --{name}")
            self._values.setdefault(name, []).append(value)

    def given(self, name: str) -> bool:
        return name in self._values

    def one(self, name: str) -> str:
        return self._values.get(name, [""])[0]

    def true(self, name: str) -> bool:
        return self.one(name) == "true"

    def maybe(self, name: str) -> bool | None:
        """None when it wasn't given."""
        return self.one(name) == "true" if name in self._values else None

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self._values.get(name, ()))
