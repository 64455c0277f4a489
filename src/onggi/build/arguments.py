"""Build arguments: which names mean what, where. Pure.

ARG before the first FROM is global: FROM lines see it, a stage only when it says `ARG name` itself. Proxies are known without
ARG and leave no trace; a platform's names are global ones. ENV beats ARG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from onggi.build.instructions import Arg
from onggi.build.shellwords import Lexer
from onggi.oci.platform import Platform

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED: Final = frozenset((*_PROXIES, *(name.lower() for name in _PROXIES)))


def platform_arguments(
    build: Platform, target: Platform, stage: str, given: Mapping[str, str | None]
) -> dict[str, str]:
    """BUILDPLATFORM, TARGETARCH and so on; who gives one of them means it. `stage` is the target's name."""
    found = {
        f"{prefix}{name}": value
        for prefix, platform in (("BUILD", build), ("TARGET", target))
        for name, value in (
            ("PLATFORM", str(platform)),
            ("OS", platform.os),
            ("OSVERSION", platform.os_version),
            ("ARCH", platform.architecture),
            ("VARIANT", platform.variant),
        )
    }
    found["TARGETSTAGE"] = stage or "default"
    return {name: given.get(name) or value for name, value in found.items()}


@dataclass(slots=True)
class GlobalArguments:
    """`given` are --build-args (None: named without a value); `declared` what global ARGs made of them."""

    given: Mapping[str, str | None]
    platform: Mapping[str, str]
    declared: dict[str, str | None] = field(default_factory=dict)
    consumed: set[str] = field(default_factory=set)

    def declare(self, instruction: Arg, lexer: Lexer) -> None:
        """A global ARG. Raises InvalidArgument."""
        for name, default in instruction.args:
            self.declared[name] = self._value(name, default, lexer, self.variables())

    def variables(self) -> dict[str, str]:
        """What FROM lines see."""
        return {**self.platform, **{name: value for name, value in self.declared.items() if value is not None}}

    def unused(self) -> list[str]:
        """--build-args that no ARG has asked for; those that speak to the builder itself need none."""
        known = {*self.consumed, *PREDEFINED, *self.platform, "SOURCE_DATE_EPOCH"}
        return sorted(name for name in self.given if name not in known and not name.startswith("BUILDKIT_"))

    def proxies(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Proxy arguments that RUN gets though no ARG names them, in both spellings: in no key and no history."""
        found: dict[str, str] = {}
        for name, value in sorted(self.given.items()):
            if name in PREDEFINED and value:
                found |= {name.upper(): value, name.lower(): value}
        return tuple(f"{name}={value}" for name, value in found.items() if name not in environment)

    def _value(self, name: str, default: str | None, lexer: Lexer, variables: Mapping[str, str]) -> str | None:
        self.consumed.add(name)
        given = self.given.get(name)
        if given is not None:
            return given
        return None if default is None else lexer.word(default, variables)

    def stage_value(self, name: str, default: str | None, lexer: Lexer, variables: Mapping[str, str]) -> str | None:
        """The value of `ARG name[=default]` in a stage: given, default, global, platform, or none."""
        value = self._value(name, default, lexer, variables)
        if value is None and default is None:
            value = self.declared.get(name)
            if value is None:
                value = self.platform.get(name)
        return value
