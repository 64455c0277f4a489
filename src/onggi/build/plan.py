"""What a Dockerfile comes to: stages of steps that say what they read, without doing anything. Pure data.

planning.py makes it, solving.py carries it out; neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from onggi.build.instructions import Copy, Instruction
from onggi.build.runmounts import RunDevice, RunMount
from onggi.build.state import StageState
from onggi.oci.platform import Platform


class Kind(Enum):
    """Where files come from."""

    SCRATCH = "scratch"
    STAGE = "stage"
    IMAGE = "image"
    LOCAL = "local"
    """A directory of the client: `name` is what `Contexts.local` calls it."""
    GIT = "git"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Origin:
    """`number` is the stage's; `name` an image, a local context, or a URL."""

    kind: Kind
    name: str = ""
    number: int = -1
    platform: Platform | None = None


SCRATCH = Origin(Kind.SCRATCH)
MAIN = Origin(Kind.LOCAL, "context")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that makes a layer. `name` is the vertex's; `at` what it was in the Dockerfile.

    `fresh`: found in no cache, because --no-cache says so.
    """

    name: str
    at: Instruction
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStepPlan(Step):
    """`environment` are words of the image and the ARGs; `proxies` are in no key. `script` is (name, body) of a heredoc with `#!`.

    `mounts` have their variables replaced and targets absolute; each has the place it reads, SCRATCH for none.
    """

    command: tuple[str, ...]
    environment: tuple[str, ...]
    proxies: tuple[str, ...] = ()
    user: str = ""
    directory: str = "/"
    script: tuple[str, str] | None = None
    mounts: tuple[tuple[RunMount, Origin], ...] = ()
    network: str = "default"
    insecure: bool = False
    devices: tuple[RunDevice, ...] = ()
    platform: Platform | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStepPlan(Step):
    """COPY or ADD with its variables replaced. `bodies` are (name, text) of heredocs; `destination` is absolute."""

    copy: Copy
    sources: tuple[str, ...]
    bodies: tuple[tuple[str, str], ...]
    destination: str
    chown: str
    chmod: str
    exclude: tuple[str, ...]
    origin: Origin

    @property
    def alone(self) -> bool:
        """Whether the layer is the same over whatever lies below: then it is made without waiting for that."""
        return self.copy.link and not self.chmod and self.chown.replace(":", "").isdigit() | (not self.chown)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryStepPlan(Step):
    """WORKDIR."""

    path: str
    user: str


@dataclass(slots=True)
class PlannedStage:
    """`state` is what the image of this stage says; `lines` the instructions with the step that each has, if any."""

    number: int
    name: str
    base: Origin
    base_name: str
    """The vertex of FROM; "" when there is none."""
    state: StageState
    steps: list[Step] = field(default_factory=list)
    lines: list[tuple[str, Step | None]] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """For one platform. `follow` are the paths of each local directory that steps name; empty means all of it."""

    platform: Platform
    stages: Mapping[int, PlannedStage]
    target: int
    follow: Mapping[str, Sequence[str]]
    global_lines: Sequence[str]
    epoch: int | None = None
    unused_args: Sequence[str] = ()
