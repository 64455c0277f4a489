"""YAML as programs write it for other programs: mappings, lists and scalars, in blocks or in brackets. Pure.

What CDI files are made of (nvidia-ctk writes them so). Left out, and refused by name: anchors, aliases, tags, block scalars, plain
scalars of several lines, several documents. Those make YAML a way to attack its readers; what is left is as harmless as JSON.
Source: yaml.org/spec/1.2.2, with the core schema for plain scalars (10.3.2).
"""

from __future__ import annotations

import json
import re
from typing import Final

DEPTH_LIMIT: Final = 64
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_QUOTED: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'")
_NO_PLAIN_START: Final = {"&": "an anchor", "*": "an alias", "!": "a tag", "|": "a block scalar", ">": "a block scalar", "%": "a directive", "@": "a reserved sign", "`": "a reserved sign"}  # fmt: skip


class PlainYamlError(ValueError):
    """The text isn't YAML, or has something that isn't read here; with the line's number."""


def parse(text: str) -> object:
    """What `text` says, of dict, list, str, int, float, bool and None. Raises PlainYamlError."""
    reader = _Reader(text)
    if not reader.lines:
        return None
    found = reader.block(reader.lines[0][0], 0)
    if reader.at < len(reader.lines):
        reader.refuse("it is indented otherwise than what is before it")
    return found


class _Reader:
    """`lines`: indentation, text without comment, number. `at` is the next one."""

    def __init__(self, text: str) -> None:
        self.at = 0
        self.lines: list[tuple[int, str, int]] = []
        for number, line in enumerate(text.splitlines(), 1):
            bare = _without_comment(line).rstrip()
            words = bare.lstrip(" ")
            if not words or (words == "---" and not self.lines):
                continue
            self.lines.append((len(bare) - len(words), words, number))
            if words.startswith("\t"):
                self.at = len(self.lines) - 1
                self.refuse("a tab indents it")
            if words in ("---", "...") and len(bare) == 3:
                self.at = len(self.lines) - 1
                self.refuse("only one document is read")

    def refuse(self, why: str) -> None:
        """Raises PlainYamlError for the next line, or the last."""
        number = self.lines[min(self.at, len(self.lines) - 1)][2]
        raise PlainYamlError(f"line {number}: {why}")

    def block(self, indent: int, depth: int) -> object:
        """The value that begins on the next line, which is indented by `indent`."""
        if depth > DEPTH_LIMIT:
            self.refuse(f"more than {DEPTH_LIMIT} levels")
        text = self.lines[self.at][1]
        if text == "-" or text.startswith("- "):
            return self._list(indent, depth)
        if _key_of(text) is not None:
            return self._mapping(indent, depth)
        self.at += 1
        return self._inline(text)

    def _list(self, indent: int, depth: int) -> list[object]:
        found: list[object] = []
        while self.at < len(self.lines) and self.lines[self.at][0] == indent:
            text, number = self.lines[self.at][1:]
            if text == "-":
                self.at += 1
                found.append(self._below(indent, depth))
            elif text.startswith("- "):
                # What stands after the dash is a block of its own, indented as far as it stands there.
                rest = text[2:].lstrip(" ")
                inner = indent + len(text) - len(rest)
                self.lines[self.at] = (inner, rest, number)
                found.append(self.block(inner, depth + 1))
            else:
                break
        return found

    def _mapping(self, indent: int, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while self.at < len(self.lines) and self.lines[self.at][0] == indent:
            split = _key_of(self.lines[self.at][1])
            if split is None:
                self.refuse("a key is wanted")
                break
            key, rest = str(self._inline(split[0])) if split[0][0] in "\"'" else split[0], split[1]
            if key in found:
                self.refuse(f"{key!r} is there twice")
            self.at += 1
            found[key] = self._inline(rest) if rest else self._below(indent, depth, lists_at_once=True)
        return found

    def _below(self, indent: int, depth: int, *, lists_at_once: bool = False) -> object:
        """The value of a key or a dash with nothing behind it. A list may stand right under its key."""
        if self.at == len(self.lines):
            return None
        inner, text = self.lines[self.at][:2]
        if inner > indent or (lists_at_once and inner == indent and (text == "-" or text.startswith("- "))):
            return self.block(inner, depth + 1)
        return None

    def _inline(self, text: str) -> object:
        """A scalar, or what is in brackets. On an error the line before the next is meant."""
        try:
            value, rest = _flow(text, 0) if text[0] in "[{\"'" else (_plain(text), "")
        except ValueError as error:
            self.at = max(0, self.at - 1)
            self.refuse(str(error))
            raise
        if rest.strip():
            self.at = max(0, self.at - 1)
            self.refuse(f"{rest.strip()!r} follows a value")
        return value


def _without_comment(line: str) -> str:
    """A `#` begins one after a space, or at the line's begin, but not in quotes."""
    if "#" not in line:
        return line
    at = 0
    while at < len(line):
        if line[at] == "#" and (at == 0 or line[at - 1] in " \t"):
            return line[:at]
        quoted = _QUOTED.match(line, at) if line[at] in "\"'" and (at == 0 or line[at - 1] in " [{,:-") else None
        at = quoted.end() if quoted else at + 1
    return line


def _key_of(text: str) -> tuple[str, str] | None:
    """Key and rest of a `key: value`, None when it is none."""
    if text[0] in "\"'":
        quoted = _QUOTED.match(text)
        end = quoted.end() if quoted else -1
        is_key = end > 0 and text[end : end + 1] == ":" and text[end + 1 : end + 2] in ("", " ")
        return (text[:end], text[end + 1 :].strip()) if is_key else None
    if text[0] in "[{:":
        return None
    key, colon, rest = text.partition(": ")
    if colon:
        return key.rstrip(), rest.strip()
    return (text[:-1].rstrip(), "") if text.endswith(":") else None


def _plain(text: str) -> object:
    """A scalar without quotes, by the core schema. Raises ValueError."""
    if text in _NULL:
        return None
    if text[0] in _NO_PLAIN_START:
        raise ValueError(f"{_NO_PLAIN_START[text[0]]} is not read here")
    if ": " in text or text.endswith(":"):
        raise ValueError("a mapping can't begin here")
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _flow(text: str, depth: int) -> tuple[object, str]:
    """The value at the begin of `text`, and what follows it. Raises ValueError."""
    text = text.lstrip(" ")
    if depth > DEPTH_LIMIT or not text:
        raise ValueError("a bracket isn't closed on its line" if not text else f"more than {DEPTH_LIMIT} levels")
    if text[0] in "\"'":
        quoted = _QUOTED.match(text)
        if quoted is None:
            raise ValueError("a quote isn't closed on its line")
        return _unquoted(quoted[0]), text[quoted.end() :]
    if text[0] == "[":
        return _flow_list(text[1:], depth)
    if text[0] == "{":
        return _flow_mapping(text[1:], depth)
    end = next((at for at, sign in enumerate(text) if sign in ",[]{}"), len(text))
    return _plain(text[:end].strip()), text[end:]


def _flow_list(text: str, depth: int) -> tuple[list[object], str]:
    found: list[object] = []
    text = text.lstrip(" ")
    while not text.startswith("]"):
        value, text = _flow(text, depth + 1)
        found.append(value)
        text = _after_comma(text, "]")
    return found, text[1:]


def _flow_mapping(text: str, depth: int) -> tuple[dict[str, object], str]:
    found: dict[str, object] = {}
    text = text.lstrip(" ")
    while not text.startswith("}"):
        quoted = _QUOTED.match(text)
        end = quoted.end() if quoted else text.find(":")
        key = _unquoted(quoted[0]) if quoted else text[: max(end, 0)].strip()
        if end < 0 or not text[end:].lstrip(" ").startswith(":") or key in found:
            raise ValueError("a key and a colon are wanted" if key not in found else f"{key!r} is there twice")
        value, text = _flow(text[end:].lstrip(" ")[1:], depth + 1)
        found[key] = value
        text = _after_comma(text, "}")
    return found, text[1:]


def _after_comma(text: str, close: str) -> str:
    text = text.lstrip(" ")
    if text.startswith(","):
        return text[1:].lstrip(" ")
    if not text.startswith(close):
        raise ValueError(f"a comma or {close} is wanted")
    return text


def _unquoted(text: str) -> str:
    """Escapes in double quotes are JSON's, and no others. Raises ValueError."""
    if text[0] == "'":
        return text[1:-1].replace("''", "'")
    try:
        return str(json.loads(text))
    except json.JSONDecodeError:
        raise ValueError(f"{text} has an escape that is not read here") from None
