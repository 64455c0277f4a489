"""What flags give a container and take from it; most lines are what dockerd 28.5 gave to the same body on the same kernel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.engine.config import DeviceMapping
from onggi.engine.engine import Engine
from onggi.kernel import capabilities
from tests.engine.engines import add_image, clear, needs_root, options, output

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

LOOK = """
grep -E '^(CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status
[ "$(stat -f -c %T /proc/keys)" = tmpfs ] && echo +masked
sh -c 'cat /proc/sys/kernel/panic_on_oops > /proc/sys/kernel/panic_on_oops' 2>/dev/null && echo +sysctl
mknod /tmp/block b 7 0 2>/dev/null && { echo +mknod; head -c 1 /tmp/block 2>&1 >/dev/null | grep -q 'not permitted' || echo +block; }
{ touch /file; } 2>/dev/null && echo +root
unshare -U true 2>/dev/null && echo +userns
[ -c /dev/given ] && echo +given
[ "$(ls /dev | wc -l)" -gt 20 ] && echo +devices
true
"""
USUAL = 0xA80425FB
"""Docker's fourteen."""
ALL = -1
ADMIN, NET, TIME, MKNOD = (
    1 << capabilities.CAPS[f"CAP_{name}"] for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_TIME", "MKNOD")
)
CLOSED = {"masked", "root", "mknod"}
OPEN = {"sysctl", "root", "mknod", "block", "userns", "devices"}
ROOTLESS_LEFT = {"masked", "userns", "given", "devices"}
"""What doesn't need root inside."""

# Host config, capabilities of the bounding set, what can be done, seccomp's mode, no_new_privs.
CASES: list[tuple[dict[str, Any], int, set[str], int, int]] = [
    ({}, USUAL, CLOSED, 2, 0),
    ({"privileged": True}, ALL, OPEN, 0, 0),
    ({"privileged": True, "cap_drop": ["NET_RAW"]}, ALL, OPEN, 0, 0),
    ({"privileged": True, "readonly_rootfs": True}, ALL, OPEN - {"root", "mknod", "block"}, 0, 0),
    ({"privileged": True, "security_opt": ["no-new-privileges"]}, ALL, OPEN, 0, 1),
    ({"cap_add": ["NET_ADMIN"]}, USUAL | NET, CLOSED, 2, 0),
    ({"cap_add": ["net_admin", "CAP_SYS_TIME"]}, USUAL | NET | TIME, CLOSED, 2, 0),
    ({"cap_add": ["SYS_ADMIN"]}, USUAL | ADMIN, CLOSED | {"userns"}, 2, 0),
    ({"cap_add": ["ALL"]}, ALL, CLOSED | {"userns"}, 2, 0),
    ({"cap_add": ["ALL"], "cap_drop": ["SYS_ADMIN"]}, ALL & ~ADMIN, CLOSED, 2, 0),
    ({"cap_drop": ["ALL"]}, 0, CLOSED - {"mknod"}, 2, 0),
    ({"cap_drop": ["ALL"], "cap_add": ["CHOWN"]}, 1, CLOSED - {"mknod"}, 2, 0),
    ({"cap_drop": ["mknod"]}, USUAL & ~MKNOD, CLOSED - {"mknod"}, 2, 0),
    ({"devices": [DeviceMapping("/dev/random", "/dev/given", "r")]}, USUAL, CLOSED | {"given"}, 2, 0),
    ({"device_cgroup_rules": ["b 7:* rmw"]}, USUAL, CLOSED | {"block"}, 2, 0),
    ({"security_opt": ["no-new-privileges"]}, USUAL, CLOSED, 2, 1),
    ({"security_opt": ["no-new-privileges:false"]}, USUAL, CLOSED, 2, 0),
    ({"security_opt": ["seccomp=unconfined"]}, USUAL, CLOSED | {"userns"}, 0, 0),
    ({"masked_paths": [], "readonly_paths": []}, USUAL, (CLOSED - {"masked"}) | {"sysctl"}, 2, 0),
    ({"readonly_rootfs": True}, USUAL, CLOSED - {"root", "mknod"}, 2, 0),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Engine]]:
    async def build(place: Path) -> Engine:
        opened = await Engine.open(options(place))
        await add_image(opened)
        return opened

    with asyncio.Runner() as runner:
        opened = runner.run(build(tmp_path_factory.mktemp("rights")))
        try:
            yield runner, opened
        finally:
            runner.run(clear(opened))
            runner.run(opened.close())


@pytest.mark.row("S-34", "P-155", "P-156")
@pytest.mark.parametrize("user", ["", "1000"])
@pytest.mark.parametrize(("host", "bounding", "can", "filtered", "bound"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_flag_changes_what_docker_changes_and_no_more(
    engine: tuple[asyncio.Runner, Engine], user: str, host: dict[str, Any], bounding: int, can: set[str], filtered: int, bound: int
) -> None:  # fmt: skip
    runner, opened = engine
    text = runner.run(output(opened, "sh", "-c", LOOK, host=host, user=user))
    status = dict(re.findall(r"(?m)^(\w+):\t(\w+)$", text))
    # Nobody is given what we haven't got.
    wanted = bounding & capabilities.get_caps().permitted
    assert int(status["CapBnd"], 16) == wanted
    assert [int(status[name], 16) for name in ("CapPrm", "CapEff")] == [0 if user else wanted] * 2
    assert int(status["CapAmb"], 16) == 0
    assert (int(status["Seccomp"]), int(status["NoNewPrivs"])) == (filtered, bound)
    assert set(re.findall(r"(?m)^\+(\w+)$", text)) == (can & ROOTLESS_LEFT if user else can)
