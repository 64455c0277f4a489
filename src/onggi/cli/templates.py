"""Go's text/template, run: nodes and data → text. Reading is template_parse.py, printing template_values.py.

Data is what JSON gives. A key that a map hasn't is `<no value>`; a field that a Struct hasn't is an error, and with
`strict` so is a missing key (docker inspect's second try). Errors are TemplateError in Go's words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onggi.cli.template_functions import EXACTLY, FUNCTIONS, LAZY, LEAST, PARAMETERS, ArgumentError
from onggi.cli.template_parse import Node, Operand, ParseError, Parser, Pipe, TemplateError
from onggi.cli.template_values import MISSING, Missing, Struct, show, type_name

__all__ = ["MISSING", "Missing", "ParseError", "Struct", "Template", "TemplateError", "show"]


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


Scopes = list[dict[str, Any]]


class Template:
    """A parsed template; `name` stands in messages. Raises ParseError."""

    def __init__(self, text: str, *, strict: bool = False, name: str = "") -> None:
        self._strict, self._name = strict, name
        self._functions: Mapping[str, Callable[..., Any]] = FUNCTIONS
        try:
            parsed = Parser(text, FUNCTIONS.keys() | LAZY)
        except ParseError as error:
            raise ParseError(str(error).replace("{name}", name, 1)) from None
        self._root, self._defined = parsed.root, parsed.defined

    def render(self, data: Any, functions: Mapping[str, Callable[..., Any]] | None = None) -> str:
        """Raises TemplateError. `functions` stand in the place of some of the usual ones."""
        self._functions = {**FUNCTIONS, **(functions or {})}
        out: list[str] = []
        try:
            self._run(self._root, data, [{"$": data}], out)
        except TemplateError as error:
            error.written = "".join(out)
            raise
        return "".join(out)

    def _error(self, operand: Operand, message: str, *, whole: str = "", column: int | None = None) -> TemplateError:
        at = operand.field_column if column is None else column
        return TemplateError(
            f'template: {self._name}:{operand.line}:{at}: executing "{self._name}" at <{whole or operand.text}>: {message}'
        )

    def _run(self, nodes: tuple[Node, ...], dot: Any, scopes: Scopes, out: list[str]) -> None:
        for node in nodes:
            match node.kind:
                case "text":
                    out.append(node.text)
                case "break":
                    raise _Break
                case "continue":
                    raise _Continue
                case "print":
                    value = self._pipe(node.pipe, dot, scopes)
                    if node.pipe and not node.pipe.names:
                        out.append(show(value))
                case "range":
                    self._range(node, dot, scopes, out)
                case "template":
                    self._template(node, dot, scopes, out)
                case _:
                    inner = [*scopes, {}]
                    value = self._pipe(node.pipe, dot, inner)
                    if value:
                        self._run(node.body, value if node.kind == "with" else dot, inner, out)
                    else:
                        self._run(node.otherwise, dot, inner, out)

    def _template(self, node: Node, dot: Any, scopes: Scopes, out: list[str]) -> None:
        value = self._pipe(node.pipe, dot, scopes) if node.pipe else None
        if node.text not in self._defined:
            raise TemplateError(
                f'template: {self._name}:{node.line}:{node.column}: executing "{self._name}" at <{node.body[0]}>: '
                f'template "{node.text}" not defined'
            )
        self._run(self._defined[node.text], value, [{"$": value}], out)

    def _range(self, node: Node, dot: Any, scopes: Scopes, out: list[str]) -> None:
        if node.pipe is None:
            raise AssertionError("the parser gives every range a pipe")
        value = self._pipe(node.pipe._replace(names=()), dot, scopes)
        pairs = self._pairs(value, node)
        for key, item in pairs:
            names = node.pipe.names
            own = {names[0]: item} if len(names) == 1 else dict(zip(names, (key, item), strict=False))
            inner = [*scopes, own if node.pipe.declares else {}]
            if not node.pipe.declares:
                for name, one in own.items():
                    _assign(name, one, inner)
            try:
                self._run(node.body, item, inner, out)
            except _Continue:
                continue
            except _Break:
                break
        if not pairs:
            self._run(node.otherwise, dot, scopes, out)

    def _pairs(self, value: Any, node: Node) -> list[tuple[Any, Any]]:
        if isinstance(value, dict) and not isinstance(value, Struct):
            return [(key, value[key]) for key in sorted(value)]
        if isinstance(value, list):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            return [(number, number) for number in range(value)]
        if value is None or isinstance(value, Missing):
            return []
        if node.pipe is None:
            raise AssertionError("the parser gives every range a pipe")
        operand = node.pipe.commands[0][0]
        raise self._error(operand, f"range can't iterate over {show(value)}", whole=_text(node.pipe))

    def _pipe(self, pipe: Pipe | None, dot: Any, scopes: Scopes) -> Any:
        if pipe is None:
            raise AssertionError("the parser gives every action a pipe")
        result: tuple[Any, ...] = ()
        for command in pipe.commands:
            result = (self._command(command, result, dot, scopes),)
        for name in pipe.names:
            if pipe.declares:
                scopes[-1][name] = result[0]
            else:
                _assign(name, result[0], scopes)
        return result[0]

    def _command(self, command: tuple[Operand, ...], piped: tuple[Any, ...], dot: Any, scopes: Scopes) -> Any:
        head, arguments = command[0], command[1:]
        if head.kind == "function":
            return self._function(command, piped, dot, scopes)
        if head.kind == "nil":
            raise self._error(head, "nil is not a command")
        value = self._operand(head, dot, scopes, calls=False)
        given = [self._operand(argument, dot, scopes) for argument in arguments] + list(piped)
        if callable(value):
            return self._method(head, value, given)
        if given and head.fields:
            raise self._error(head, f"wrong number of args for {head.fields[-1]}: want 0 got {len(given)}")
        if given:
            raise self._error(head, f"can't give argument to non-function {head.text}")
        return value

    def _method(self, operand: Operand, method: Callable[..., Any], given: list[Any]) -> Any:
        """A row's method: `.Label "key"` takes one argument, any other none."""
        wanted = method.__code__.co_argcount if hasattr(method, "__code__") else 0
        if len(given) != wanted:
            raise self._error(operand, f"wrong number of args for {operand.fields[-1]}: want {wanted} got {len(given)}")
        return method(*given)

    def _function(self, command: tuple[Operand, ...], piped: tuple[Any, ...], dot: Any, scopes: Scopes) -> Any:
        head, arguments = command[0], command[1:]
        name, whole = head.value, _words(command)
        given = len(arguments) + len(piped)
        if given < LEAST.get(name, 0) or given != EXACTLY.get(name, given):
            wanted = f"want {EXACTLY[name]}" if name in EXACTLY else f"want at least {LEAST[name]}"
            raise self._error(head, f"wrong number of args for {name}: {wanted} got {given}")
        if name in LAZY:
            return self._and_or(name, arguments, piped, dot, scopes)
        values = [self._operand(argument, dot, scopes) for argument in arguments]
        if name == "call" and not callable(values[0]):
            raise self._error(head, f"error calling call: non-function {arguments[0].text} of type {type_name(values[0])}", whole=whole)  # fmt: skip
        for argument, value, kind in zip((*arguments, head), (*values, *piped), PARAMETERS.get(name, ()), strict=False):
            self._check_type(argument, value, kind)
        try:
            result = self._functions[name](*values, *piped)
        except ArgumentError as error:
            raise self._error(head, f"error calling {name}: {error}", whole=whole) from None
        except (TypeError, AttributeError):
            raise self._error(head, f"wrong number or type of args for {name}", whole=whole) from None
        return self._fields(head._replace(kind="pipeline"), result) if head.fields else result

    def _check_type(self, operand: Operand, value: Any, kind: type) -> None:
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return
        name = {str: "string", list: "[]string", int: "int"}[kind]
        if operand.kind == "constant":
            raise self._error(operand, f"expected {'integer' if kind is int else name}; found {operand.text}")
        raise self._error(operand, f"wrong type for value; expected {name}; got {type_name(value)}")

    def _and_or(
        self, name: str, arguments: tuple[Operand, ...], piped: tuple[Any, ...], dot: Any, scopes: Scopes
    ) -> Any:
        value: Any = None
        for argument in arguments:
            value = self._operand(argument, dot, scopes)
            if bool(value) == (name == "or"):
                return value
        return piped[0] if piped else value

    def _operand(self, operand: Operand, dot: Any, scopes: Scopes, *, calls: bool = True) -> Any:
        match operand.kind:
            case "constant":
                value = operand.value
            case "nil":
                return None
            case "dot":
                value = dot
            case "pipeline":
                value = self._pipe(operand.value, dot, scopes)
            case "function":
                return self._function((operand,), (), dot, scopes)
            case _:
                value = self._variable(operand, scopes)
        value = self._fields(operand, value)
        return self._method(operand, value, []) if calls and callable(value) else value

    def _variable(self, operand: Operand, scopes: Scopes) -> Any:
        for scope in reversed(scopes):
            if operand.value in scope:
                return scope[operand.value]
        raise ParseError(f'template: {self._name}:{operand.line}: undefined variable "{operand.value}"')

    def _fields(self, operand: Operand, value: Any) -> Any:
        for at, key in enumerate(operand.fields):
            value = self._field(operand, value, key, at)
        return value

    def _field(self, operand: Operand, value: Any, key: str, at: int) -> Any:
        """Go's position of a field is that of its dot in the whole chain."""
        before = sum(len(name) + 1 for name in operand.fields[at:])
        end = operand.column + len(operand.text.encode())
        column = end - before if operand.kind != "pipeline" else operand.field_column
        if isinstance(value, Struct):
            if key in value and key not in value.hidden:
                return value[key]
            if key in value.extra:
                return value.extra[key]
            raise self._error(
                operand, f"can't evaluate field {key} in type {value.go_type or 'interface {}'}", column=column
            )
        if isinstance(value, dict):
            if key in value:
                return MISSING if self._strict and value[key] is None else value[key]
            if self._strict:
                raise self._error(operand, f'map has no entry for key "{key}"', column=column)
            return MISSING
        if value is None or isinstance(value, Missing):
            raise self._error(operand, f"nil pointer evaluating interface {{}}.{key}", column=column)
        kind = "interface {}" if self._strict else type_name(value)
        raise self._error(operand, f"can't evaluate field {key} in type {kind}", column=column)


def _assign(name: str, value: Any, scopes: Scopes) -> None:
    next((scope for scope in reversed(scopes) if name in scope), scopes[-1])[name] = value


def _words(command: tuple[Operand, ...]) -> str:
    return " ".join(operand.text for operand in command)


def _text(pipe: Pipe) -> str:
    return " | ".join(_words(command) for command in pipe.commands)
