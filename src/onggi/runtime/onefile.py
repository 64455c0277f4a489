"""The modules of `onggi-runtime` from one file of bytecode: they are found, read and checked at once.

The import system looks into five directories for each of a hundred modules, which takes as long as what is in them. The
file is written at install (scripts/isolate), and begins with the interpreter's version and this module's own code, which
imports nothing that isn't there from the start. Like a .pyc it is believed because of where it lies: beside the program.
Invariants: (1) it is code of this very interpreter, or is left alone; (2) a module whose source isn't what it was is
imported as ever.
"""

from __future__ import annotations

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Entry = tuple[str, int, int, bool, int, int]
    """Source, its time of change (ns) and size; whether it is a package; where the marshalled code begins and ends."""

_Spec: type[ModuleSpec] = type(sys.__spec__)


class OneFile:
    """Finder and loader of those modules (importlib, "sys.meta_path")."""

    def __init__(self, entries: dict[str, Entry], content: memoryview) -> None:
        self._entries, self._content = entries, content

    def find_spec(self, name: str, *_: Sequence[str] | ModuleType | None) -> ModuleSpec | None:
        """None for a module that isn't here, or isn't what it was."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        source, changed_ns, size, is_package = entry[:4]
        try:
            status = posix.stat(source)
        except OSError:
            return None
        if (status.st_mtime_ns, status.st_size) != (changed_ns, size):
            return None
        # A loader by its methods, not by its class: that would be another import.
        spec = _Spec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        source, *_, begin, end = self._entries[module.__name__]
        module.__file__ = source
        exec(marshal.loads(self._content[begin:end]), module.__dict__)  # noqa: S102, S302 - as of a .pyc


def install(entries: dict[str, Entry], content: bytes) -> None:
    """Look here first. `content` is the whole file, or what the entries count from."""
    sys.meta_path.insert(0, OneFile(entries, memoryview(content)))
