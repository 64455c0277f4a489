"""What goes wrong in a build, in the words that clients know from docker."""

from __future__ import annotations

from onggi.errors import InvalidArgument, OnggiError


class DockerfileError(InvalidArgument):
    """The Dockerfile can't be read. `line` counts from 1, 0 when the file as a whole is meant."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"dockerfile parse error on line {line}: {message}" if line else message)
        self.line = line


class BuildFailed(OnggiError):
    """A step has failed: `code` is what the stream's errorDetail says, for RUN the exit code of its command; 0 is left out."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
