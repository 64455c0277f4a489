"""Whether the machine went down under the last engine: then what it had written last may not be what is on the disk.

A file that says in which boot an engine has the data root. An engine that ends takes it away; one that is killed leaves
it, but the kernel that holds its pages is still the same.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from onggi.store import durable

_NAME: Final = "running"


class RunMark:
    """The mark of one data root."""

    def __init__(self, root: str, boot_id: str) -> None:
        self._path, self._boot_id = Path(root, _NAME), boot_id

    def begin(self) -> bool:
        """Set it; True when an engine of another boot has left its own. Raises NoSpace."""
        before = ""
        with contextlib.suppress(FileNotFoundError):
            before = self._path.read_text(encoding="ascii", errors="replace").strip()
        with durable.disk_errors("write the mark of a running engine"):
            self._path.write_text(f"{self._boot_id}\n", encoding="ascii")
            durable.sync_directory_path(os.fspath(self._path.parent))
        return before not in ("", self._boot_id)

    def end(self) -> None:
        """The engine has ended in order."""
        self._path.unlink(missing_ok=True)
