"""Tells systemd how far the engine is. Source: sd_notify(3), its protocol section."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Sends `READY=1`, `STOPPING=1`, `RELOADING=1`…; nothing when nobody asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:  # systemd has gone, or is slow: no reason to fail
            return
