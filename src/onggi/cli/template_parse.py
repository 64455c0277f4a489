"""Go's text/template, read: text → nodes. No I/O, nothing is evaluated.

Source: pkg.go.dev/text/template and the lexer and parser behind it. Errors are in Go's words, since scripts look for them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class TemplateError(Exception):
    """The template can't be read or can't be run. `written` is the text that came before."""

    written = ""


class ParseError(TemplateError):
    """The template can't be read."""


class Operand(NamedTuple):
    """One word of a command: a constant, a name, `.`, `$x`, a pipeline in parentheses; then the fields asked of it."""

    kind: str
    """dot, nil, constant, function, variable, pipeline."""
    value: Any
    fields: tuple[str, ...]
    text: str
    column: int
    field_column: int
    line: int


class Pipe(NamedTuple):
    """Commands, each feeding the next, and the variables that take the result."""

    names: tuple[str, ...]
    declares: bool
    commands: tuple[tuple[Operand, ...], ...]


class Node(NamedTuple):
    """text, print, if, with, range, template, break, continue."""

    kind: str
    text: str = ""
    pipe: Pipe | None = None
    body: tuple[Any, ...] = ()
    otherwise: tuple[Any, ...] = ()
    column: int = 0
    line: int = 1


_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"(?:\\.|[^"\\\n])*")|(?P<raw>`[^`]*`)|(?P<letter>'(?:\\.|[^'\\\n])+')
      |(?P<number>[-+]?(?:0[xXbBoO][0-9a-fA-F_]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?))
      |(?P<field>\.[A-Za-z_]\w*)|(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)|(?P<symbol>:=|[=|(),.])""",
    re.VERBOSE,
)
_OPEN, _CLOSE = re.compile(r"\{\{(-\s)?"), re.compile(r"(\s-)?\}\}")
_COMMENT = re.compile(r"\{\{(-\s)?\s*/\*(.*?)\*/\s*(-)?\}\}", re.DOTALL)


class Token(NamedTuple):
    kind: str
    text: str
    start: int


def fail(message: str, line: int) -> ParseError:
    return ParseError(f"template: {{name}}:{line}: {message}")


class Parser:
    """Reads one template; `root` and `defined` are what came of it."""

    def __init__(self, text: str, functions: set[str]) -> None:
        self.text, self.functions = text, functions
        self.defined: dict[str, tuple[Node, ...]] = {}
        self._parts = list(self._split())
        self._at = 0
        self._ranges = 0
        body, stop = self._block()
        if stop:
            raise fail(f"unexpected {{{{{stop[0].text}}}}}", self.line(stop[0].start))
        self.root = body

    def line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def column(self, at: int) -> int:
        return len(self.text[self.text.rfind("\n", 0, at) + 1 : at].encode())

    def _split(self) -> Any:
        """Strings of text and lists of tokens."""
        text, at, trim = self.text, 0, False
        while True:
            opened = _OPEN.search(text, at)
            piece = text[at : opened.start()] if opened else text[at:]
            piece = piece.lstrip(" \t\r\n") if trim else piece
            if not opened:
                yield piece
                return
            yield piece.rstrip(" \t\r\n") if opened[1] else piece
            if comment := _COMMENT.match(text, opened.start()):
                at, trim = comment.end(), bool(comment[3])
                continue
            tokens, at, trim = self._tokens(opened.end())
            yield tokens

    def _tokens(self, at: int) -> tuple[list[Token], int, bool]:
        """(tokens, where text goes on, whether its white space goes)."""
        tokens: list[Token] = []
        while True:
            if closed := _CLOSE.match(self.text, at):
                return tokens, closed.end(), bool(closed[1])
            found = _TOKEN.match(self.text, at)
            if not found:
                raise self._bad_character(at)
            kind = str(found.lastgroup)
            tokens.append(Token(kind, found[0], at))
            at = found.end()

    def _bad_character(self, at: int) -> ParseError:
        line = self.line(at)
        rest = self.text[at:]
        if not rest or rest[0] == "\n":
            return fail("unclosed action", line)
        if rest[0] in "\"`'":
            what = {
                '"': "unterminated quoted string",
                "`": "unterminated raw quoted string",
                "'": "unterminated character constant",
            }
            return fail(what[rest[0]], line)
        return fail(f"unexpected {_quoted(rest[0])} in command", line)

    def _block(self) -> tuple[tuple[Node, ...], list[Token]]:
        """Nodes up to `end` or `else`, and that action's words; none of them at the end of the template."""
        nodes: list[Node] = []
        while self._at < len(self._parts):
            part = self._parts[self._at]
            self._at += 1
            if isinstance(part, str):
                if part:
                    nodes.append(Node("text", part))
                continue
            words = [token for token in part if token.kind != "space"]
            first = words[0].text if words and words[0].kind == "word" else ""
            if first in ("end", "else"):
                return tuple(nodes), words
            node = self._action(first, part, words)
            if node is not None:
                nodes.append(node)
        return tuple(nodes), []

    def _action(self, first: str, part: list[Token], words: list[Token]) -> Node | None:
        if not words:
            raise fail("missing value for command", 1)
        start = words[0].start
        line, column = self.line(start), self.column(start)
        if first in ("if", "with", "range"):
            return self._control(first, part[part.index(words[0]) + 1 :], line, column)
        if first in ("break", "continue"):
            if not self._ranges:
                raise fail(f"{{{{{first}}}}} outside {{{{range}}}}", line)
            return Node(first)
        if first in ("define", "block", "template"):
            return self._named(first, part, words, line, column)
        return Node("print", pipe=_PipeParser(self, part).pipe("command"), line=line, column=column)

    def _named(self, first: str, part: list[Token], words: list[Token], line: int, column: int) -> Node | None:
        if len(words) < 2 or words[1].kind not in ("string", "raw"):
            raise fail(f"unexpected {words[1].text if len(words) > 1 else '}}'} in {first} clause", line)
        name = unquote(words[1].text)
        rest = part[part.index(words[1]) + 1 :]
        pipe = _PipeParser(self, rest).pipe("template") if any(token.kind != "space" for token in rest) else None
        if first != "template":
            self.defined[name] = self._until_end(first)[0]
        if first == "define":
            return None
        shown = self.text[self.text.rfind("{{", 0, words[0].start) : self.text.find("}}", words[1].start) + 2]
        return Node("template", name, pipe, (shown,), line=line, column=column + len("template "))

    def _until_end(self, what: str) -> tuple[tuple[Node, ...], list[Token]]:
        body, stop = self._block()
        if not stop:
            raise fail("unexpected EOF", self.line(len(self.text)))
        if what in ("define", "block") and stop[0].text == "else":
            raise fail(f"unexpected {{{{else}}}} in {what} clause", self.line(stop[0].start))
        return body, stop

    def _control(self, kind: str, tokens: list[Token], line: int, column: int) -> Node:
        pipe = _PipeParser(self, tokens).pipe(kind)
        self._ranges += kind == "range"
        body, stop = self._until_end(kind)
        self._ranges -= kind == "range"
        otherwise: tuple[Node, ...] = ()
        if stop[0].text == "else":
            if len(stop) > 1 and stop[1].text in ("if", "with"):
                otherwise = (self._control(stop[1].text, stop[2:], line, column),)
            else:
                otherwise, _ = self._until_end(kind)
        return Node(kind, pipe=pipe, body=body, otherwise=otherwise, line=line, column=column)


class _PipeParser:
    """Reads the words of one action."""

    def __init__(self, parser: Parser, tokens: list[Token]) -> None:
        self._parser, self._tokens, self._at = parser, tokens, 0

    def pipe(self, context: str) -> Pipe:
        """The whole action. `context` is what it belongs to, for messages."""
        found = self._pipe(context, nested=False)
        if self._at < len(self._tokens):
            raise self._unexpected(self._tokens[self._at], "command")
        return found

    def _fail(self, message: str) -> ParseError:
        at = self._tokens[0].start if self._tokens else 0
        return fail(message, self._parser.line(at))

    def _unexpected(self, token: Token, context: str) -> ParseError:
        shown = f"<{token.text}>" if token.kind == "symbol" and token.text == "." else _quoted(token.text)
        return self._fail(f"unexpected {shown} in {context}")

    def _skip(self) -> None:
        while self._at < len(self._tokens) and self._tokens[self._at].kind == "space":
            self._at += 1

    def _peek(self) -> Token | None:
        self._skip()
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _names(self) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =`, `$i, $x :=` at the beginning; nothing is taken when it is none of these."""
        words = [(at, token) for at, token in enumerate(self._tokens) if token.kind != "space"]
        if not words or words[0][1].kind != "variable":
            return (), False
        for count in (1, 3):
            if len(words) > count and words[count][1].text in (":=", "=") and (count == 1 or words[1][1].text == ","):
                self._at = words[count][0] + 1
                return tuple(token.text for _, token in words[:count:2]), words[count][1].text == ":="
        return (), False

    def _pipe(self, context: str, *, nested: bool) -> Pipe:
        names, declares = ((), False) if nested else self._names()
        commands = []
        while True:
            command = self._command()
            if not command and (token := self._peek()) is not None and token.text == ")" and not nested:
                raise self._fail("unexpected right paren")
            if not command:
                raise self._fail(f"missing value for {context}")
            commands.append(command)
            token = self._peek()
            if token is None or token.text != "|":
                return Pipe(names, declares, tuple(commands))
            self._at += 1

    def _command(self) -> tuple[Operand, ...]:
        operands = []
        while (token := self._peek()) is not None and token.text not in ("|", ")"):
            operands.append(self._operand())
        return tuple(operands)

    def _operand(self) -> Operand:
        token = self._tokens[self._at]
        self._at += 1
        kind, value = self._term(token)
        fields = [token.text[1:]] if token.kind == "field" else []
        last = token
        # Fields follow without a space between: `.A.B`, `$x.A`, `(f .X).A`.
        while self._at < len(self._tokens) and self._tokens[self._at].kind == "field":
            last = self._tokens[self._at]
            fields.append(last.text[1:])
            self._at += 1
        if self._at < len(self._tokens) and self._tokens[self._at].text == ".":
            raise self._unexpected(self._tokens[self._at], "operand")
        text = self._parser.text
        end = self._tokens[self._at - 1].start + len(self._tokens[self._at - 1].text)
        parser = self._parser
        # Go's field node stands where its last dot does.
        column = parser.column(token.start)
        field_column = parser.column(last.start) if last.kind == "field" else column
        return Operand(
            kind, value, tuple(fields), text[token.start : end], column, field_column, parser.line(token.start)
        )

    def _term(self, token: Token) -> tuple[str, Any]:
        match token.kind:
            case "field":
                return "dot", None
            case "variable":
                return "variable", token.text
            case "string" | "raw":
                return "constant", unquote(token.text)
            case "letter":
                return "constant", ord(unquote('"' + token.text[1:-1].replace('"', '\\"').replace("\\'", "'") + '"'))
            case "number":
                return "constant", _number(token.text)
            case "word":
                return self._word(token)
        if token.text == ".":
            return "dot", None
        if token.text == "(":
            inner = self._pipe("parenthesized pipeline", nested=True)
            closing = self._peek()
            if closing is None or closing.text != ")":
                raise self._fail("unclosed left paren")
            self._at += 1
            return "pipeline", inner
        raise self._unexpected(token, "operand")

    def _word(self, token: Token) -> tuple[str, Any]:
        if token.text in ("true", "false"):
            return "constant", token.text == "true"
        if token.text == "nil":
            return "nil", None
        if token.text not in self._parser.functions:
            raise self._fail(f'function "{token.text}" not defined')
        return "function", token.text


def _number(text: str) -> int | float:
    bare = text.replace("_", "")
    return float(bare) if re.search(r"[.eE]", bare) and not bare.lower().lstrip("+-").startswith("0x") else int(bare, 0)


def unquote(text: str) -> str:
    """A Go string constant, with its quotes."""
    if text[0] == "`":
        return text[1:-1]
    simple = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}

    def one(found: re.Match[str]) -> str:
        word = found[1]
        if word[0] in "xuU":
            return chr(int(word[1:], 16))
        return chr(int(word, 8)) if word[0].isdigit() else simple.get(word, word)

    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", one, text[1:-1])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
