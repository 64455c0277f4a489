"""Overlays of many layers: one at a time where the kernel takes them so, in a page of options where it doesn't."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onggi.kernel import mounts

pytestmark = pytest.mark.root
OPTIONS = {"source": "overlay", "redirect_dir": "off", "metacopy": "off", "index": "off"}


@pytest.mark.parametrize("by_page", [False, True], ids=["this kernel's way", "before Linux 6.7"])
def test_an_overlay_of_a_hundred_layers_leaves_nothing_in_the_hosts_table(tmp_path: Path, by_page: bool) -> None:
    layers = [tmp_path / f"{'layer' * 10}-{number}" for number in range(100)]
    for number, layer in enumerate(layers):
        layer.mkdir()
        (layer / f"file-{number}").write_text("")
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    lower, upper, work = [str(layer) for layer in layers], str(tmp_path / "upper"), str(tmp_path / "work")
    before = mounts.mountinfo()
    made = (
        mounts._overlay_by_page(lower, upper, work, OPTIONS, own_namespace=False)
        if by_page
        else mounts.overlay(lower, upper, work, options=OPTIONS)
    )
    with made:
        assert set(os.listdir(f"/proc/self/fd/{made.fileno()}")) == {f"file-{number}" for number in range(100)}
        Path(f"/proc/self/fd/{made.fileno()}/new").write_text("written")
        assert mounts.mountinfo() == before
    assert (tmp_path / "upper/new").read_text() == "written"


def test_a_layer_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        mounts._overlay_by_page([str(tmp_path / "gone")], None, None, OPTIONS, own_namespace=False)


@pytest.mark.parametrize("name", ["a b", "a#b", "a\\040b", "옹기", "line\u2028line", "tab\tnew\nline"])
def test_a_mount_is_listed_under_the_name_of_its_directory(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.mkdir()
    mounts.mount("none", str(place), "tmpfs", mounts.MountFlag.NONE)
    try:
        assert [mount.fstype for mount in mounts.mountinfo() if mount.target == str(place)] == ["tmpfs"]
    finally:
        mounts.umount2(str(place), mounts.MNT_DETACH)
