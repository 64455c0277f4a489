"""Work of the engine's own: what fails in it is said."""

from __future__ import annotations

import asyncio

import pytest

from onggi.engine.tasks import Tasks, logged
from onggi.errors import Conflict


@pytest.mark.row("R-39")
def test_what_fails_on_the_way_is_said_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    for error in (Conflict("somebody uses it"), OSError(16, "busy")):
        with logged("removal of volume data"):
            raise error
    assert "removal of volume data failed: somebody uses it" in caplog.text
    assert "removal of volume data failed: [Errno 16] busy" in caplog.text
    with pytest.raises(ValueError, match="a bug"), logged("removal of volume data"):
        raise ValueError("a bug")


@pytest.mark.row("R-39")
def test_a_bug_in_a_task_of_its_own_is_said_with_the_tasks_name(caplog: pytest.LogCaptureFixture) -> None:
    async def claim() -> None:
        async def breaks() -> None:
            raise ValueError("a bug")

        tasks = Tasks()
        tasks.begin(breaks(), "removal of web")
        await tasks.close()

    asyncio.run(claim())
    assert "removal of web failed" in caplog.text
    assert "ValueError: a bug" in caplog.text
