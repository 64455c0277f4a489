"""Hooks of the runtime spec: programs of the host's that are told of a container's state on stdin."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec

from onggi.errors import InvalidArgument
from onggi.oci.runtime import Hook, State


def run(hooks: Sequence[Hook], state: State) -> None:
    """Run each in order. Raises InvalidArgument at the first that fails (config.md, "POSIX-platform Hooks")."""
    if not hooks:
        return
    import subprocess  # few bundles have hooks

    told = msgspec.json.encode(state)
    for hook in hooks:
        try:
            ended = subprocess.run(
                hook.args or [hook.path],
                executable=hook.path,
                env=dict(pair.partition("=")[::2] for pair in hook.env),
                input=told,
                capture_output=True,
                timeout=hook.timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InvalidArgument(f"error running hook {hook.path}: {error}") from None
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip()
            raise InvalidArgument(f"error running hook {hook.path}: exit status {ended.returncode}, stderr: {said}")


def run_all(hooks: Sequence[Hook], state: State) -> None:
    """Run each, whatever becomes of the others: one that fails is said on stderr (runtime.md, "Lifecycle", poststop)."""
    for hook in hooks:
        try:
            run([hook], state)
        except InvalidArgument as error:
            sys.stderr.write(f"{error}\n")
