"""The shim of one exec: enters the container, waits for the process, says how it ended.

Its stdio are the engine's descriptors themselves, or a terminal whose master goes to the engine: no byte passes here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Never

from onggi.errors import RuntimeStepError
from onggi.kernel.faults import point
from onggi.runtime import init, protocol
from onggi.runtime.processes import start_time, wait_status
from onggi.runtime.protocol import ExecProcess, ExitRecord, Failed, Started


def run(request: ExecProcess, control: socket.socket, fds: list[int]) -> Never:
    """Run the exec to its end."""
    point("exec.clone.before")
    try:
        spawned = init.exec_in(request, stdio=(fds[0], fds[1], fds[2]) if fds else None)
    except RuntimeStepError as error:
        protocol.send(control, Failed(error.step, error.errno, str(error), error.exit_code))
        os._exit(0)
    point("exec.clone.after")
    protocol.close_all(fds)
    report = Started(
        pid=spawned.pid,
        pid_start=start_time(spawned.pid),
        started_at_ns=time.time_ns(),
        shim_pid=os.getpid(),
        console=spawned.console is not None,
    )
    rights = [spawned.pidfd.fileno()]
    if spawned.console is not None:
        rights.append(spawned.console.fileno())
    # Without the engine the process goes on, as it would with docker's live restore, until its streams break.
    with contextlib.suppress(OSError):
        protocol.send(control, report, rights)
    if spawned.console is not None:
        spawned.console.close()
    exit_code, signal_number = wait_status(spawned.pid)
    with contextlib.suppress(OSError):
        protocol.send(control, ExitRecord(exit_code, time.time_ns(), signal_number))
    os._exit(0)
