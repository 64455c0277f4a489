"""The journald log driver into a real journal, which the virtual machine has."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from onggi.engine.config import LogConfig
from onggi.engine.engine import Engine
from tests.engine.engines import end_of, logs, run, with_engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif("GUEST_SCALE" not in os.environ, reason="needs a journal: make test-v2"),
]


def entries(container: str) -> list[dict[str, Any]]:
    command = ["journalctl", "--output=json", "--no-pager", f"CONTAINER_ID_FULL={container}"]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return [json.loads(line) for line in said.splitlines()]


@pytest.mark.row("E-309", "P-326", "P-348")
def test_output_is_in_the_journal_with_the_fields_that_docker_gives_it(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        options = {"labels": "site.name", "env": "FOO", "tag": "{{.Name}}/{{.ImageName}}"}
        script = "echo out; echo err >&2; printf 'no end'"
        container = await run(
            engine, "sh", "-c", script, name="told", labels={"site.name": "here"}, env=["FOO=bar"], host={"log_config": LogConfig("journald", options)},
        )  # fmt: skip
        assert await end_of(engine, container) == 0
        async with asyncio.timeout(60):
            while len(found := entries(container)) < 3:
                await asyncio.sleep(0.2)
        by_text = {entry["MESSAGE"]: entry for entry in found}
        assert set(by_text) == {"out", "err", "no end"}
        assert (by_text["out"]["PRIORITY"], by_text["err"]["PRIORITY"]) == ("6", "3")
        assert {
            "CONTAINER_ID": container[:12], "CONTAINER_NAME": "told", "CONTAINER_TAG": "told/busybox", "SYSLOG_IDENTIFIER": "told/busybox",
            "IMAGE_NAME": "busybox", "SITE_NAME": "here", "FOO": "bar",
        }.items() <= by_text["out"].items()  # fmt: skip
        # Any driver's output can be read back.
        assert await logs(engine, container) == "out\nerr\nno end"

    with_engine(tmp_path, test)
