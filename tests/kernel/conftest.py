"""Fixtures for what runs on the real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.bundles import Bundle, made_bundle
from tests.kernel.spawning import Box, box, make_rootfs


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with busybox, shared and not to be written to."""
    return make_rootfs(tmp_path_factory.mktemp("busybox") / "rootfs")


@pytest.fixture
def container(busybox_rootfs: Path, tmp_path: Path) -> Iterator[Box]:
    """A container to be changed and run."""
    with box(busybox_rootfs, tmp_path / "container") as made:
        yield made


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    """A bundle of one's own."""
    with made_bundle(tmp_path) as made:
        yield made
