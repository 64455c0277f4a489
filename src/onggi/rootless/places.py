"""Where a user's engine keeps what it keeps. Pure. Source: XDG Base Directory Specification."""

from __future__ import annotations

import os
from collections.abc import Mapping

from onggi.errors import OnggiError


def defaults(environment: Mapping[str, str]) -> dict[str, str | list[str]]:
    """Values of onggid's options that differ from root's. Raises OnggiError without a runtime directory."""
    home = environment.get("HOME", "")
    if not home:
        raise OnggiError("rootless: HOME isn't set")
    runtime = runtime_directory(environment)
    data = environment.get("XDG_DATA_HOME") or os.path.join(home, ".local/share")
    settings = environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return {
        "data-root": os.path.join(data, "onggi"),
        "exec-root": os.path.join(runtime, "onggi"),
        "host": [f"unix://{runtime}/onggi.sock"],
        "config-file": os.path.join(settings, "onggi/daemon.json"),
    }


def runtime_directory(environment: Mapping[str, str]) -> str:
    """Where sockets go: emptied at the end of a session, and no other user's. Raises OnggiError."""
    found = environment.get("XDG_RUNTIME_DIR", "")
    if not found:
        raise OnggiError(
            "rootless: XDG_RUNTIME_DIR isn't set (log in as the user instead of su or sudo, "
            "or: sudo loginctl enable-linger USER; export XDG_RUNTIME_DIR=/run/user/$(id -u))"
        )
    return found
