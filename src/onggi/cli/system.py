"""version and info."""

from __future__ import annotations

import os
import sys
from typing import Any

from onggi.cli.command import Command, Exit
from onggi.cli.units import binary_size, clean, rfc3339
from onggi.client import system
from onggi.client.sync import API_VERSION
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json


def _client(context: Context, version: str) -> Json:
    import platform

    from onggi import __version__

    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return {
        "Platform": {"Name": "onggi"}, "Version": __version__, "ApiVersion": version, "DefaultAPIVersion": API_VERSION,
        "GitCommit": f"onggi-{__version__}", "GoVersion": f"python{platform.python_version()}", "Os": "linux", "Arch": arch,
        "BuildTime": "", "Context": context.context_name,
    }  # fmt: skip


def _version(context: Context, options: Options, words: list[str]) -> None:
    del words
    server, failure, version = None, "", os.environ.get("DOCKER_API_VERSION") or API_VERSION
    try:
        server = context.engine(system.version())
        version = context.engine.version
    except OnggiError as error:
        failure = str(error)
    client = _client(context, version)
    for component in (server or {}).get("Components") or []:
        details = component.get("Details") or {}
        details |= {"BuildTime": _clock(details["BuildTime"])} if details.get("BuildTime") else {}
    if options.text("format"):
        _formatted({"Client": client, "Server": server}, options.text("format"), "version")
    else:
        sys.stdout.write("\n".join(_version_lines(client, server)) + "\n")
    if failure:
        raise Exit(1, failure)


def _version_lines(client: Json, server: Json | None) -> list[str]:
    downgraded = "" if client["ApiVersion"] == API_VERSION else f" (downgraded from {API_VERSION})"
    lines = ["Client: onggi"]
    lines += _aligned(
        {
            "Version": client["Version"], "API version": client["ApiVersion"] + downgraded, "Python version": client["GoVersion"],
            "Git commit": client["GitCommit"], "OS/Arch": f"{client['Os']}/{client['Arch']}", "Context": client["Context"],
        },
        " ",
    )  # fmt: skip
    if server is None:
        return lines
    name = (server.get("Platform") or {}).get("Name", "")
    lines += ["", f"Server: {clean(name)}" if name else "Server:"]
    for component in server.get("Components") or []:
        lines.append(f" {clean(component['Name'])}:")
        details = component.get("Details") or {}
        rows = {"Version": component["Version"]}
        if component["Name"] == "Engine":
            rows |= {
                "API version": f"{details.get('ApiVersion')} (minimum version {details.get('MinAPIVersion')})",
                "Go version": details.get("GoVersion", ""), "Git commit": details.get("GitCommit", ""), "Built": details.get("BuildTime", ""),
                "OS/Arch": f"{details.get('Os')}/{details.get('Arch')}", "Experimental": details.get("Experimental", ""),
            }  # fmt: skip
        else:
            rows |= {key: details[key] for key in sorted(details)}
        lines += _aligned(rows, "  ")
    return lines


def _clock(text: str) -> str:
    """An RFC 3339 time as `Tue Nov 24 00:00:00 2026`."""
    import time

    seconds = rfc3339(text)
    return time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(seconds)) if seconds else text


def _aligned(rows: dict[str, str], indent: str) -> list[str]:
    return [f"{indent + name + ':':20}{clean(str(value))}" for name, value in rows.items()]


def _formatted(data: Json, format: str, name: str = "") -> None:
    """Raises Exit: 64 for a template that can't be read, 1 for one that can't be run."""
    from onggi.cli.structs import document
    from onggi.cli.templates import ParseError, Template, TemplateError

    text = "{{json .}}" if format == "json" else format.replace("\\t", "\t").replace("\\n", "\n")
    try:
        rendered = Template(text, name=name).render(document(data, name or "info"))
    except ParseError as error:
        raise Exit(64, f"template parsing error: {error}") from None
    except TemplateError as error:
        sys.stdout.write(("" if name else error.written) + "\n")
        raise Exit(1, str(error)) from None
    sys.stdout.write(rendered + "\n")


def _info(context: Context, options: Options, words: list[str]) -> None:
    del words
    found: Json | None = None
    failure = ""
    try:
        found = context.engine(system.info())
    except OnggiError as error:
        failure = str(error)
    client = {
        "Debug": context.switched("debug"), **_client(context, API_VERSION), "Plugins": _plugins(context), "Warnings": None,
    }  # fmt: skip
    if options.text("format"):
        data = (found or {}) | ({"ServerErrors": [failure]} if failure else {}) | {"ClientInfo": client}
        _formatted(data, options.text("format"))
        if failure:
            raise Exit(1, failure)
        return
    lines = ["Client: onggi", f" Version:    {client['Version']}", f" Context:    {client['Context']}"]
    lines.append(f" Debug Mode: {str(client['Debug']).lower()}")
    if client["Plugins"]:
        lines.append(" Plugins:")
    for plugin in client["Plugins"]:
        lines += [f"  {plugin['Name']}: {plugin.get('ShortDescription', '')} ({plugin.get('Vendor', '')})"]
        lines += [f"    Version:  {plugin['Version']}"] if plugin.get("Version") else []
        lines += [f"    Path:     {plugin['Path']}"]
    lines += ["", "Server:", *(_server_lines(found) if found else [])]
    sys.stdout.write("\n".join(clean(line) for line in lines) + "\n")
    if failure:
        sys.stdout.flush()
        raise Exit(1, f"ERROR: {failure}\nerrors pretty printing info")
    sys.stdout.write("\n")
    sys.stdout.flush()
    for warning in (found or {}).get("Warnings") or []:
        sys.stderr.write(f"{clean(warning)}\n")


def _plugins(context: Context) -> list[Json]:
    from onggi.cli.plugins import every, metadata

    return [{**metadata(path), "Name": name, "Path": path} for name, path in sorted(every(context.config).items())]


def _server_lines(found: Json) -> list[str]:
    """In docker's order; a line whose value is empty is left out where docker leaves it out."""
    plugins = found.get("Plugins") or {}
    lines = [
        f" Containers: {found['Containers']}", f"  Running: {found['ContainersRunning']}", f"  Paused: {found['ContainersPaused']}",
        f"  Stopped: {found['ContainersStopped']}", f" Images: {found['Images']}", *_shown(found, {"Server Version": "ServerVersion", "Storage Driver": "Driver"}),
        *(f"  {name}: {value}" for name, value in found.get("DriverStatus") or []),
        *_shown(found, {"Logging Driver": "LoggingDriver", "Cgroup Driver": "CgroupDriver", "Cgroup Version": "CgroupVersion"}),
        " Plugins:", f"  Volume: {' '.join(plugins.get('Volume') or [])}", f"  Network: {' '.join(plugins.get('Network') or [])}",
        *([f"  Authorization: {' '.join(plugins['Authorization'])}"] if plugins.get("Authorization") else []),
        f"  Log: {' '.join(plugins.get('Log') or [])}",
    ]  # fmt: skip
    if found.get("CDISpecDirs"):
        lines += [" CDI spec directories:", *(f"  {path}" for path in found["CDISpecDirs"])]
    lines.append(f" Swarm: {(found.get('Swarm') or {}).get('LocalNodeState', '')}")
    if found.get("Runtimes"):
        lines += [f" Runtimes: {' '.join(sorted(found['Runtimes']))}", f" Default Runtime: {found['DefaultRuntime']}"]
    lines += [f" Init Binary: {found.get('InitBinary', '')}"]
    lines += [f" {name} version: {(found.get(key) or {}).get('ID', '')}" for name, key in (("containerd", "ContainerdCommit"), ("runc", "RuncCommit"), ("init", "InitCommit"))]  # fmt: skip
    lines += _security(found.get("SecurityOptions") or [])
    lines += _shown(found, {"Kernel Version": "KernelVersion", "Operating System": "OperatingSystem", "OSType": "OSType", "Architecture": "Architecture"})  # fmt: skip
    lines += [
        f" CPUs: {found['NCPU']}",
        f" Total Memory: {binary_size(found['MemTotal'])}",
        *_shown(found, {"Name": "Name", "ID": "ID"}),
    ]
    lines += [f" Docker Root Dir: {found['DockerRootDir']}", f" Debug Mode: {str(found['Debug']).lower()}"]
    if found["Debug"]:
        lines += [f"  {name}: {found.get(key, '')}" for name, key in (("File Descriptors", "NFd"), ("Goroutines", "NGoroutines"), ("System Time", "SystemTime"), ("EventsListeners", "NEventsListener"))]  # fmt: skip
    lines += _shown(found, {"HTTP Proxy": "HttpProxy", "HTTPS Proxy": "HttpsProxy", "No Proxy": "NoProxy"})
    lines += [" Labels:", *(f"  {label}" for label in found["Labels"])] if found.get("Labels") else []
    lines.append(f" Experimental: {str(found.get('ExperimentalBuild', False)).lower()}")
    return [*lines, *_registries(found.get("RegistryConfig") or {}), *_last(found)]


def _shown(found: Json, names: dict[str, str]) -> list[str]:
    return [f" {name}: {found[key]}" for name, key in names.items() if found.get(key)]


def _security(options: list[str]) -> list[str]:
    lines = [" Security Options:"] if options else []
    for option in options:
        fields = dict(part.partition("=")[::2] for part in option.split(","))
        lines.append(f"  {fields.get('name', option)}")
        lines += [f"   Profile: {fields['profile']}"] if "profile" in fields else []
    return lines


def _registries(config: Json) -> list[str]:
    lines = []
    insecure = [name for name, one in sorted((config.get("IndexConfigs") or {}).items()) if not one.get("Secure")]
    ranges = config.get("InsecureRegistryCIDRs") or []
    if insecure or ranges or config.get("IndexConfigs"):
        lines += [" Insecure Registries:", *(f"  {name}" for name in (*insecure, *ranges))]
    if config.get("Mirrors"):
        lines += [" Registry Mirrors:", *(f"  {mirror}" for mirror in config["Mirrors"])]
    return lines


def _last(found: Json) -> list[str]:
    lines = [
        f" Live Restore Enabled: {str(found.get('LiveRestoreEnabled', False)).lower()}",
        *_shown(found, {"Product License": "ProductLicense"}),
    ]
    if found.get("DefaultAddressPools"):
        lines.append(" Default Address Pools:")
        lines += [f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in found["DefaultAddressPools"]]
    firewall: Any = found.get("FirewallBackend")
    if firewall:
        lines += [
            f" Firewall Backend: {firewall['Driver']}",
            *(f"  {name}: {value}" for name, value in firewall.get("Info") or []),
        ]
    return lines


_FORMAT = "-f --format string  Format output using a custom template"
COMMANDS = {
    "version": Command(_version, "[OPTIONS]", "Show the version information", _FORMAT, most=0),
    "info": Command(_info, "[OPTIONS]", "Display system-wide information", _FORMAT, most=0),
}
