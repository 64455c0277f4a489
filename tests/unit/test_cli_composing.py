"""`onggi inspect --as compose`: the file, to the letter. docker compose 2.40 made the same container of such files again."""

from __future__ import annotations

from typing import Any

import pytest

from onggi.cli.retelling import retell

IMAGE: dict[str, Any] = {
    "Config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"of": "image"}, "Entrypoint": None, "WorkingDir": "/"}
}


def container(**host: Any) -> dict[str, Any]:
    config = {
        "Image": "busybox", "Hostname": "0123456789ab", "Cmd": ["sleep", "1000"], "Env": ["PATH=/bin", "A=$B"], "Tty": True,
        "Labels": {"of": "image", "on": "yes"}, "WorkingDir": "/", "ExposedPorts": {"80/tcp": {}, "90/tcp": {}}, "StopTimeout": 3,
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_500_000_000, "Retries": 2},
    }  # fmt: skip
    networks = {"back": {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.1.0.9"}}}
    return {
        "Id": "0123456789abcdef", "Name": "/web", "Config": config, "HostConfig": {"NetworkMode": "back", "IpcMode": "private", **host},
        "Mounts": [
            {"Type": "volume", "Name": "data", "Source": "/x", "Destination": "/d", "RW": False},
            {"Type": "bind", "Source": "/srv", "Destination": "/s", "RW": True, "Propagation": "rslave"},
        ],
        "NetworkSettings": {"Networks": networks},
    }  # fmt: skip


@pytest.mark.row("B-05")
def test_a_container_is_told_as_a_compose_file() -> None:
    host = {
        "Memory": 64 << 20, "NanoCpus": 500_000_000, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "Init": True,
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {}]}, "CapAdd": ["NET_ADMIN"],
        "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "Tmpfs": {"/t": "size=1m"}, "SecurityOpt": ["no-new-privileges"],
        "LogConfig": {"Type": "local", "Config": {"max-size": "1m"}},
    }  # fmt: skip
    assert retell("compose", container(**host), IMAGE).splitlines() == [
        "services:",
        "  web:",
        "    image: busybox",
        "    container_name: web",
        "    command:",
        "      - sleep",
        '      - "1000"',
        "    tty: true",
        "    environment:",
        '      - "A=$$B"',
        "    labels:",
        '      "on": "yes"',
        "    healthcheck:",
        "      test:",
        "        - CMD",
        '        - "true"',
        '      interval: "1500000us"',
        "      retries: 2",
        '    stop_grace_period: "3s"',
        "    mem_limit: 67108864",
        "    cpus: 0.5",
        "    ulimits:",
        "      nofile:",
        "        soft: 1",
        "        hard: 2",
        '    restart: "on-failure:3"',
        "    logging:",
        "      driver: local",
        "      options:",
        '        max-size: "1m"',
        "    cap_add:",
        "      - NET_ADMIN",
        "    init: true",
        "    security_opt:",
        "      - no-new-privileges",
        "    volumes:",
        "      - type: volume",
        "        source: data",
        "        target: /d",
        "        read_only: true",
        "      - type: bind",
        "        source: /srv",
        "        target: /s",
        "        bind:",
        "          propagation: rslave",
        "    tmpfs:",
        '      - "/t:size=1m"',
        "    ports:",
        '      - "127.0.0.1:8080:80/tcp"',
        '      - "80/tcp"',
        "    expose:",
        '      - "90/tcp"',
        "    networks:",
        "      back:",
        '        ipv4_address: "10.1.0.9"',
        "        aliases:",
        "          - db",
        "networks:",
        "  back:",
        "    external: true",
        "volumes:",
        "  data:",
        "    external: true",
    ]


@pytest.mark.parametrize("mode", ["bridge", "host", "none", "container:other"])
def test_a_network_that_is_no_ones_own_is_a_mode(mode: str) -> None:
    made = container(NetworkMode=mode)
    made["NetworkSettings"]["Networks"] = {} if ":" in mode else {mode: {}}
    told = f'"{mode}"' if ":" in mode else mode
    assert f"    network_mode: {told}" in retell("compose", made, IMAGE).splitlines()
