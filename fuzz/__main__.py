"""python -m fuzz TARGET [libFuzzer's options]."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["onggi"]):
    from fuzz.targets import REFUSED, SEEDS, TARGETS


def main() -> None:
    name, options = sys.argv[1], sys.argv[2:]
    target = TARGETS[name]
    corpus = Path(".cache/fuzz") / name
    corpus.mkdir(parents=True, exist_ok=True)

    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)

    def once(data: bytes) -> None:
        with contextlib.suppress(*REFUSED):
            target(data)

    atheris.Setup(
        [sys.argv[0], *options, "-timeout=10", "-max_len=4096", f"-artifact_prefix={corpus}/", str(corpus)], once
    )
    atheris.Fuzz()


main()
