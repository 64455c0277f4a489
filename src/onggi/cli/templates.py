"""Go's text/template, as far as --format uses it: fields, pipelines, if, range, with, variables, functions.

Source: pkg.go.dev/text/template. Data is what JSON gives: dict, list, str, int, float, bool, None. Parsing and running
do no I/O; `render` gives text, errors are TemplateError in Go's words where scripts look for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r'\s+|"(?:\\.|[^"\\])*"|`[^`]*`|:=|=|[|(),]|\$?\.?[A-Za-z_$][\w$]*(?:\.\w+)*|(?:\.\w+)+|\.|-?\d+(?:\.\d+)?'
)


class TemplateError(Exception):
    """The template can't be read or can't be run."""


class Missing:
    """No such key: prints as `<no value>`, and is false."""

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


def show(value: Any) -> str:
    """`value` as Go's fmt prints it with %v."""
    if value is None:
        return "<nil>"
    if isinstance(value, Missing):
        return "<no value>"
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(show(item) for item in value) + "]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)


def go_json(value: Any) -> str:
    return json.dumps(None if isinstance(value, Missing) else value, separators=(",", ":"), ensure_ascii=False)


def _compare(operation: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def run(left: Any, *right: Any) -> bool:
        try:
            return any(operation(left, other) for other in right)
        except TypeError as error:
            raise TemplateError("incompatible types for comparison") from error

    return run


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, MISSING)
        elif isinstance(value, (list, str)) and isinstance(key, int):
            if not -1 < key < len(value):
                raise TemplateError(f"error calling index: reflect: slice index out of range: {key}")
            value = value[key]
        elif value is None or isinstance(value, Missing):
            raise TemplateError("error calling index: index of untyped nil")
        else:
            raise TemplateError(f"error calling index: can't index item of type {type(value).__name__}")
    return value


def _truncate(text: Any, length: int) -> str:
    return str(text)[:length]


def _printf(form: str, *values: Any) -> str:
    verbs = iter(values)

    def one(found: re.Match[str]) -> str:
        if found[2] == "%":
            return "%"
        value = next(verbs, MISSING)
        if found[2] in "vs":
            return f"%{found[1]}s" % show(value)
        if found[2] == "q":
            return json.dumps(str(value), ensure_ascii=False)
        return f"%{found[1]}{found[2]}" % value

    return re.sub(r"%([-+# 0]*\d*(?:\.\d+)?)([a-zA-Z%])", one, form)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": go_json,
    "split": lambda text, by: str(text).split(by),
    "join": lambda items, by: by.join(show(item) for item in items or []),
    "title": lambda text: str(text).title(),
    "lower": lambda text: str(text).lower(),
    "upper": lambda text: str(text).upper(),
    "pad": lambda text, before, after: (" " * before + str(text) + " " * after) if text else text,
    "truncate": _truncate,
    "println": lambda *values: " ".join(map(show, values)) + "\n",
    "print": lambda *values: "".join(map(show, values)),
    "printf": _printf,
    "len": lambda value: len(value or ()),
    "index": _index,
    "slice": lambda value, start=0, end=None: value[start:end],
    "not": lambda value: not value,
    "eq": _compare(lambda a, b: a == b),
    "ne": lambda a, b: a != b,
    "lt": _compare(lambda a, b: a < b),
    "le": _compare(lambda a, b: a <= b),
    "gt": _compare(lambda a, b: a > b),
    "ge": _compare(lambda a, b: a >= b),
    "html": lambda value: show(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    "urlquery": lambda value: "".join(
        c if c.isalnum() or c in "-_.~" else "".join(f"%{b:02X}" for b in c.encode()) for c in show(value)
    ),
}

Node = tuple[Any, ...]
"""(kind, …): text, print, if, with, range, set, each with its parts."""


class Template:
    """A parsed template. `strict` makes a missing key an error, as `docker inspect` does for its second try."""

    def __init__(self, text: str, *, strict: bool = False) -> None:
        self._strict = strict
        self._parts = self._split(text)
        self._at = 0
        self._column = 0
        self._body = self._block(("",))[0]

    def render(self, data: Any) -> str:
        out: list[str] = []
        self._run(self._body, data, [{"$": data}], out)
        return "".join(out)

    @staticmethod
    def _split(text: str) -> list[tuple[str, str, int]]:
        parts: list[tuple[str, str, int]] = []
        end, trim = 0, False
        for found in _ACTION.finditer(text):
            before = text[end : found.start()]
            before = before.lstrip() if trim else before
            parts.append(("text", before.rstrip() if found[1] else before, 0))
            action = found[2].strip()
            if not action.startswith("/*"):
                line_start = text.rfind("\n", 0, found.start()) + 1
                parts.append(("action", action, found.start(2) + len(found[2]) - len(found[2].lstrip()) - line_start))
            end, trim = found.end(), bool(found[3])
        rest = text[end:]
        if "{{" in rest:
            raise TemplateError("template parsing error: template: :1: unclosed action")
        return [*parts, ("text", rest.lstrip() if trim else rest, 0)]

    def _block(self, until: tuple[str, ...]) -> tuple[list[Node], str]:
        """Nodes up to one of the words in `until`, and that word's whole action."""
        nodes: list[Node] = []
        while self._at < len(self._parts):
            kind, text, column = self._parts[self._at]
            self._at += 1
            if kind == "text":
                if text:
                    nodes.append(("text", text))
                continue
            word = text.partition(" ")[0]
            if word in until:
                return nodes, text
            if word in ("if", "with", "range"):
                nodes.append(self._control(word, text[len(word) :]))
            elif word in ("end", "else"):
                raise TemplateError(f"template parsing error: template: :1: unexpected {{{{{word}}}}}")
            elif found := re.match(r"(\$\w*)\s*:?=(.*)", text, re.DOTALL):
                nodes.append(("set", found[1], _pipeline(found[2])))
            else:
                nodes.append(("print", _pipeline(text), column))
        if "" not in until:
            raise TemplateError("template parsing error: template: :1: unexpected EOF")
        return nodes, ""

    def _control(self, word: str, rest: str) -> Node:
        names: list[str] = []
        if found := re.match(r"\s*(\$\w+)(?:\s*,\s*(\$\w+))?\s*:=(.*)", rest, re.DOTALL):
            names, rest = [name for name in found.groups()[:2] if name], found[3]
        pipe = _pipeline(rest)
        body, stop = self._block(("end", "else"))
        otherwise: list[Node] = []
        if stop.startswith("else"):
            following = stop[4:].strip()
            if following:
                inner = following.partition(" ")[0]
                otherwise = [self._control(inner, following[len(inner) :])]
            else:
                otherwise, _ = self._block(("end",))
        return (word, names, pipe, body, otherwise)

    def _run(self, nodes: list[Node], dot: Any, scopes: list[dict[str, Any]], out: list[str]) -> None:
        for node in nodes:
            match node[0]:
                case "text":
                    out.append(node[1])
                case "print":
                    self._column = node[2]
                    out.append(show(self._value(node[1], dot, scopes)))
                case "set":
                    scope = next((s for s in reversed(scopes) if node[1] in s), scopes[-1])
                    scope[node[1]] = self._value(node[2], dot, scopes)
                case "range":
                    self._range(node, dot, scopes, out)
                case _:
                    _, names, pipe, body, otherwise = node
                    value = self._value(pipe, dot, scopes)
                    inner = [*scopes, dict.fromkeys(names, value)]
                    if value:
                        self._run(body, value if node[0] == "with" else dot, inner, out)
                    else:
                        self._run(otherwise, dot, scopes, out)

    def _range(self, node: Node, dot: Any, scopes: list[dict[str, Any]], out: list[str]) -> None:
        _, names, pipe, body, otherwise = node
        value = self._value(pipe, dot, scopes)
        pairs = (
            [(key, value[key]) for key in sorted(value)] if isinstance(value, dict) else list(enumerate(value or ()))
        )
        for pair in pairs:
            own = dict(zip(names, pair if len(names) == 2 else pair[1:], strict=False))
            self._run(body, pair[1], [*scopes, own], out)
        if not pairs:
            self._run(otherwise, dot, scopes, out)

    def _value(self, pipe: list[list[Any]], dot: Any, scopes: list[dict[str, Any]]) -> Any:
        result: tuple[Any, ...] = ()
        for command in pipe:
            result = (self._command(command, result, dot, scopes),)
        return result[0]

    def _command(self, command: list[Any], piped: tuple[Any, ...], dot: Any, scopes: list[dict[str, Any]]) -> Any:
        head, arguments = command[0], command[1:]
        if isinstance(head, str) and head in ("and", "or"):
            value: Any = None
            for argument in (*arguments, *(("value", p) for p in piped)):
                value = self._operand(argument, dot, scopes)
                if bool(value) == (head == "or"):
                    break
            return value
        if isinstance(head, str) and head in FUNCTIONS:
            values = [self._operand(argument, dot, scopes) for argument in arguments]
            try:
                return FUNCTIONS[head](*values, *piped)
            except TemplateError:
                raise
            except (TypeError, ValueError, AttributeError, IndexError) as error:
                raise TemplateError(f"error calling {head}: {error}") from error
        if isinstance(head, str) and re.fullmatch(r"[A-Za-z_]\w*", head) and head not in ("true", "false", "nil"):
            raise TemplateError(f'template parsing error: template: :1: function "{head}" not defined')
        value = self._operand(head, dot, scopes)
        if callable(value):
            return value(*[self._operand(argument, dot, scopes) for argument in arguments], *piped)
        return value

    def _operand(self, word: Any, dot: Any, scopes: list[dict[str, Any]]) -> Any:
        if isinstance(word, list):
            return self._value(word, dot, scopes)
        if isinstance(word, tuple):
            return word[1]
        if word in ("true", "false", "nil"):
            return {"true": True, "false": False, "nil": None}[word]
        if word == ".":
            return dot
        name, _, path = word.partition(".")
        value = dot
        if name.startswith("$"):
            value = next((scope[name] for scope in reversed(scopes) if name in scope), MISSING)
            if isinstance(value, Missing):
                raise TemplateError(f'template parsing error: template: :1: undefined variable "{name}"')
        for key in path.split(".") if path else ():
            value = self._field(value, key, word)
        return value

    def _field(self, value: Any, key: str, word: str) -> Any:
        if isinstance(value, dict):
            if key in value:
                return value[key]
            if self._strict:
                raise TemplateError(
                    f'template: :1:{self._column}: executing "" at <{word}>: map has no entry for key "{key}"'
                )
            return MISSING
        if value is None or isinstance(value, Missing):
            if self._strict:
                raise TemplateError(
                    f'template: :1:{self._column}: executing "" at <{word}>: nil pointer evaluating interface {{}}.{key}'
                )
            return MISSING
        raise TemplateError(
            f'template: :1:{self._column}: executing "" at <{word}>: can\'t evaluate field {key} in type {type(value).__name__}'
        )


def _pipeline(text: str) -> list[list[Any]]:
    """Commands separated by `|`; a command is a list of words, a word a string, a ("value", x) or a nested pipeline."""
    tokens, end = [], 0
    while end < len(text):
        found = _TOKEN.match(text, end)
        if not found:
            raise TemplateError(f"template parsing error: template: :1: unexpected {text[end]!r} in command")
        end = found.end()
        if found[0].strip():
            tokens.append(found[0])
    pipe, rest = _commands(tokens)
    if rest or not pipe[-1]:
        raise TemplateError("template parsing error: template: :1: missing value for command")
    return pipe


def _commands(tokens: list[str]) -> tuple[list[list[Any]], list[str]]:
    pipe: list[list[Any]] = [[]]
    while tokens:
        token, tokens = tokens[0], tokens[1:]
        if token == ")":
            return pipe, [")", *tokens]
        if token == "(":
            nested, tokens = _commands(tokens)
            if not tokens:
                raise TemplateError("template parsing error: template: :1: unclosed left paren")
            tokens = tokens[1:]
            pipe[-1].append(nested)
        elif token == "|":
            pipe.append([])
        elif token[0] == '"':
            pipe[-1].append(("value", json.loads(token, strict=False)))
        elif token[0] == "`":
            pipe[-1].append(("value", token[1:-1]))
        elif token[0].isdigit() or token[0] == "-":
            pipe[-1].append(("value", float(token) if "." in token else int(token)))
        else:
            pipe[-1].append(token)
    return pipe, []
