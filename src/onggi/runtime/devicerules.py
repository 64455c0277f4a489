"""The device cgroup rules that each container has beside its own (as runc's and docker's; security.md's list).

Nodes of any device may be made, few may be opened: what a container finds in its own image gets it nowhere.
"""

from __future__ import annotations

from typing import Final

import msgspec

from onggi.kernel.cgroups.resources import DeviceRule
from onggi.oci.runtime import Linux, Spec

_MAKE: Final = (("c", -1, -1), ("b", -1, -1))
_OPEN: Final = (
    (1, 3),  # null
    (1, 5),  # zero
    (1, 7),  # full
    (1, 8),  # random
    (1, 9),  # urandom
    (5, 0),  # tty
    (5, 1),  # console
    (5, 2),  # ptmx
    (136, -1),  # terminals
)

DEFAULT_RULES: Final = (
    *(DeviceRule(True, kind, major, minor, "m") for kind, major, minor in _MAKE),
    *(DeviceRule(True, "c", major, minor, "rwm") for major, minor in _OPEN),
)


def with_default_rules(spec: Spec) -> Spec:
    """`spec` with these rules after its own, which would otherwise deny even /dev/null (runc adds them to a bundle's)."""
    resources = msgspec.structs.replace(spec.linux_resources, devices=[*spec.linux_resources.devices, *DEFAULT_RULES])
    return msgspec.structs.replace(spec, linux=msgspec.structs.replace(spec.linux or Linux(), resources=resources))
