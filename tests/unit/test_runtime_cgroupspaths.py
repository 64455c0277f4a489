"""Which cgroup a bundle asks for."""

from __future__ import annotations

import pytest

from onggi.errors import InvalidArgument
from onggi.runtime.cgroupspaths import DISABLED, path_of

pytestmark = pytest.mark.row("CL-199")


@pytest.mark.parametrize(
    ("wanted", "manager", "path"),
    [
        ("", "cgroupfs", "/box"),
        ("/a/b", "cgroupfs", "/a/b"),
        ("a/b", "cgroupfs", "a/b"),
        ("anything", "disabled", DISABLED),
        ("", "systemd", "/system.slice/onggi-box.scope"),
        ("user.slice:pre:name", "systemd", "/user.slice/pre-name.scope"),
        ("a-b-c.slice:pre:name", "systemd", "/a.slice/a-b.slice/a-b-c.slice/pre-name.scope"),
        ("-.slice:pre:name", "systemd", "/pre-name.scope"),
        (":pre:name", "systemd", "/system.slice/pre-name.scope"),
        ("machine.slice::pod.slice", "systemd", "/machine.slice/pod.slice"),
    ],
)
def test_paths_are_as_the_manager_reads_them(wanted: str, manager: str, path: str) -> None:
    assert path_of(wanted, "box", manager=manager) == path


@pytest.mark.parametrize(
    ("wanted", "manager"),
    [
        ("../up", "cgroupfs"),
        ("/a/../../b", "cgroupfs"),
        ("/plain/path", "systemd"),
        ("a:b", "systemd"),
        ("a.slice:pre:../name", "systemd"),
        ("-a.slice:pre:name", "systemd"),
        ("a--b.slice:pre:name", "systemd"),
        ("noslice:pre:name", "systemd"),
        ("", "launchd"),
    ],
)
def test_what_could_lead_elsewhere_is_refused(wanted: str, manager: str) -> None:
    with pytest.raises(InvalidArgument):
        path_of(wanted, "box", manager=manager)
