"""A visitor who asks for the page all the time over the published port and counts what went wrong."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator


def fetch(port: int, path: str = "/") -> str:
    """The page, over a connection of its own; raises OSError or HTTPException when the request fails."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise http.client.HTTPException(f"{answer.status}: {text}")
        return text


def fetch_when_up(port: int, seconds: float = 20) -> str:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fetch(port)
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Visitor:
    """Requests one after the other; `versions` counts the answers by version, `failures` are the others."""

    def __init__(self) -> None:
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []

    @contextlib.contextmanager
    def visiting(self, port: int) -> Iterator[Visitor]:
        done = threading.Event()
        thread = threading.Thread(target=self._run, args=(port, done), name="visitor")
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()

    def _run(self, port: int, done: threading.Event) -> None:
        while not done.is_set():
            try:
                text = fetch(port)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            else:
                found = re.search(r"version (\S+),", text)
                self.versions[found[1] if found else "?"] += 1
            time.sleep(0.005)
