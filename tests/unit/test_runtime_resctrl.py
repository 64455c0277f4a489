"""linux.intelRdt over a directory laid out as resctrl is: no machine here has the processors for the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onggi.errors import InvalidArgument
from onggi.oci.runtime import IntelRdt
from onggi.runtime import resctrl
from onggi.runtime.resctrl import Group

pytestmark = pytest.mark.row("CL-205")
SCHEMATA = "    MB:0=100;1=070\n    L3:0=007f0;1=0001f\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With one class of service that somebody has made, and the kernel's own."""
    for group in (tmp_path, tmp_path / "gold"):
        group.mkdir(exist_ok=True)
        (group / "schemata").write_text(SCHEMATA)
        (group / "tasks").write_text("")
        (group / "mon_groups").mkdir()
    return tmp_path


def written(path: Path) -> str:
    return path.read_text().strip()


def test_a_container_without_a_class_gets_its_own_which_goes_with_it(root: Path) -> None:
    group = Group(IntelRdt(l3_cache_schema="L3:0=f", mem_bw_schema="MB:0=20"), "c1", str(root))
    # The last line: in the kernel's file each takes its place, here each is written over the one before.
    assert written(root / "c1/schemata") == "MB:0=20"
    group.add(77)
    assert written(root / "c1/tasks") == "77"
    assert (group.path, group.made) == (str(root / "c1"), [str(root / "c1")])
    for name in ("schemata", "tasks"):  # the kernel's go with the directory
        (root / "c1" / name).unlink()
    resctrl.remove(group.made)
    assert not (root / "c1").exists()
    resctrl.remove(group.made)


@pytest.mark.parametrize(
    "rdt",
    [
        IntelRdt(clos_id="gold"),
        IntelRdt(clos_id="gold", l3_cache_schema="L3:0=7f0"),
        IntelRdt(clos_id="gold", schemata=["L3:1=1f;0=7f0", "MB:1=70"]),
    ],
)
def test_a_class_that_is_there_is_joined_and_stays(root: Path, rdt: IntelRdt) -> None:
    group = Group(rdt, "c1", str(root))
    group.add(77)
    assert (written(root / "gold/tasks"), group.made) == ("77", [])
    assert (root / "gold/schemata").read_text() == SCHEMATA


def test_the_root_is_a_class_of_its_own(root: Path) -> None:
    Group(IntelRdt(clos_id="/"), "c1", str(root)).add(77)
    assert written(root / "tasks") == "77"


def test_a_class_with_a_schema_is_made_and_stays(root: Path) -> None:
    group = Group(IntelRdt(clos_id="new", schemata=["L3:0=f"]), "c1", str(root))
    assert (written(root / "new/schemata"), group.made) == ("L3:0=f", [])


def test_a_monitor_is_the_containers_in_anybodys_class(root: Path) -> None:
    (root / "gold/mon_groups").chmod(0o755)
    group = Group(IntelRdt(clos_id="gold", enable_monitoring=True), "c1", str(root))
    group.add(77)
    assert written(root / "gold/mon_groups/c1/tasks") == "77"
    assert group.made == [str(root / "gold/mon_groups/c1")]


@pytest.mark.parametrize(
    ("rdt", "words"),
    [
        (IntelRdt(clos_id="none"), "there is no group none and the spec has no schema for it"),
        (IntelRdt(clos_id="gold", l3_cache_schema="L3:0=1"), "its schemata are not L3:0=1"),
        (IntelRdt(clos_id="gold", schemata=["L2:0=1"]), "its schemata are not L2:0=1"),
        (IntelRdt(clos_id="gold", schemata=["L3:0=x"]), "'L3:0=x' is no schema"),
    ],
)
def test_a_class_that_isnt_as_the_spec_says_is_an_error(root: Path, rdt: IntelRdt, words: str) -> None:
    before = sorted(os.listdir(root))
    with pytest.raises(InvalidArgument, match=words):
        Group(rdt, "c1", str(root))
    assert sorted(os.listdir(root)) == before


def test_what_was_made_is_gone_when_the_monitor_cant_be(root: Path) -> None:
    # Its own group, whose mon_groups the kernel would have made.
    with pytest.raises(OSError, match="intelRdt: make .*mon_groups/c1: No such file"):
        Group(IntelRdt(enable_monitoring=True), "c1", str(root))
    assert not (root / "c1").exists()


def test_without_the_file_system_it_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Intel RDT is not supported or enabled"):
        Group(IntelRdt(), "c1", "")
