"""Which of the two kinds of cgroups this machine has."""

from __future__ import annotations

import functools
import os
from typing import Final

ROOT: Final = "/sys/fs/cgroup"


@functools.cache
def is_unified() -> bool:
    """Whether this machine has v2 alone."""
    return os.path.exists(f"{ROOT}/cgroup.controllers")
