"""Where `onggi-runtime` begins: what makes a process for a container runs from a sealed copy of the interpreter (S-01).

Where launch.c was compiled the interpreter is such a copy from the beginning. Else it starts a second time from one that is
made here, so the first one imports nothing but this. Neither has `site`, which a program with a known place for its modules
doesn't need.
"""

from __future__ import annotations

import gc
import os
import sys

_SEALED = {"create", "run", "exec"}


def main() -> None:
    """Entry point of the console script."""
    # A word that is a value by chance costs a copy, and changes nothing else.
    if not _SEALED.isdisjoint(sys.argv):
        _go_on_sealed()
    # Nothing of what is made here forms cycles that would be worth looking for in so short a life.
    gc.disable()
    from onggi.runtime.lean import import_leanly

    import_leanly()
    from onggi.runtime.command import run

    code = run(sys.argv[1:])
    sys.stdout.flush()
    # Taking the interpreter apart takes longer than a container's start does in C.
    os._exit(code)


def _go_on_sealed() -> None:
    """The same program anew, unless it is sealed already. Raises OSError."""
    from onggi.kernel import sealing

    if sealing.runs_sealed():
        return
    interpreter = sealing.sealed_copy(sys.executable)
    begin = [sys.argv[0]]
    if not sys.flags.no_site:
        # An installer's script, which finds nothing without it.
        begin = ["-c", f"import sys; sys.path[:] = {sys.path!r}; from onggi.runtime.entry import main; main()"]
    # -I: nothing of the environment or the working directory is believed (S-23).
    words = [sys.executable, "-IS", *begin, *sys.argv[1:]]
    os.execve(f"/proc/self/fd/{interpreter}", words, os.environ)  # noqa: S606 - this program itself


if __name__ == "__main__":
    main()
