"""From `linux.seccomp` of a spec to what is loaded: the compiled filter, its flags, who listens.

libseccomp takes as long as the rest of a start: only who has a profile imports this.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from onggi.errors import InvalidArgument
from onggi.kernel.seccomp import FilterFlag, compile_profile, is_known
from onggi.oci.runtime import Seccomp
from onggi.runtime.notifying import ListenerPlan
from onggi.runtime.seccomp_default import SpecProfile, profile_from_spec

_NOTIFY: Final = "SCMP_ACT_NOTIFY"
_PREFIX: Final = "SECCOMP_FILTER_FLAG_"


class Filter(NamedTuple):
    """For InitPlan and ExecPlan."""

    program: bytes
    flags: int
    listener: ListenerPlan | None


def from_spec(seccomp: Seccomp) -> Filter:
    """Raises InvalidArgument in runc's words, OSError."""
    flags = FilterFlag.NONE
    # Without a word about flags runc asks for this one, which leaves the processor's guesses at stores alone.
    for name in seccomp.flags if seccomp.flags is not None else [_PREFIX + "SPEC_ALLOW"]:
        try:
            flags |= FilterFlag[name.removeprefix(_PREFIX)]
        except KeyError:
            raise InvalidArgument(f"seccomp flag {name!r} is unknown") from None
        if name == _PREFIX + "NEW_LISTENER":
            raise InvalidArgument(f"seccomp flag {name!r} is the runtime's own")
    profile = profile_from_spec(msgspec.convert(msgspec.to_builtins(seccomp), SpecProfile))
    listener = _listener(seccomp)
    if listener is None:
        # Only an agent can be waited for.
        flags &= ~FilterFlag.WAIT_KILLABLE_RECV
    return Filter(compile_profile(profile), int(flags), listener)


def check_names(seccomp: Seccomp) -> None:
    """Raises InvalidArgument for a system call that this machine's libseccomp doesn't know."""
    for rule in seccomp.syscalls:
        for name in rule.names:
            if not is_known(name):
                raise InvalidArgument(f"seccomp: unknown system call {name!r}")


def _listener(seccomp: Seccomp) -> ListenerPlan | None:
    if seccomp.default_action == _NOTIFY:
        raise InvalidArgument("SCMP_ACT_NOTIFY cannot be used as default action")
    notified = [rule for rule in seccomp.syscalls if rule.action == _NOTIFY]
    if not notified and not seccomp.listener_path:
        return None
    # An agent that is named is told of the process even if no call is sent on to it: crun does so.
    if any("write" in rule.names for rule in notified):
        # The listener is handed over by a write, which nobody could answer yet.
        raise InvalidArgument("SCMP_ACT_NOTIFY cannot be used for the write syscall")
    if not seccomp.listener_path:
        raise InvalidArgument("SCMP_ACT_NOTIFY needs a listenerPath")
    return ListenerPlan(seccomp.listener_path, seccomp.listener_metadata)
