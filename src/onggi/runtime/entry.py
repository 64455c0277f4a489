"""Where `onggi-runtime` begins: what makes a process for a container goes on in a sealed copy of the interpreter (S-01).

That is a second start of the interpreter, so the first one imports nothing but this, and the second leaves out `site`,
which a program with a known place for its modules doesn't need.
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

    sys.exit(run(sys.argv[1:]))


def _go_on_sealed() -> None:
    """The same program anew, unless it is sealed already. Raises OSError."""
    from onggi.kernel import sealing

    if sealing.runs_sealed():
        return
    interpreter = sealing.sealed_copy(sys.executable)
    # -I: nothing of the environment or the working directory is believed (S-23).
    begin = f"import sys; sys.path[:] = {sys.path!r}; from onggi.runtime.entry import main; main()"
    words = [sys.executable, "-IS", "-c", begin, *sys.argv[1:]]
    os.execve(f"/proc/self/fd/{interpreter}", words, os.environ)  # noqa: S606 - this program itself


if __name__ == "__main__":
    main()
