"""Docker's flag grammar (pflag's), from one line of text a flag.

A line is `-s --name type[:check][@version][!][=default]  help`, all but name, type and help optional. The type is the word that
help shows; it also says how a value is read (see kinds.py), and `check` names a closer look at each value (checks.py).
`@1.43` is the
API that an engine must speak for the flag. `!` keeps a flag out of help: old names that still work. Booleans take `--flag=false`; short flags join (`-it`); a value
may follow in the same word (`-mSIZE`, `--name=x`) or in the next. `--` ends the flags; so does the first positional word
for commands that pass the rest on (run, exec, create).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.kinds import Value


class UsageError(Exception):
    """Wrong use of a command; the text is docker's."""


class Flag:
    """One flag of a command."""

    __slots__ = ("check", "default", "help", "hidden", "kind", "name", "short", "shown_default", "since")

    def __init__(self, line: str) -> None:
        words = line.split()
        self.short = words.pop(0)[1:] if not words[0].startswith("--") else ""
        self.name = words.pop(0)[2:]
        kind, _, self.shown_default = words.pop(0).partition("=")
        self.hidden = kind.endswith("!")
        kind, _, self.since = kind.rstrip("!").partition("@")
        self.kind, _, self.check = kind.partition(":")
        self.help = " ".join(words)
        self.default: Value = self._default(self.shown_default)

    def _default(self, text: str) -> Value:
        if self.kind == "bool":
            return text == "true"
        if self.repeats:
            return []
        if self.kind in _NUMBERS:
            return int(text) if text.lstrip("-").isdigit() else None
        return text

    @property
    def repeats(self) -> bool:
        return self.kind in REPEATING

    def __str__(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def parse(self, text: str) -> Value:
        """Raises UsageError in pflag's words."""
        try:
            if self.check or self.kind in _CHECKED:
                from onggi.cli.checks import CHECKS

                return CHECKS[self.check or self.kind](text)
            from onggi.cli.kinds import read

            return read(self.kind, text)
        except ValueError as error:
            raise UsageError(f'invalid argument "{text}" for "{self}" flag: {error}') from None


_NUMBERS = {"int", "uint", "uint16", "uint32", "bytes", "duration"}
_CHECKED = {"mount", "network", "gpu-request", "ulimit"}
REPEATING = {
    "list", "strings", "filter", "map", "stringToString", "mount", "network", "gpu-request", "ulimit", "ipSlice", "ipNetSlice",
    "secret", "config", "port", "pref", "external-ca",
}  # fmt: skip
"""Types whose flag may be given several times; each value is kept."""


class Options:
    """Values of a command's flags, and which of them the user gave."""

    __slots__ = ("given", "values")

    def __init__(self, flags: list[Flag]) -> None:
        self.values: dict[str, Value] = {
            flag.name: list(flag.default) if isinstance(flag.default, list) else flag.default for flag in flags
        }
        self.given: set[str] = set()

    def on(self, name: str) -> bool:
        return self.values.get(name) is True

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        value = self.values.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def list(self, name: str) -> list[str]:
        value = self.values.get(name)
        return value if isinstance(value, list) else []

    def map(self, name: str) -> dict[str, str]:
        """A list of k=v as a dict; a word without `=` has the empty value."""
        return {word.partition("=")[0]: word.partition("=")[2] for word in self.list(name)}

    def set(self, flag: Flag, text: str | None) -> None:
        value: Value = True if text is None else flag.parse(text)
        self.given.add(flag.name)
        if not flag.repeats:
            self.values[flag.name] = value
        elif isinstance(value, list):  # one word with commas gives several
            self.list(flag.name).extend(value)
        else:
            self.list(flag.name).append(str(value))


def read_flags(text: str) -> list[Flag]:
    return [Flag(line.strip()) for line in text.strip().splitlines() if line.strip()]


def parse(flags: list[Flag], words: list[str], *, interspersed: bool = True) -> tuple[Options, list[str]]:
    """Options and the positional words. Raises UsageError; HelpWanted for --help."""
    long = {flag.name: flag for flag in flags}
    short = {flag.short: flag for flag in flags if flag.short}
    options, positional, rest = Options(flags), list[str](), list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, positional + rest
        if word.startswith("--"):
            _long(word, long, rest, options)
        elif word.startswith("-") and word != "-":
            _short(word, short, rest, options)
        else:
            positional.append(word)
            if not interspersed:
                return options, positional + rest
    return options, positional


class HelpWanted(Exception):
    """The user asked for --help."""


def _long(word: str, flags: dict[str, Flag], rest: list[str], options: Options) -> None:
    name, equals, text = word[2:].partition("=")
    if not name or name.startswith("-"):
        raise UsageError(f"bad flag syntax: {word}")
    if name == "help":
        if text in ("0", "f", "F", "false", "FALSE", "False"):
            return
        raise HelpWanted
    flag = flags.get(name)
    if flag is None:
        raise UsageError(f"unknown flag: --{name}")
    if equals:
        options.set(flag, text)
    elif flag.kind == "bool":
        options.set(flag, None)
    elif rest:
        options.set(flag, rest.pop(0))
    else:
        raise UsageError(f"flag needs an argument: --{name}")


def _short(word: str, flags: dict[str, Flag], rest: list[str], options: Options) -> None:
    letters = word[1:]
    while letters:
        seen, letter, letters = letters, letters[0], letters[1:]
        flag = flags.get(letter)
        if flag is None:
            if letter == "h":
                raise HelpWanted
            raise UsageError(f"unknown shorthand flag: '{letter}' in -{seen}")
        if flag.kind == "bool" and not letters.startswith("="):
            options.set(flag, None)
            continue
        if letters:
            options.set(flag, letters.removeprefix("="))
        elif rest:
            options.set(flag, rest.pop(0))
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in -{seen}")
        return
