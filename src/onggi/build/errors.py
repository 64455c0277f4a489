"""What goes wrong in a build, in the words that clients know from docker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.errors import InvalidArgument, OnggiError

if TYPE_CHECKING:
    from onggi.build.request import Remains
    from onggi.build.vertices import Location, Vertex


class DockerfileError(InvalidArgument):
    """The Dockerfile can't be read. `line` counts from 1, 0 when the file as a whole is meant.

    `spoken`: the message names the line, as BuildKit's does for what is wrong within an instruction.
    """

    def __init__(self, message: str, line: int = 0, last: int = 0, *, spoken: bool = True) -> None:
        super().__init__(f"dockerfile parse error on line {line}: {message}" if line and spoken else message)
        self.line, self.last = line, last or line
        self.location: Location | None = None


class BuildFailed(OnggiError):
    """A step has failed.

    `code` is what the stream's errorDetail says, for RUN the exit code of its command; 0 is left out. `classic` is how docker's
    older builder says it, which `POST /build` does. `location` and `vertex` are where, when that is known; `remains` what the
    step has left, when somebody wants to look at it.
    """

    def __init__(self, message: str, code: int = 0, *, classic: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.classic = classic or message
        self.location: Location | None = None
        self.vertex: Vertex | None = None
        self.remains: Remains | None = None


class OtherFrontend(BuildFailed):
    """A Dockerfile names a frontend that isn't the built-in one: `source` is its image, `words` all that was said."""

    def __init__(self, source: str, words: str) -> None:
        super().__init__(f"frontend {source} is not supported here: the built-in one serves docker/dockerfile")
        self.source, self.words = source, words
