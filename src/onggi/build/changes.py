"""Dockerfile lines that change a config alone: `commit --change`, `import --change`. Pure.

Source: moby daemon/builder/dockerfile, BuildFromConfig: the lines are read and carried out as the classic builder does it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from onggi.build import ports
from onggi.build.instructions import (
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    OnBuild,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from onggi.build.lines import split_lines
from onggi.build.parse import parse_line
from onggi.build.shellwords import Lexer
from onggi.build.signals import check_signal
from onggi.errors import InvalidArgument
from onggi.oci.image import RunConfig

_ALLOWED: Final = frozenset(
    {"cmd", "entrypoint", "healthcheck", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir"}
)
_SHELL: Final = ("/bin/sh", "-c")


def apply_changes(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """`config` after all of them. Raises InvalidArgument in dockerd's words."""
    if not changes:
        return config
    applied = _Changes(config)
    for line in split_lines("\n".join(changes).encode("utf-8", "surrogateescape")).lines:
        word = line.text.split(None, 1)[0]
        if word.lower() not in _ALLOWED:
            raise InvalidArgument(f"{word} is not a valid change command")
        # Of no file: an error has no line to name.
        applied.apply(parse_line(replace(line, first=0), "\\"))
    return applied.config


class _Changes:
    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self._lexer = Lexer()
        self._has_command = False

    def apply(self, instruction: Instruction) -> None:
        """Raises InvalidArgument."""
        config = self.config
        match instruction:
            case Env(pairs=pairs):
                new = {self._word(name): self._word(value) for name, value in pairs}
                kept = [word for word in config.env or () if word.partition("=")[0] not in new]
                self._set(env=[*kept, *(f"{name}={value}" for name, value in new.items())])
            case Label(pairs=pairs):
                self._set(labels=(config.labels or {}) | {self._word(name): self._word(value) for name, value in pairs})
            case Cmd():
                self._has_command = True
                self._set(cmd=self._command(instruction))
            case Entrypoint():
                # The CMD that was there was meant for another one.
                self._set(entrypoint=self._command(instruction), cmd=config.cmd if self._has_command else None)
            case Expose(ports=words):
                found = [port for word in words for expanded in self._words(word) for port in ports.exposed(expanded)]
                self._set(exposed_ports=(config.exposed_ports or {}) | {port: dict[str, object]() for port in found})
            case Healthcheck(health=health):
                self._set(healthcheck=health)
            case User(user=user):
                self._set(user=self._word(user))
            case Volume(paths=paths):
                self._set(volumes=(config.volumes or {}) | {self._word(path): {} for path in paths})
            case Workdir(path=path):
                self._set(
                    working_dir=posixpath.normpath(posixpath.join("/", config.working_dir or "/", self._word(path)))
                )
            case StopSignal(signal=name):
                name = self._word(name)
                check_signal(name)
                self._set(stop_signal=name)
            case OnBuild(expression=expression):
                self._set(on_build=[*(config.on_build or ()), expression])
            case _:
                raise AssertionError(type(instruction).__name__)

    def _set(self, **fields: object) -> None:
        self.config = msgspec.structs.replace(self.config, **fields)

    def _command(self, instruction: Cmd | Entrypoint) -> list[str]:
        if instruction.is_json:
            return list(instruction.words)
        return [*(self.config.shell or _SHELL), " ".join(instruction.words)]

    def _word(self, text: str) -> str:
        return self._lexer.word(text, self._environment())

    def _words(self, text: str) -> list[str]:
        return self._lexer.words(text, self._environment())

    def _environment(self) -> dict[str, str]:
        return dict(word.partition("=")[::2] for word in self.config.env or ())
