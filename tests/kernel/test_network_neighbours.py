"""Several engines, and bridges of others, on one machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onggi.errors import Forbidden, OnggiError
from onggi.kernel import netlink
from onggi.store.database import Database
from tests.kernel.netlab import Lab, on_a_machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BRIDGE = "com.docker.network.bridge.name"


def links() -> set[str]:
    with netlink.Route() as route:
        return {link.name for link in route.links()}


def test_a_second_engine_has_a_bridge_of_its_own_and_takes_only_that_along(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        database = Database.open(tmp_path / "second.db")
        second = lab.engine("2ab00000", database)
        await second.restore()
        await second.settle()
        assert second.resolve("bridge").bridge == "og-2ab00000"
        first_subnet, second_subnet = (e.resolve("bridge").subnet(4) for e in (lab.networks, second))
        assert first_subnet != second_subnet
        with pytest.raises(OnggiError, match="belongs to another engine"):
            await second.create("taken", options={BRIDGE: "lab0"})
        await second.close(remove=True)
        assert "lab0" in links()
        assert "og-2ab00000" not in links()

    on_a_machine(tmp_path, scene)


def test_an_engine_that_comes_back_to_a_taken_name_moves(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        await lab.networks.close(remove=True)
        second = lab.engine("2ab00000", Database.open(tmp_path / "second.db"))
        await second.restore()
        assert second.resolve("bridge").bridge == "lab0"
        again = lab.engine()
        await again.restore()
        assert again.resolve("bridge").bridge == "og-1ab00000"

    on_a_machine(tmp_path, scene)


def test_a_bridge_that_no_network_explains_goes_at_the_next_start(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        with netlink.Route() as route:
            route.add_bridge("br-half", alias=lab.networks.table)
        await lab.networks.close(remove=False)
        await lab.engine().restore()
        assert "br-half" not in links()
        assert "lab0" in links()

    on_a_machine(tmp_path, scene)


def test_a_bridge_that_was_there_before_is_used_and_stays(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        with netlink.Route() as route:
            route.add_bridge("br0", alias="of the administrator")
        network = await lab.networks.create("mine", options={BRIDGE: "br0"})
        with pytest.raises(Forbidden, match="networks have same bridge name"):
            await lab.networks.create("other", options={BRIDGE: "br0"})
        await lab.container("a", network)
        lab.networks.members.detach("a", network.id)
        await lab.networks.remove("mine")
        assert "br0" in links()

    on_a_machine(tmp_path, scene)
