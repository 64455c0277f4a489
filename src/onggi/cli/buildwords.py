"""Words of `build`'s flags: secrets, named contexts, and the documents of --check and --call."""

from __future__ import annotations

import csv
import json
import os
import sys

from onggi.cli import kinds
from onggi.cli.command import Exit
from onggi.cli.tables import table
from onggi.cli.units import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_SECRET_LIMIT = 500 * 1024
_RESOURCES = {
    "memory": ("memory", "bytes"), "memory-swap": ("memswap", "bytes"), "cpu-shares": ("cpushares", "int"), "cpu-period": ("cpuperiod", "int"),
    "cpu-quota": ("cpuquota", "int"), "cpuset-cpus": ("cpusetcpus", "string"), "cpuset-mems": ("cpusetmems", "string"),
}  # fmt: skip
"""Name → the query's name and the kind of its value."""

_SCHEMES = ("docker-image://", "oci-layout://", "http://", "https://", "git://", "git@", "ssh://")


def secrets_of(words: Sequence[str]) -> dict[str, bytes]:
    """`id=…[,src=file|env=NAME][,type=file|env]`: without a source the variable of that name, else the file, as buildx has it."""
    found: dict[str, bytes] = {}
    for word in words:
        fields = dict(field.partition("=")[::2] for field in next(csv.reader([word]), []))
        name = fields.get("id", "")
        unknown = set(fields) - {"id", "src", "source", "env", "type"}
        if unknown:
            raise Exit(1, f"failed to parse secret: unexpected key '{min(unknown)}' in '{word}'")
        if not name:
            raise Exit(1, f"failed to parse secret: id is required in '{word}'")
        found[name] = _secret(name, fields)
    return found


def _secret(name: str, fields: dict[str, str]) -> bytes:
    path = fields.get("src") or fields.get("source") or ""
    kind = fields.get("type", "")
    variable = fields.get("env") or (path if kind == "env" else "")
    if not variable and not path and kind != "file" and name in os.environ:
        variable = name
    if variable:
        return os.environ.get(variable, "").encode("utf-8", "surrogateescape")
    try:
        with open(path or name, "rb") as file:
            data = file.read(_SECRET_LIMIT + 1)
    except OSError as error:
        raise Exit(1, f"failed to stat {path or name}: {(error.strerror or '').lower()}") from None
    if len(data) > _SECRET_LIMIT:
        raise Exit(1, f"secret {name} is larger than {_SECRET_LIMIT} bytes")
    return data


def resources_of(words: Sequence[str]) -> dict[str, object]:
    """`--resource name=value[,name=value]`: limits of each RUN, as POST /build takes them."""
    found: dict[str, object] = {}
    for word in words:
        for field in next(csv.reader([word]), []):
            name, separator, value = field.partition("=")
            asked = _RESOURCES.get(name)
            if not separator or asked is None:
                raise Exit(1, f"invalid resource {field!r}: want one of {', '.join(_RESOURCES)}, each with =value")
            try:
                found[asked[0]] = kinds.read(asked[1], value)
            except ValueError as error:
                raise Exit(1, f"invalid resource {field!r}: {error}") from None
    return found


def contexts_of(words: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Directories of this machine, and what the engine fetches itself, by the context's name."""
    directories: dict[str, str] = {}
    others: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not value:
            raise Exit(1, f"invalid context value: {word}, expected key=value")
        if value.startswith(_SCHEMES):
            others[name] = value
        elif os.path.isdir(value):
            directories[name] = value
        else:
            raise Exit(1, f"failed to get build context {name}: stat {value}: no such file or directory")
    return directories, others


def print_call(what: str, document: dict[str, Any]) -> int:
    """For people; the exit code: 1 when the Dockerfile can't be read."""
    if what.endswith("format=json"):
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    elif what.startswith("outline"):
        _print_outline(document)
    elif what.startswith("targets"):
        rows = [
            [
                f"{each.get('name', '')} (default)".strip() if each.get("default") else each.get("name", ""),
                each.get("description", ""),
            ]
            for each in document["targets"]
        ]
        sys.stdout.write(table(["TARGET", "DESCRIPTION"], rows))
    else:
        return _print_checks(document)
    return 0


def _print_checks(document: dict[str, Any]) -> int:
    from onggi.cli.buildprogress import excerpt

    warnings = document.get("warnings") or []
    error = document.get("buildError")
    if not warnings and not error:
        sys.stdout.write("Check complete, no warnings found.\n")
        return 0
    count = (
        f"{len(warnings)} warning{'s' if len(warnings) != 1 else ''} has been found!"
        if len(warnings) == 1
        else f"{len(warnings)} warnings have been found!"
    )
    sys.stdout.write(f"Check complete, {count}\n")
    for each in warnings:
        url = f" - {each['url']}" if each.get("url") else ""
        sys.stdout.write(f"\nWARNING: {each['ruleName']}{url}\n{clean(each.get('detail', ''))}\n")
        sys.stdout.write(excerpt(document["sources"][0], each["location"]["ranges"]))
    if error:
        sys.stdout.write(f"\nERROR: {clean(error['message'])}\n")
        if error["location"]["ranges"]:
            sys.stdout.write(excerpt(document["sources"][0], error["location"]["ranges"]))
    return 1 if error else 0


def _print_outline(document: dict[str, Any]) -> None:
    if document.get("name"):
        sys.stdout.write(f"TARGET:      {document['name']}\n")
    if document.get("description"):
        sys.stdout.write(f"DESCRIPTION: {document['description']}\n")
    tables = (
        ("args", ["BUILD ARG", "VALUE", "DESCRIPTION"]),
        ("secrets", ["SECRET", "REQUIRED"]),
        ("ssh", ["SSH", "REQUIRED"]),
    )
    for part, header in tables:
        rows = [
            [each["name"], each.get("value", ""), each.get("description", "")]
            if part == "args"
            else [each["name"], str(bool(each.get("required"))).lower()]
            for each in document.get(part) or ()
        ]
        if rows:
            sys.stdout.write("\n")
            sys.stdout.write(table(header, rows))
