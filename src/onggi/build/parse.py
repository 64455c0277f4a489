"""From logical lines to instructions, each with docker's own complaints. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from onggi.build.errors import DockerfileError
from onggi.build.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from onggi.build.lines import Heredoc, Line, heredoc_start, split_lines
from onggi.build.runmounts import check_mount
from onggi.build.suggest import suggestion
from onggi.build.words import Flags, NotStrings, json_array, name_values, split_blanks, split_command, split_words
from onggi.errors import InvalidArgument
from onggi.oci.image import HealthConfig

_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def parse_line(line: Line, escape: str) -> Instruction:
    """Raises DockerfileError with the line's number."""
    word, flags, rest = split_command(line.text)
    maker = _MAKERS.get(word)
    if maker is None:
        raise DockerfileError(f"unknown instruction: {word}{suggestion(word, _MAKERS)}", line.first)
    try:
        made = maker(_Request(line, flags, rest, escape))
        spelt = line.text.split(None, 1)[0]
        return replace(made, last=line.last, spelt=spelt, comments=line.comments)
    except DockerfileError:
        raise
    except InvalidArgument as error:
        spoken = not isinstance(error, NotStrings)
        raise DockerfileError(str(error), line.first, line.last, spoken=spoken) from None


def parse_trigger(expression: str, escape: str = "\\") -> Instruction:
    """An ONBUILD trigger of a base image. Raises DockerfileError."""
    found = split_lines(expression.encode("utf-8", "surrogateescape"))
    if len(found.lines) != 1:
        raise DockerfileError("onbuild trigger should be a single expression")
    return parse_line(found.lines[0], escape)


class _Request:
    """One instruction's text, taken apart."""

    def __init__(self, line: Line, flags: list[str], rest: str, escape: str) -> None:
        self.line = line
        self.given = flags
        self.rest = rest
        self.escape = escape
        self.text = line.text.strip()
        self.at = line.first

    def flags(
        self, strings: tuple[str, ...] = (), booleans: tuple[str, ...] = (), lists: tuple[str, ...] = ()
    ) -> Flags:
        return Flags(self.given, strings, booleans, lists)

    def command(self) -> tuple[tuple[str, ...], bool]:
        """The words of an exec form and True, or the one text of a shell form and False."""
        words = json_array(self.rest)
        if words is not None:
            return tuple(words), True
        return (self.rest,) if self.rest else (), False

    def list(self) -> tuple[str, ...]:
        words = json_array(self.rest)
        return tuple(words if words is not None else split_blanks(self.rest))

    def one(self, word: str) -> str:
        self.flags()
        if not self.rest:
            raise InvalidArgument(f"{word} requires exactly one argument")
        return self.rest


def _from(request: _Request) -> From:
    flags = request.flags(("platform",))
    words = split_blanks(request.rest)
    name = written = joint = ""
    if len(words) == 3 and words[1].lower() == "as":
        joint, written, name = words[1], words[2], words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise InvalidArgument(
                f'invalid name for build stage: "{words[2]}", name can\'t start with a number or contain symbols'
            )
    elif len(words) != 1:
        raise InvalidArgument("FROM requires either one or three arguments")
    return From(
        text=request.text,
        line=request.at,
        base=words[0],
        name=name,
        platform=flags.one("platform"),
        written=written,
        joint=joint,
    )


def _arg(request: _Request) -> Arg:
    request.flags()
    words = split_words(request.rest, request.escape)
    if not words:
        raise InvalidArgument("ARG requires at least one argument")
    args: list[tuple[str, str | None]] = []
    for word in words:
        name, separator, value = word.partition("=")
        if not name:
            raise InvalidArgument("ARG names can not be blank")
        args.append((name, value if separator else None))
    return Arg(text=request.text, line=request.at, args=tuple(args))


def _env(request: _Request) -> Env:
    request.flags()
    pairs, legacy = name_values(request.rest, "ENV", request.escape)
    return Env(text=request.text, line=request.at, pairs=tuple(pairs), legacy=legacy)


def _label(request: _Request) -> Label:
    request.flags()
    pairs, legacy = name_values(request.rest, "LABEL", request.escape)
    return Label(text=request.text, line=request.at, pairs=tuple(pairs), legacy=legacy)


def _copy(request: _Request) -> Copy:
    sources, heredocs, destination = _sources(request, "COPY")
    flags = request.flags(("chown", "chmod", "from"), ("link", "parents"), ("exclude",))
    return Copy(
        text=request.text,
        line=request.at,
        add=False,
        sources=sources,
        heredocs=heredocs,
        destination=destination,
        origin=flags.one("from"),
        chown=flags.one("chown"),
        chmod=flags.one("chmod"),
        link=flags.true("link"),
        parents=flags.true("parents"),
        exclude=flags.all("exclude"),
    )


def _add(request: _Request) -> Copy:
    sources, heredocs, destination = _sources(request, "ADD")
    flags = request.flags(("chown", "chmod", "checksum"), ("link", "keep-git-dir", "unpack"), ("exclude",))
    return Copy(
        text=request.text,
        line=request.at,
        add=True,
        sources=sources,
        heredocs=heredocs,
        destination=destination,
        chown=flags.one("chown"),
        chmod=flags.one("chmod"),
        link=flags.true("link"),
        exclude=flags.all("exclude"),
        checksum=flags.one("checksum"),
        keep_git_dir=flags.maybe("keep-git-dir"),
        unpack=flags.maybe("unpack"),
    )


def _sources(request: _Request, word: str) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    words = request.list()
    if len(words) < 2:
        raise InvalidArgument(
            f"{word} requires at least two arguments, but only one was provided. Destination could not be determined"
        )
    if request.line.heredocs and heredoc_start(words[-1]):
        raise InvalidArgument(f"{word} cannot accept a heredoc as a destination")
    bodies = {heredoc.name: heredoc for heredoc in request.line.heredocs}
    sources: list[str] = []
    heredocs: list[Heredoc] = []
    for source in words[:-1]:
        begun = heredoc_start(source) if bodies else None
        if begun and begun[0] in bodies:
            heredocs.append(bodies[begun[0]])
        else:
            sources.append(source)
    return tuple(sources), tuple(heredocs), words[-1]


def _run(request: _Request) -> Run:
    flags = request.flags(("network", "security"), (), ("mount", "device"))
    if flags.given("network") and flags.one("network") not in ("default", "none", "host"):
        raise InvalidArgument(f'network mode "{flags.one("network")}" is not supported')
    if flags.given("security") and flags.one("security") not in ("sandbox", "insecure"):
        raise InvalidArgument(f'security "{flags.one("security")}" is not valid')
    mounts = flags.all("mount")
    for mount in mounts:
        check_mount(mount)
    words, is_json = request.command()
    return Run(
        text=request.text,
        line=request.at,
        words=words,
        is_json=is_json,
        heredocs=request.line.heredocs,
        network=flags.one("network"),
        security=flags.one("security"),
        mounts=mounts,
        devices=flags.all("device"),
    )


def _cmd(request: _Request) -> Cmd:
    request.flags()
    words, is_json = request.command()
    return Cmd(text=request.text, line=request.at, words=words, is_json=is_json)


def _entrypoint(request: _Request) -> Entrypoint:
    request.flags()
    words, is_json = request.command()
    return Entrypoint(text=request.text, line=request.at, words=words, is_json=is_json)


def _expose(request: _Request) -> Expose:
    request.flags()
    ports = split_blanks(request.rest)
    if not ports:
        raise InvalidArgument("EXPOSE requires at least one argument")
    return Expose(text=request.text, line=request.at, ports=tuple(sorted(ports)))


def _user(request: _Request) -> User:
    return User(text=request.text, line=request.at, user=request.one("USER"))


def _volume(request: _Request) -> Volume:
    request.flags()
    paths = tuple(path.strip() for path in request.list())
    if not paths:
        raise InvalidArgument("VOLUME requires at least one argument")
    if "" in paths:
        raise InvalidArgument("VOLUME specified can not be an empty string")
    return Volume(text=request.text, line=request.at, paths=paths)


def _workdir(request: _Request) -> Workdir:
    return Workdir(text=request.text, line=request.at, path=request.one("WORKDIR"))


def _stop_signal(request: _Request) -> StopSignal:
    return StopSignal(text=request.text, line=request.at, signal=request.one("STOPSIGNAL"))


def _maintainer(request: _Request) -> Maintainer:
    return Maintainer(text=request.text, line=request.at, author=request.one("MAINTAINER"))


def _shell(request: _Request) -> Shell:
    request.flags()
    words, is_json = request.command()
    if not words:
        raise InvalidArgument("SHELL requires at least one argument")
    if not is_json:
        raise InvalidArgument(f"SHELL requires the arguments to be in JSON form, not: {request.text}")
    return Shell(text=request.text, line=request.at, words=words)


def _healthcheck(request: _Request) -> Healthcheck:
    kind, _, command = request.rest.partition(" ") if request.rest else ("", "", "")
    kind = kind.strip().upper()
    command = command.strip()
    if not kind:
        raise InvalidArgument("HEALTHCHECK requires at least one argument")
    flags = request.flags(("interval", "timeout", "start-period", "start-interval", "retries"))
    if kind == "NONE":
        if command:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(text=request.text, line=request.at, health=HealthConfig(test=["NONE"]))
    if kind != "CMD":
        raise InvalidArgument(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    if not command:
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    words = json_array(command)
    retries = flags.one("retries")
    if retries and not re.fullmatch(r"[+-]?\d{1,9}", retries, re.ASCII):
        raise InvalidArgument(f'strconv.ParseInt: parsing "{retries}": invalid syntax')
    if retries and int(retries) < 0:
        raise InvalidArgument(f"--retries cannot be negative ({int(retries)})")
    health = HealthConfig(
        test=["CMD-SHELL", command] if words is None else ["CMD", *words],
        interval=_duration(flags, "interval"),
        timeout=_duration(flags, "timeout"),
        start_period=_duration(flags, "start-period"),
        start_interval=_duration(flags, "start-interval"),
        retries=int(retries or 0),
    )
    return Healthcheck(text=request.text, line=request.at, health=health)


def _duration(flags: Flags, name: str) -> int:
    """Nanoseconds of Go's `1h2m3.5s`; 0 when it isn't given or is zero."""
    text = flags.one(name)
    nanoseconds = duration_of(text) if text else 0
    if 0 < nanoseconds < 10**6:
        raise InvalidArgument(f'Interval "{name}" cannot be less than 1ms')
    return nanoseconds


def duration_of(text: str) -> int:
    """Nanoseconds. Raises InvalidArgument."""
    total = 0.0
    position = 0
    bare = text.removeprefix("+")
    if bare == "0":
        return 0
    while position < len(bare):
        match = _DURATION.match(bare, position)
        if match is None:
            raise InvalidArgument(f'time: invalid duration "{text}"')
        total += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    return round(total)


def _on_build(request: _Request) -> OnBuild:
    request.flags()
    if not request.rest:
        raise InvalidArgument("ONBUILD requires at least one argument")
    trigger = request.rest.split(None, 1)[0].upper()
    if trigger == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
    expression = request.text.split(None, 1)[1]
    for heredoc in request.line.heredocs:
        expression += f"\n{heredoc.content}{heredoc.name}"
    # What can't be parsed is told now, not to whoever builds on the image.
    parse_line(Line(request.rest, request.at, request.line.last, request.line.heredocs), request.escape)
    return OnBuild(text=request.text, line=request.at, expression=expression)


_MAKERS: Final[dict[str, Callable[[_Request], Instruction]]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _on_build,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
