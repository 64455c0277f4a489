"""Build checks: BuildKit's rules by name, who collects what breaks them, and those that a parsed file alone can show. Pure.

Names, texts and addresses are BuildKit's (frontend/dockerfile/linter/ruleset.go): editors and CI match them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from onggi.build import ports
from onggi.build.errors import BuildFailed
from onggi.build.instructions import Arg, From, Instruction, Maintainer
from onggi.build.suggest import nearest
from onggi.errors import InvalidArgument

_BASE: Final = "https://docs.docker.com/go/dockerfile/rule/"
_SECRET: Final = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET: Final = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_TRUE: Final = frozenset({"1", "t", "true"})
_FALSE: Final = frozenset({"0", "f", "false"})
RESERVED_NAMES: Final = ("scratch", "context")


@dataclass(frozen=True, slots=True)
class _Meaning:
    description: str
    page: str
    experimental: bool = False


class Rule(Enum):
    """The name of each is what warnings and `# check=skip=` call it."""

    StageNameCasing = _Meaning("Stage names should be lowercase", "stage-name-casing")
    FromAsCasing = _Meaning("The 'as' keyword should match the case of the 'from' keyword", "from-as-casing")
    NoEmptyContinuation = _Meaning(
        "Empty continuation lines will become errors in a future release", "no-empty-continuation"
    )
    ConsistentInstructionCasing = _Meaning(
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
        "consistent-instruction-casing",
    )
    DuplicateStageName = _Meaning("Stage names should be unique", "duplicate-stage-name")
    ReservedStageName = _Meaning("Reserved words should not be used as stage names", "reserved-stage-name")
    JSONArgsRecommended = _Meaning(
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
        "json-args-recommended",
    )
    MaintainerDeprecated = _Meaning(
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        "maintainer-deprecated",
    )
    UndefinedArgInFrom = _Meaning("FROM command must use declared ARGs", "undefined-arg-in-from")
    WorkdirRelativePath = _Meaning(
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
        "workdir-relative-path",
    )
    UndefinedVar = _Meaning("Variables should be defined before their use", "undefined-var")
    MultipleInstructionsDisallowed = _Meaning(
        "Multiple instructions of the same type should not be used in the same stage",
        "multiple-instructions-disallowed",
    )
    LegacyKeyValueFormat = _Meaning(
        "Legacy key/value format with whitespace separator should not be used", "legacy-key-value-format"
    )
    InvalidBaseImagePlatform = _Meaning("Base image platform does not match expected target platform", "")
    RedundantTargetPlatform = _Meaning(
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        "redundant-target-platform",
    )
    SecretsUsedInArgOrEnv = _Meaning(
        "Sensitive data should not be used in the ARG or ENV commands", "secrets-used-in-arg-or-env"
    )
    InvalidDefaultArgInFrom = _Meaning(
        "Default value for global ARG results in an empty or invalid base image name", "invalid-default-arg-in-from"
    )
    FromPlatformFlagConstDisallowed = _Meaning(
        "FROM --platform flag should not use a constant value", "from-platform-flag-const-disallowed"
    )
    CopyIgnoredFile = _Meaning("Attempting to Copy file that is excluded by .dockerignore", "copy-ignored-file")
    InvalidDefinitionDescription = _Meaning(
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
        "invalid-definition-description",
        experimental=True,
    )
    ExposeProtoCasing = _Meaning("Protocol in EXPOSE instruction should be lowercase", "expose-proto-casing")
    ExposeInvalidFormat = _Meaning(
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
        "expose-invalid-format",
    )

    @property
    def description(self) -> str:
        return self.value.description

    @property
    def url(self) -> str:
        return f"{_BASE}{self.value.page}/" if self.value.page else ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that was broken, on lines `first` to `last`."""

    rule: Rule
    text: str
    first: int
    last: int

    @property
    def message(self) -> str:
        """As BuildKit's clients print it."""
        return f"{self.rule.name}: {self.text} (line {self.first})"


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What `# check=` says. "all" among the names means all of them."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False


def parse_check_options(text: str) -> CheckOptions:
    """`skip=A,B;error=true;experimental=C`. Raises InvalidArgument."""
    found = CheckOptions()
    for part in text.strip().split(";", 2) if text.strip() else ():
        key, separator, value = part.partition("=")
        names = frozenset(name.strip() for name in value.split(","))
        match key.strip() if separator else "":
            case "skip":
                found = replace(found, skip=names)
            case "experimental":
                found = replace(found, experimental=names)
            case "error":
                if value.strip().lower() not in _TRUE | _FALSE:
                    raise InvalidArgument(
                        f'failed to parse check option "{part}": strconv.ParseBool: parsing "{value}": invalid syntax'
                    )
                found = replace(found, error=value.strip().lower() in _TRUE)
            case _:
                raise InvalidArgument(f'invalid check option "{part if not separator else key.strip()}"')
    return found


@dataclass(slots=True)
class Checker:
    """Collects findings that nobody has asked to skip; each once."""

    options: CheckOptions = field(default_factory=CheckOptions)
    findings: list[Finding] = field(default_factory=list)
    heard: Callable[[Finding], None] = lambda _finding: None

    def run(self, rule: Rule, at: Instruction, text: str) -> None:
        options = self._merged(at.comments)
        if rule.value.experimental:
            if not options.experimental & {"all", rule.name}:
                return
        elif options.skip & {"all", rule.name}:
            return
        finding = Finding(rule, text, at.line, at.last)
        if finding not in self.findings:
            self.findings.append(finding)
            self.heard(finding)

    def raise_errors(self) -> None:
        """With `error=true` a finding is a failure. Raises BuildFailed."""
        if self.options.error and self.findings:
            names = ", ".join(sorted({finding.rule.name for finding in self.findings}))
            raise BuildFailed(f"lint violation found for rules: {names}")

    def _merged(self, comments: Sequence[str]) -> CheckOptions:
        """`# check=skip=X` above an instruction speaks for that one alone."""
        for comment in comments:
            key, separator, value = comment.partition("=")
            if separator and key.strip().lower() == "check":
                try:
                    given = parse_check_options(value.strip().partition(" ")[0])
                except InvalidArgument:
                    break
                return replace(
                    self.options,
                    skip=self.options.skip | given.skip,
                    experimental=self.options.experimental | given.experimental,
                )
        return self.options


def check_file(
    checker: Checker,
    global_args: Sequence[Arg],
    stages: Sequence[tuple[From, Sequence[Instruction]]],
    empty_continuations: Iterable[int],
) -> None:
    """What can be seen without variables and images."""
    for line in empty_continuations:
        checker.run(Rule.NoEmptyContinuation, Instruction(text="", line=line, last=line), "Empty continuation line")
    for arg in global_args:
        _check_description(checker, arg, "ARG", [name for name, _ in arg.args])
    seen: set[str] = set()
    for start, instructions in stages:
        _check_start(checker, start, seen)
        for each in instructions:
            if isinstance(each, Maintainer):
                checker.run(
                    Rule.MaintainerDeprecated, each, "Maintainer instruction is deprecated in favor of using label"
                )
            if isinstance(each, Arg):
                _check_description(checker, each, "ARG", [name for name, _ in each.args])
    _check_casing(checker, [start for start, _ in stages], [each for _, more in stages for each in more])


def _check_start(checker: Checker, start: From, seen: set[str]) -> None:
    name = start.name
    if start.written != name:
        checker.run(Rule.StageNameCasing, start, f"Stage name '{start.written}' should be lowercase")
    if start.joint and _casing(start.joint) != _casing(start.spelt):
        checker.run(Rule.FromAsCasing, start, f"'{start.joint}' and '{start.spelt}' keywords' casing do not match")
    if not name:
        return
    _check_description(checker, start, "FROM", [name])
    if name in RESERVED_NAMES:
        checker.run(
            Rule.ReservedStageName, start, f'Stage name should not use the same name as reserved stage "{name}"'
        )
    if name in seen:
        checker.run(Rule.DuplicateStageName, start, f'Duplicate stage name "{name}", stage names should be unique')
    seen.add(name)


def _check_description(checker: Checker, at: Instruction, word: str, names: Sequence[str]) -> None:
    """A comment right above an ARG or a named FROM is its description, if it begins with the name."""
    if not at.comments:
        return
    last = at.comments[-1].split(None, 1)
    if last[0] in names or at.comments[-1].lower().startswith("check="):
        return
    example = f"<{'arg_key' if word == 'ARG' else 'stage_name'}>" if len(names) != 1 else names[0]
    checker.run(
        Rule.InvalidDefinitionDescription,
        at,
        f"Comment for {word} should follow the format: `# {example} <description>`",
    )


def _check_casing(checker: Checker, starts: Sequence[Instruction], others: Sequence[Instruction]) -> None:
    """BuildKit counts the spellings that are consistent in themselves; the majority is what all should have."""
    every = sorted([*starts, *others], key=lambda each: each.line)
    casings = [_casing(each.spelt) for each in every]
    lower = casings.count("lowercase") > casings.count("uppercase")
    right = "lowercase" if lower else "uppercase"
    for each, casing in zip(every, casings, strict=True):
        if casing != right:
            checker.run(
                Rule.ConsistentInstructionCasing,
                each,
                f"Command '{each.spelt}' should match the case of the command majority ({right})",
            )


def _casing(word: str) -> str:
    return "lowercase" if word == word.lower() else "uppercase" if word == word.upper() else "mixed"


def check_secret(checker: Checker, at: Instruction, word: str, name: str) -> None:
    if _SECRET.search(name) and not _NO_SECRET.search(name):
        checker.run(
            Rule.SecretsUsedInArgOrEnv,
            at,
            f'Do not use ARG or ENV instructions for sensitive data ({word} "{name}")',
        )


def check_port(checker: Checker, at: Instruction, word: str) -> None:
    """One word of an EXPOSE."""
    protocol = ports.protocol_of(word)
    if protocol != protocol.lower():
        checker.run(Rule.ExposeProtoCasing, at, f"Defined protocol '{word}' in EXPOSE instruction should be lowercase")
    if ports.is_mapping(word):
        text = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
        checker.run(Rule.ExposeInvalidFormat, at, text)


def check_legacy(checker: Checker, at: Instruction, word: str) -> None:
    checker.run(
        Rule.LegacyKeyValueFormat,
        at,
        f'"{word} key=value" should be used instead of legacy "{word} key value" format',
    )


def check_missing(
    checker: Checker, at: Instruction, missing: Iterable[str], known: Iterable[str], *, base: bool
) -> None:
    """Variables that nothing has set. `base`: in a FROM line."""
    names = sorted(known)
    for name in sorted(missing):
        hint = nearest(name, names)
        if base:
            text = f"FROM argument '{name}' is not declared" + (f" (did you mean {hint}?)" if hint else "")
            checker.run(Rule.UndefinedArgInFrom, at, text)
        else:
            text = f"Usage of undefined variable '${name}'" + (f" (did you mean ${hint}?)" if hint else "")
            checker.run(Rule.UndefinedVar, at, text)
