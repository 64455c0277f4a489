"""What can go wrong, once for the whole project.

Each class knows its HTTP status; only api/ translates it into an answer. A message says what was asked, what stood
in the way, and what to do. Where a client matches docker's text, ours begins with that text.
"""

from __future__ import annotations


class OnggiError(Exception):
    """Root of the hierarchy; `status` is the HTTP status that api/ answers with."""

    status = 500


class InvalidArgument(OnggiError):
    """The request can't be carried out as written."""

    status = 400


class Unauthorized(OnggiError):
    """Credentials are missing or wrong."""

    status = 401


class Forbidden(OnggiError):
    """Understood, and refused whatever the credentials."""

    status = 403


class NotFound(OnggiError):
    """No object of that name."""

    status = 404


class Conflict(OnggiError):
    """The object's present state doesn't allow it."""

    status = 409


class NotModified(OnggiError):
    """It is already as asked: docker answers 304 without a body."""

    status = 304


class NotImplementedHere(OnggiError):
    """Part of the protocol that this engine doesn't have."""

    status = 501


class Unavailable(OnggiError):
    """Something that is needed is away for now."""

    status = 503


class NoSpace(OnggiError):
    """The disk is full: what was half-made has been removed."""


class Corrupt(OnggiError):
    """Bytes on disk or from outside don't match their digest or their format."""


class RuntimeStepError(OnggiError):
    """A container could not be started: the step that failed and the kernel's errno.

    `exit_code` is what State.ExitCode becomes: 126 can't be run, 127 not found, 128 anything else.
    """

    def __init__(self, step: str, errno: int, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        # As dockerd: a program that can't be run is the client's mistake, anything else is the machine's.
        self.status = 400 if exit_code in (126, 127) else 500
        self.step = step
        self.errno = errno
        self.exit_code = exit_code
