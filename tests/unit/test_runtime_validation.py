"""What config.json may not say: each refused in a sentence of its own, before anything is made."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from onggi.errors import InvalidArgument
from onggi.oci.runtime import Spec
from onggi.runtime import validation
from onggi.runtime.example import example_spec

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("CL-190", {"ociVersion": "2.0.0"}, "ociVersion '2.0.0' is not supported"),
    ("CL-190", {"ociVersion": "invalid"}, "ociVersion 'invalid' is not supported"),
    (
        "CL-190",
        {"hostname": "a", "linux": {"namespaces": []}},
        "unable to set hostname without a private UTS namespace",
    ),
    ("CL-190", {"hostname": "", "domainname": "a", "linux": {"namespaces": []}}, "unable to set domainname without"),
    ("CL-191", {"root": {"path": ""}}, "root must be specified"),
    ("CL-191", {"hostname": "", "linux": {"namespaces": [], "maskedPaths": ["/x"]}}, "without a private MNT namespace"),
    ("CL-192", {"process": None}, "process property must not be empty"),
    ("CL-192", {"process": {"args": [], "cwd": "/"}}, "args must not be empty"),
    ("CL-192", {"process": {"args": ["a"], "cwd": "here"}}, "Cwd must be an absolute path"),
    ("CL-192", {"process": {"args": ["a"], "cwd": "/", "oomScoreAdj": 1001}}, "oomScoreAdj 1001 is not in"),
    (
        "CL-192",
        {"process": {"args": ["a"], "cwd": "/", "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}},
        "rlimit RLIMIT_CPU is there more than once",
    ),
    ("CL-195", {"hooks": {"poststop": [{"path": "true"}]}}, "hook path 'true' is not absolute"),
    ("CL-195", {"hooks": {"prestart": [{"path": "/true", "timeout": 0}]}}, "timeout must be greater than zero"),
    ("CL-198", {"linux": {"devices": [{"path": "/dev/a", "type": "x"}]}}, "device /dev/a: unknown type 'x'"),
    ("CL-198", {"linux": {"devices": [{"path": "dev/a", "type": "c"}]}}, "device path 'dev/a' is not absolute"),
    ("CL-198", {"linux": {"netDevices": {"e": {}}}}, "unable to move network devices without a private NET namespace"),
    ("CL-198", {"linux": {"netDevices": {"e/f": {}}}}, "invalid network device name 'e/f'"),
    ("CL-198", {"linux": {"netDevices": {"e": {"name": "x" * 16}}}}, f"invalid network device name '{'x' * 16}'"),
    ("CL-204", {"linux": {"rootfsPropagation": "wide"}}, "rootfsPropagation=wide is not supported"),
    ("CL-205", {"linux": {"intelRdt": {"closID": "a/b"}}}, "intelRdt: closID 'a/b' is no name of a group"),
    ("CL-205", {"linux": {"intelRdt": {"closID": "info"}}}, "intelRdt: closID 'info' is no name of a group"),
    ("CL-205", {"linux": {"intelRdt": {"memBwSchema": "L3:0=f"}}}, "memBwSchema 'L3:0=f' does not start with MB:"),
    ("CL-205", {"linux": {"intelRdt": {"schemata": ["L3:0=f\nMB:0=1"]}}}, "is not one line such as L3:0=f;1=f"),
]


@pytest.mark.row("CL-190", "CL-191", "CL-192", "CL-195", "CL-198", "CL-204", "CL-205")
@pytest.mark.parametrize(("row", "changes", "words"), WRONG)
def test_a_wrong_value_is_refused_by_name(row: str, changes: dict[str, Any], words: str) -> None:
    assert row.startswith("CL-")
    config: dict[str, Any] = msgspec.to_builtins(example_spec())
    bare = {"namespaces": [{"type": kind} for kind in ("mount", "uts")]}
    if "netDevices" in changes.get("linux", {}) and "MNT" not in words and "NET" not in words:
        bare["namespaces"].append({"type": "network"})
    changed = config | {"linux": bare} | changes
    if "linux" in changes:
        changed["linux"] = bare | changes["linux"]
    with pytest.raises(InvalidArgument, match=words):
        validation.check(msgspec.convert(changed, Spec))


@pytest.mark.row("CL-190")
@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.2.1", "1.3.0", "1.9.0"])
def test_every_version_1_of_the_spec_is_taken(version: str) -> None:
    validation.check(msgspec.structs.replace(example_spec(), oci_version=version))


@pytest.mark.row("CL-192")
def test_capabilities_that_no_kernel_has_are_named_and_left_out() -> None:
    process = example_spec().process
    assert process is not None
    assert process.capabilities is not None
    process.capabilities.bounding = ["CAP_KILL", "CAP_TEST"]
    process.capabilities.effective = ["CAP_TEST", "CAP_KILL"]
    kept, unknown = validation.known_capabilities(process)
    assert unknown == ["CAP_TEST"]
    assert kept.capabilities is not None
    assert (kept.capabilities.bounding, kept.capabilities.effective) == (["CAP_KILL"], ["CAP_KILL"])


@pytest.mark.row("CL-206")
def test_parts_for_other_systems_are_read_over() -> None:
    others = {name: {"anything": [1]} for name in ("solaris", "windows", "vm", "zos", "freebsd", "unknown")}
    validation.check(msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(example_spec()) | others), type=Spec))
