"""`--log-opt tag=…`: Go's template over what docker tells a log driver of its container. Pure.

Fields, text, and docker's functions on them (moby, daemon/logger/templates); no `if` and no `range`: what there is, is
flat. What can't be read or run is refused in Go's words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from onggi.errors import InvalidArgument

_ACTION: Final = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_WORD: Final = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|\.\w+|\w+|-?\d+|\|')

_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "json": lambda value: json.dumps(value, ensure_ascii=False),
    "split": lambda text, by: text.split(by),
    "join": lambda items, by: by.join(items),
    "title": lambda text: re.sub(r"(^|\s)(\w)", lambda found: found[1] + found[2].upper(), text),
    "lower": str.lower,
    "upper": str.upper,
    "pad": lambda text, before, after: " " * before + text + " " * after if text else text,
    "truncate": lambda text, length: text[:length],
    "print": lambda *values: "".join(map(str, values)),
    "len": len,
}


def render(template: str, fields: Mapping[str, str]) -> str:
    """`template` with `fields`. Raises InvalidArgument."""
    parts: list[str] = []
    position = 0
    while (begin := template.find("{{", position)) >= 0:
        found = _ACTION.match(template, begin)
        if not found:
            line = template.count("\n", 0, begin) + 1
            raise InvalidArgument(f"template: log-tag:{line}: unclosed action")
        text = template[position:begin]
        parts.append(text.rstrip() if found[1] else text)
        parts.append(_show(_pipeline(found[2], fields, template, begin)))
        position = found.end()
        if found[3]:
            position += len(template[position:]) - len(template[position:].lstrip())
    return "".join([*parts, template[position:]])


def _pipeline(action: str, fields: Mapping[str, str], template: str, begin: int) -> Any:
    line = template.count("\n", 0, begin) + 1
    if action.strip().startswith("/*"):
        return ""
    commands: list[list[str]] = [[]]
    for word in _WORD.findall(action):
        if word == "|":
            commands.append([])
        else:
            commands[-1].append(word)
    if not all(commands):
        raise InvalidArgument(f"template: log-tag:{line}: missing value for command")
    value: tuple[Any, ...] = ()
    for name, *words in commands:
        arguments = [_operand(word, fields, line, begin) for word in words]
        if name in _FUNCTIONS:
            try:
                value = (_FUNCTIONS[name](*arguments, *value),)
            except (TypeError, ValueError, AttributeError) as error:
                raise InvalidArgument(f"template: log-tag:{line}: error calling {name}: {error}") from None
        elif name[0].isalpha():
            raise InvalidArgument(f'template: log-tag:{line}: function "{name}" not defined')
        else:
            value = (_operand(name, fields, line, begin),)
    return value[0]


def _operand(word: str, fields: Mapping[str, str], line: int, begin: int) -> Any:
    if word.startswith("."):
        if word[1:] in fields:
            return fields[word[1:]]
        raise InvalidArgument(
            f'template: log-tag:{line}:{begin + 2}: executing "log-tag" at <{word}>: '
            f"can't evaluate field {word[1:]} in type *logger.Info"
        )
    if word.startswith('"'):
        return json.loads(word)
    if word.startswith("`"):
        return word[1:-1]
    if word.lstrip("-").isdigit():
        return int(word)
    raise InvalidArgument(f'template: log-tag:{line}: function "{word}" not defined')


def _show(value: Any) -> str:
    return f"[{' '.join(value)}]" if isinstance(value, list) else str(value)
