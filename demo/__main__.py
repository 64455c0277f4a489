"""`python -m demo [--client onggi|docker] --base DEBIAN.tar`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from demo.platform import BIN, Platform
from demo.shell import Shell, expect
from demo.steps import Demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", choices=("onggi", "docker"), default="onggi")
    parser.add_argument("--base", type=Path, required=True, help="a Debian root file system, from scripts/base-image")
    options = parser.parse_args()
    started = time.perf_counter()
    platform = Platform()
    program = [str(BIN / "onggi")] if options.client == "onggi" else ["docker"]
    # Without BuildKit the docker client sends the Dockerfile to the engine: the protocol that is served so far.
    shell = Shell(program, {"DOCKER_HOST": f"unix://{platform.socket}", "DOCKER_BUILDKIT": "0"})
    try:
        platform.start()
        Demo(shell, platform, options.base.resolve(), options.client).all()
    finally:
        left = platform.close()
        for trace in sorted(left):
            print(f"  left: {trace}")
    expect(not left, "no mount, link, rule, cgroup, process or file of the engine is left on the machine")
    print(f"\nthe whole path in {time.perf_counter() - started:.0f} s")


main()
