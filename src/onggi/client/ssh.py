"""An engine behind ssh: `ssh HOST docker system dial-stdio`, its stdin and stdout as the connection.

Keys, agents, jump hosts and known hosts are ssh's own affair; its complaints go to our stderr.
"""

from __future__ import annotations

import socket
import subprocess

from onggi.client.errors import ConnectionRefused

_DIAL = "if command -v docker >/dev/null 2>&1; then exec docker{0} system dial-stdio; else exec onggi{0} system dial-stdio; fi"
"""On the other side either program will do; {0} is its --host."""


def _parts(text: str) -> tuple[str, str, str, str]:
    """(user, host, port, socket path) of ssh://user@host:port/path."""
    place, slash, path = text.removeprefix("ssh://").partition("/")
    user, _, place = place.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, ""
    return user, host.strip("[]"), port, slash + path if path else ""


def check(text: str) -> None:
    """Raises ConnectionRefused for a URL that can't be meant."""
    user, host, port, _ = _parts(text)
    if ":" in user:
        raise ConnectionRefused("invalid SSH URL: plain-text password is not supported")
    # A name with a leading dash would be an option to ssh (CVE-2017-1000117 and its kin).
    if not host or host.startswith("-") or user.startswith("-") or (port and not port.isdigit()):
        raise ConnectionRefused(f"Failed to initialize: unable to parse docker host `{text}`")


def command(text: str) -> list[str]:
    """What is run for `text`."""
    import shlex

    user, host, port, path = _parts(text)
    words = ["ssh", "-o", "ConnectTimeout=30", "-T"]
    words += ["-l", user] if user else []
    words += ["-p", port] if port else []
    return [*words, "--", host, _DIAL.format(f" --host {shlex.quote('unix://' + path)}" if path else "")]


def connect(text: str) -> socket.socket:
    """Raises ConnectionRefused when there is no ssh to run."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            child = subprocess.Popen(
                command(text), stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
            )
        except OSError as error:
            ours.close()
            raise ConnectionRefused(f"error during connect: ssh: {error.strerror}") from error
    # ssh ends when its connection does; init reaps it after us, or the next connection does.
    _children[:] = [one for one in _children if one.poll() is None] + [child]
    return ours


_children: list[subprocess.Popen[bytes]] = []
