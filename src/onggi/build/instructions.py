"""What the instructions of a Dockerfile say, as values. Variables are not replaced yet: that needs a stage (planning.py)."""

from __future__ import annotations

from dataclasses import dataclass

from onggi.build.lines import Heredoc
from onggi.oci.image import HealthConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """`text` is the instruction as it was written, joined over its lines; `line` where it begins, `last` where it ends.

    `spelt` is the instruction's name as it was written; `comments` are those right above it, without their `#`.
    """

    text: str
    line: int
    last: int = 0
    spelt: str = ""
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """`written` is the stage's name before it was made lower-case, `joint` the word AS as it was spelt."""

    base: str
    name: str
    platform: str
    written: str = ""
    joint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """None: named without a value."""

    args: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """`legacy`: `ENV name value`, without the sign."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """COPY, or with `add` ADD. Sources that are heredocs are among `heredocs`, in the order of the line.

    `unpack` None: archives of the context are unpacked, those from the network are not.
    """

    add: bool
    sources: tuple[str, ...]
    heredocs: tuple[Heredoc, ...]
    destination: str
    origin: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None

    @property
    def word(self) -> str:
        return "ADD" if self.add else "COPY"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine(Instruction):
    """RUN, CMD and ENTRYPOINT: `words` as they are (`is_json`), or one text for the shell."""

    words: tuple[str, ...]
    is_json: bool
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(CommandLine):
    """`mounts` and `devices` are the values of their flags; variables in mounts are replaced in the stage (runmounts.py)."""

    network: str = ""
    security: str = ""
    mounts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(CommandLine):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(CommandLine):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    health: HealthConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(Instruction):
    """`expression` is the trigger, to be parsed when it is due."""

    expression: str
