"""The shim of one exec: waits for the process and says how it ended.

Its stdio are the engine's descriptors themselves, or a terminal whose master the engine has: no byte passes here.
"""

from __future__ import annotations

import os
import socket
import time

from onggi.runtime import protocol
from onggi.runtime.processes import exit_of
from onggi.runtime.protocol import ExitRecord


def supervise(pid: int, control: socket.socket) -> None:
    """Wait for the exec's process, tell the engine. The starter and what it had made ahead end meanwhile, or later."""
    ended = 0
    while ended != pid:
        ended, status = os.waitpid(-1, 0)
    exit_code, signal_number = exit_of(status)
    try:
        protocol.send(control, ExitRecord(exit_code, time.time_ns(), signal_number))
    except OSError:
        # The engine is gone, and with it whoever asked.
        os._exit(0)
