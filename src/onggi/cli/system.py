"""version, info, system df, system dial-stdio."""

from __future__ import annotations

import os
import sys

from onggi.cli.main import Command, Exit
from onggi.cli.tables import table
from onggi.cli.units import human_size
from onggi.client import system
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.cli.main import Context
    from onggi.client.shapes import Json


def _client(context: Context) -> Json:
    import platform

    from onggi import __version__

    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return {
        "Version": __version__, "ApiVersion": context.engine.version, "DefaultAPIVersion": context.engine.version,
        "GoVersion": f"python{platform.python_version()}", "GitCommit": "", "BuildTime": "", "Os": "linux", "Arch": arch, "Context": "default",
    }  # fmt: skip


def _version(context: Context, options: Options, words: list[str]) -> None:
    del words
    client, server, failure = _client(context), None, ""
    try:
        server = context.engine(system.version())
    except OnggiError as error:
        failure = str(error)
    format = options.text("format")
    if format:
        _formatted({"Client": client, "Server": server}, format)
    else:
        lines = [
            "Client: onggi",
            *_pairs(
                (
                    ("Version", client["Version"]),
                    ("API version", client["ApiVersion"]),
                    ("Python version", client["GoVersion"]),
                    ("OS/Arch", f"{client['Os']}/{client['Arch']}"),
                ),
                " ",
            ),
        ]
        if server:
            lines += ["", f"Server: {(server.get('Platform') or {}).get('Name', '')}"]
            for component in server.get("Components") or []:
                lines.append(f" {component['Name']}:")
                details = component.get("Details") or {}
                rows = [("Version", component["Version"])]
                if component["Name"] == "Engine":
                    rows += [
                        (
                            "API version",
                            f"{details.get('ApiVersion')} (minimum version {details.get('MinAPIVersion')})",
                        ),
                        ("Git commit", details.get("GitCommit", "")),
                        ("OS/Arch", f"{details.get('Os')}/{details.get('Arch')}"),
                    ]
                lines += _pairs(rows, "  ")
        sys.stdout.write("\n".join(lines) + "\n")
    if failure:
        raise Exit(1, failure)


def _pairs(rows: object, indent: str) -> list[str]:
    return [f"{indent}{name + ':':18}{value}" for name, value in rows]  # type: ignore[attr-defined]


def _formatted(data: Json, format: str) -> None:
    from onggi.cli.templates import Template

    sys.stdout.write(Template("{{json .}}" if format == "json" else format).render(data) + "\n")


def _info(context: Context, options: Options, words: list[str]) -> None:
    del words
    found = context.engine(system.info())
    if options.text("format"):
        _formatted(found, options.text("format"))
        return
    lines = [
        "Client: onggi", f" Version:    {_client(context)['Version']}", " Context:    default", "", "Server:", f" Containers: {found['Containers']}",
        f"  Running: {found['ContainersRunning']}", f"  Paused: {found['ContainersPaused']}", f"  Stopped: {found['ContainersStopped']}",
        f" Images: {found['Images']}", f" Server Version: {found['ServerVersion']}", f" Storage Driver: {found['Driver']}",
        *[f"  {name}: {value}" for name, value in found.get("DriverStatus") or []],
        f" Logging Driver: {found['LoggingDriver']}", f" Cgroup Driver: {found['CgroupDriver']}", f" Cgroup Version: {found.get('CgroupVersion', '1')}",
        f" Default Runtime: {found['DefaultRuntime']}", " Security Options:", *[f"  {option}" for option in found.get("SecurityOptions") or []],
        f" Kernel Version: {found['KernelVersion']}", f" Operating System: {found['OperatingSystem']}", f" OSType: {found['OSType']}",
        f" Architecture: {found['Architecture']}", f" CPUs: {found['NCPU']}", f" Total Memory: {found['MemTotal'] / 2**30:.4g}GiB",
        f" Name: {found['Name']}", f" ID: {found['ID']}", f" Docker Root Dir: {found['DockerRootDir']}", f" Debug Mode: {str(found['Debug']).lower()}",
        f" Live Restore Enabled: {str(found['LiveRestoreEnabled']).lower()}",
    ]  # fmt: skip
    sys.stdout.write("\n".join(lines) + "\n")
    for warning in found.get("Warnings") or []:
        sys.stderr.write(f"WARNING: {warning}\n")


def _df(context: Context, options: Options, words: list[str]) -> None:
    del words
    found = context.engine(system.df())
    rows = [
        _df_row("Images", found.get("Images") or [], lambda one: one["Containers"] > 0, lambda one: one["Size"], total=found.get("LayersSize")),
        _df_row("Containers", found.get("Containers") or [], lambda one: one["State"] == "running", lambda one: one.get("SizeRw", 0)),
        _df_row("Local Volumes", found.get("Volumes") or [], lambda one: (one.get("UsageData") or {}).get("RefCount", 0) > 0, lambda one: (one.get("UsageData") or {}).get("Size", 0)),
        _df_row("Build Cache", found.get("BuildCache") or [], lambda one: one.get("InUse", False), lambda one: one.get("Size", 0)),
    ]  # fmt: skip
    if options.text("format"):
        from onggi.cli.templates import Template

        template = Template(options.text("format"))
        for row in rows:
            sys.stdout.write(
                template.render(dict(zip(("Type", "TotalCount", "Active", "Size", "Reclaimable"), row, strict=True)))
                + "\n"
            )
        return
    sys.stdout.write(table(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], rows))


def _df_row(name: str, items: list[Json], active: object, size: object, total: int | None = None) -> list[str]:
    sizes = [size(one) for one in items]  # type: ignore[operator]
    used = [active(one) for one in items]  # type: ignore[operator]
    whole = sum(sizes) if total is None else total
    free = sum(value for value, in_use in zip(sizes, used, strict=True) if not in_use)
    share = f" ({100 * free // whole}%)" if whole else ""
    return [name, str(len(items)), str(sum(used)), human_size(whole, 4), human_size(min(free, whole), 4) + share]


def _dial_stdio(context: Context, options: Options, words: list[str]) -> None:
    """Bytes between stdio and the engine's socket, ends included: what ssh:// of docker's clients runs on the other side."""
    import threading

    del options, words
    sock = context.connect().endpoint.connect()

    def upwards() -> None:
        while data := os.read(0, 65536):
            sock.sendall(data)
        import socket

        sock.shutdown(socket.SHUT_WR)

    threading.Thread(target=upwards, daemon=True, name="stdin to the engine").start()
    while data := sock.recv(65536):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


_FORMAT = "-f --format string  Format output using a custom template"
COMMANDS = {
    "version": Command(_version, "[OPTIONS]", "Show the version information", _FORMAT, most=0),
    "info": Command(_info, "[OPTIONS]", "Display system-wide information", _FORMAT, most=0),
    "df": Command(
        _df,
        "[OPTIONS]",
        "Show docker disk usage",
        "   --format string  Format output using a custom template\n-v --verbose bool  Show detailed information on space usage",
        most=0,
    ),
    "dial_stdio": Command(
        _dial_stdio, "", "Proxy the stdio stream to the daemon connection. Should not be invoked manually.", most=0
    ),
}
