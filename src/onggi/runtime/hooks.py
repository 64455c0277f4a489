"""Hooks of the runtime spec: programs of the host's that are told of a container's state on stdin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from onggi.errors import InvalidArgument
from onggi.oci.runtime import Hook, State

_STDOUT: Final = "run.oci.hooks.stdout"
_STDERR: Final = "run.oci.hooks.stderr"
"""crun's annotations: files that hooks write to."""


def run(hooks: Sequence[Hook], state: State) -> None:
    """Run each in order. Raises InvalidArgument at the first that fails (config.md, "POSIX-platform Hooks")."""
    if not hooks:
        return
    import subprocess  # few bundles have hooks

    told = msgspec.json.encode(state)
    for hook in hooks:
        # A spec without env leaves it ours, as with runc and crun.
        environment = dict(pair.partition("=")[::2] for pair in hook.env) if hook.env else None
        try:
            ended = subprocess.run(
                hook.args or [hook.path],
                executable=hook.path,
                env=environment,
                input=told,
                capture_output=True,
                timeout=hook.timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InvalidArgument(f"error running hook {hook.path}: {error}") from None
        _keep(state.annotations.get(_STDOUT), ended.stdout)
        _keep(state.annotations.get(_STDERR), ended.stderr)
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip()
            raise InvalidArgument(
                f"exit code {ended.returncode}: error running hook {hook.path}: exit status {ended.returncode}, stderr: {said}"
            )


def _keep(path: str | None, said: bytes) -> None:
    """Raises OSError when the file can't be written."""
    if path is not None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o700)
        try:
            os.write(fd, said)
        finally:
            os.close(fd)
