"""The route table against the goal table: nothing is missing, nothing is hidden behind something else."""

from __future__ import annotations

import re

import pytest

from onggi.api.routes import every_route
from onggi.api.routes_absent import NOT_HERE
from onggi.api.table import Route, Table
from onggi.api.versions import NEWEST

ROUTES = list(every_route())
ROWS = [f"E-{number:03d}" for number in range(1, 116) if number != 109]  # E-109, OPTIONS, is answered for every path


def sample(pattern: str) -> str:
    return re.sub(r"\{\w+\}", "one", re.sub(r"\{\w+\*\}", "host:5000/team/app", pattern))


def table() -> Table:
    made = Table()
    for route in ROUTES:
        made.add(route)
    return made


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_goal_table_has_a_route(row: str) -> None:
    assert [route for route in ROUTES if route.row == row]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_every_route_is_found_by_its_own_path(route: Route) -> None:
    found = table().find(route.method, sample(route.pattern), NEWEST)
    assert isinstance(found, tuple)
    assert found[0] is route


@pytest.mark.row("E-116")
def test_a_known_path_names_the_methods_that_it_has() -> None:
    assert table().find("PATCH", "/containers/one", NEWEST) == {"DELETE"}
    assert table().find("PUT", "/images/a/b/json", NEWEST) >= {"GET"}  # type: ignore[operator]
    assert table().find("GET", "/containers", NEWEST) == set()


def test_what_is_not_here_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for (method, pattern), (row, why) in sorted(NOT_HERE.items()):
        print(f"{row}  {method:6} {pattern:34} {why}")
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == len(NOT_HERE)
    assert all(route.row for route in ROUTES)
