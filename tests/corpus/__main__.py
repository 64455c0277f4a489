"""Builds the corpus with a dockerd, through buildx: `python -m tests.corpus unix:///run/docker.sock [--compare] [name…]`.

What it comes to is written down as what onggi is compared with; --compare prints what differs from that instead.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.corpus.case import HERE, load
from tests.corpus.client import Client
from tests.corpus.doors import Buildx

RECORDED = HERE / "recorded.json"


def main(words: list[str]) -> int:
    host, *rest = words
    compare = "--compare" in rest
    names = [word for word in rest if not word.startswith("-")]
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    differs = 0
    with tempfile.TemporaryDirectory() as directory:
        peer = Client(host, Buildx(host, Path(directory)), Path(directory))
        for case in load():
            if names and case.name not in names:
                continue
            found = peer.record(case)
            if compare and found != recorded.get(case.name):
                differs += 1
                print(f"{case.name}:", json.dumps(found, indent=1))
            recorded[case.name] = found
    if not compare:
        kept = {case.name: recorded[case.name] for case in load() if case.name in recorded}
        RECORDED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
