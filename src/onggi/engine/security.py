"""--security-opt: the words, read once for the check at create and for the spec of a start. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from onggi.errors import InvalidArgument
from onggi.runtime.seccomp_default import profile_from_docker_json

_NAMES = frozenset({"label", "apparmor", "seccomp", "no-new-privileges", "writable-cgroups", "systempaths"})
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(slots=True)
class SecurityOptions:
    """What the words say. `seccomp`: "" for the default, unconfined, builtin, or a profile's JSON."""

    no_new_privileges: bool = False
    writable_cgroups: bool = False
    apparmor: str = ""
    seccomp: str = ""
    labels: tuple[str, ...] = ()
    open_system_paths: bool = False
    """Nothing in /proc and /sys is masked: docker's command line asks with empty lists, other clients in a word."""


def read(options: list[str] | None) -> SecurityOptions:
    """Raises InvalidArgument in dockerd's words (daemon_unix.go parseSecurityOpt); both `=` and the older `:` stand."""
    found = SecurityOptions()
    for option in options or ():
        if option == "no-new-privileges":
            found.no_new_privileges = True
            continue
        if option == "disable":  # of label, from very old clients
            found.labels = (*found.labels, "disable")
            continue
        separator = "=" if "=" in option else ":"
        key, had, value = option.partition(separator)
        if not had:
            raise InvalidArgument(f'invalid --security-opt 1: "{option}"')
        if key not in _NAMES:
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
        _take(found, key, value, option)
    return found


def _take(found: SecurityOptions, key: str, value: str, option: str) -> None:
    match key:
        case "label":
            found.labels = (*found.labels, value)
        case "apparmor":
            found.apparmor = value
        case "seccomp":
            found.seccomp = value
            if value not in ("unconfined", "builtin"):
                # A profile that can't be read is better told at create than at a start.
                profile_from_docker_json(value.encode(), frozenset())
        case "no-new-privileges":
            found.no_new_privileges = _boolean(value, option)
        case "writable-cgroups":
            found.writable_cgroups = _boolean(value, option)
        case _:
            if value != "unconfined":
                raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
            found.open_system_paths = True


def _boolean(text: str, option: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
