"""What a call can raise."""

from onggi.errors import OnggiError


class ApiError(OnggiError):
    """The engine's answer was an error: its status and its message, unchanged."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.code = status


class ConnectionRefused(OnggiError):
    """No engine answers at the endpoint."""


class InvalidPlatform(OnggiError):
    """What was given is no `os[/arch[/variant]]`."""


class BrokenAnswer(OnggiError):
    """What came is no HTTP, or ended too early."""


class StreamError(OnggiError):
    """A progress stream ended with an error object: the status was sent long before (docker's errorDetail)."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = code
