"""A server's accept queue, read from the kernel."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest

from onggi.engine import backlog


@pytest.mark.row("R-26")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_connection_waits_until_it_is_accepted(family: socket.AddressFamily) -> None:
    before = backlog.waiting(os.getpid())
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        assert backlog.waiting(os.getpid()) == before + 1
        begun = time.monotonic()
        asyncio.run(backlog.accepted(os.getpid(), 0.2))
        assert time.monotonic() - begun >= 0.2
        server.accept()[0].close()
        assert backlog.waiting(os.getpid()) == before


def test_nobody_waits_for_a_process_that_is_gone() -> None:
    assert backlog.waiting(2**22 + 1) == 0
