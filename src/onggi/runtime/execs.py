"""The shim of one exec: waits for the process and says how it ended.

Its stdio are the engine's descriptors themselves, or a terminal whose master the engine has: no byte passes here.
"""

from __future__ import annotations

import os
import socket
import time

from onggi.runtime import protocol
from onggi.runtime.processes import wait_status
from onggi.runtime.protocol import ExitRecord


def supervise(pid: int, control: socket.socket) -> None:
    """Wait for the exec's process, tell the engine."""
    exit_code, signal_number = wait_status(pid)
    try:
        protocol.send(control, ExitRecord(exit_code, time.time_ns(), signal_number))
    except OSError:
        # The engine is gone, and with it whoever asked.
        os._exit(0)
