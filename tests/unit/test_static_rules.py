"""Rules that hold for every line of the source, read from its syntax tree; and for what is installed with it."""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "xml", "dill", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "tempfile.mktemp", "subprocess.getoutput"}
FORBIDDEN_METHODS = {"extractall"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def violations(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.split(".")[0] in FORBIDDEN_MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FORBIDDEN_MODULES:
                yield module
            case ast.Assert():
                yield "assert"
            case ast.Call(func=func, keywords=keywords):
                name = dotted(func)
                if name in FORBIDDEN_CALLS or name.rpartition(".")[2] in FORBIDDEN_METHODS:
                    yield name
                for keyword in keywords:
                    if keyword.arg == "shell" and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                        yield f"{name}(shell=…)"


@pytest.mark.row("S-24")
def test_nothing_in_the_source_runs_what_it_reads() -> None:
    found = {str(path.relative_to(ROOT)): list(violations(tree)) for path, tree in TREES.items()}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.row("S-24")
@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from xml.etree import ElementTree",
        "eval(x)",
        "f.extractall()",
        "run(x, shell=True)",
        "assert x",
    ],
)
def test_the_rule_notices(line: str) -> None:
    assert list(violations(ast.parse(line)))


def strings(tree: ast.AST) -> Iterator[str]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.row("S-28")
def test_no_room_writes_to_the_machines_shared_temporary_directory() -> None:
    rooms = {path: tree for path, tree in TREES.items() if not {"cli", "client"} & set(path.parts)}
    for path, tree in rooms.items():
        assert not [text for text in strings(tree) if re.match(r"/(var/)?tmp/|/dev/shm/", text)], path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and dotted(node.func).startswith("tempfile."):
                assert any(keyword.arg == "dir" for keyword in node.keywords), f"{path}:{node.lineno}"


@pytest.mark.row("D-08")
def test_the_unit_lets_containers_outlive_the_engine() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "packaging" / "onggid.service")
    service = unit["Service"]
    expected = {
        "KillMode": "process",
        "Delegate": "yes",
        "LimitNOFILE": "1048576",
        "TasksMax": "infinity",
        "OOMScoreAdjust": "-500",
    }
    assert {key: service.get(key) for key in expected} == expected
    assert "PrivateTmp" not in service
    assert "MountFlags" not in service


@pytest.mark.row("D-10")
def test_every_dependency_is_installed_by_its_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", lock.strip())
    assert len(entries) > 10
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", entry, re.IGNORECASE), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    for line in installs:
        assert "--require-hashes" in line or "--no-deps --no-build-isolation" in line, line


@pytest.mark.row("M-6")
def test_each_bug_that_was_found_has_a_test_that_exists() -> None:
    rows = [
        line.split("|") for line in (ROOT / "docs" / "robustness.md").read_text().splitlines() if line.startswith("| 2")
    ]
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row[4])}
    assert len(rows) > 5
    assert all("`test_" in row[4] for row in rows)
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named - there == set()
