"""Runs a step's commands and shows them: the command, how long it took, what it said."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time


class Failed(SystemExit):
    """A step did not do what the demo promises."""


class Shell:
    """Commands of one client, `onggi` or `docker`, against one engine."""

    def __init__(self, program: list[str], environment: dict[str, str]) -> None:
        self.program = program
        self.environment = os.environ | environment

    def __call__(self, line: str, *, show: int = 12, check: bool = True, timeout: float = 600) -> str:
        """`line` as arguments of the client; the last `show` lines of its output are printed. Its output, stripped."""
        words = shlex.split(line)
        print(f"  $ {os.path.basename(self.program[0])} {line}", flush=True)
        started = time.perf_counter()
        done = subprocess.run(
            [*self.program, *words], env=self.environment, capture_output=True, text=True, check=False, timeout=timeout
        )
        seconds = time.perf_counter() - started
        output = (done.stdout + (done.stderr if done.returncode or not done.stdout else "")).strip()
        lines = output.splitlines()
        for text in lines[-show:] if show else []:
            print(f"    {text[:150]}")
        print(f"    [{seconds * 1e3:.0f} ms, exit {done.returncode}]", flush=True)
        if check and done.returncode:
            raise Failed(f"demo: {line!r} failed: {done.stderr.strip()}")
        return done.stdout.strip()


def step(number: int, title: str) -> None:
    print(f"\n== {number}. {title}", flush=True)


def expect(condition: object, claim: str) -> None:
    """Prints a claim that has just been shown, or ends the demo."""
    if not condition:
        raise Failed(f"demo: not true: {claim}")
    print(f"  ✓ {claim}")
    sys.stdout.flush()
