"""Git repositories as contexts and as sources of ADD, from a real git daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from onggi.build.errors import BuildFailed
from onggi.build.gitwords import parse_git
from onggi.engine.engine import Engine
from onggi.errors import InvalidArgument
from tests.engine.building import build, tree
from tests.engine.engines import an_engine, needs_root

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "n"), ("EMAIL", "e@e"), ("DATE", "1500000000 +0000"))
}


def git(directory: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *words],
        cwd=directory, env={**os.environ, **_AUTHOR}, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


def commit(repository: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "more")
    return git(repository, "rev-parse", "HEAD")


@contextlib.contextmanager
def daemon(root: Path) -> Iterator[str]:
    """All repositories below `root`; the address that goes before their names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "git",
        "daemon",
        "--export-all",
        "--reuseaddr",
        f"--base-path={root}",
        "--listen=127.0.0.1",
        f"--port={port}",
    ]
    with subprocess.Popen([*words, str(root)], stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
            yield f"git://127.0.0.1:{port}"
        finally:
            # Its children answer connections: the daemon has a group of processes of its own.
            process.terminate()


def with_repository(root: Path, test: Callable[[Engine, Path, str], Awaitable[None]]) -> None:
    repository = root / "repositories" / "r.git"
    repository.mkdir(parents=True)
    git(repository, "init", "-q", "-b", "main")
    git(repository, "config", "uploadpack.allowReachableSHA1InWant", "true")

    async def main() -> None:
        async with an_engine(root) as engine, asyncio.timeout(90):
            await test(engine, repository, address)

    with daemon(root / "repositories") as address:
        asyncio.run(main())


@pytest.mark.row("F-102")
@pytest.mark.row("F-103")
@pytest.mark.row("F-101")
def test_add_takes_a_repository_at_a_ref_and_checks_its_commit(tmp_path: Path) -> None:
    async def test(engine: Engine, repository: Path, address: str) -> None:
        first = commit(repository, {"f": "1", "sub/dir/g": "2"})
        (repository / "exec").write_text("#!")
        (repository / "exec").chmod(0o700)
        os.symlink("/etc/passwd", repository / "link")
        git(repository, "tag", "v1")
        second = commit(repository, {"f": "two"})
        url = f"{address}/r.git"
        found = tree(engine, (await build(engine, f"FROM scratch\nADD {url} /r/\n")).image, below=0)
        assert found == {
            "r": "755 0:0 /", "r/f": "644 0:0 two", "r/exec": "755 0:0 #!", "r/link": "-> /etc/passwd",
            "r/sub": "755 0:0 /", "r/sub/dir": "755 0:0 /", "r/sub/dir/g": "644 0:0 2",
        }  # fmt: skip
        for ref in (f"{url}#v1:sub", f"{url}?tag=v1&subdir=sub", f"{url}#{first}:sub", f"{url}#{first[:12]}:sub"):
            dockerfile = f"FROM scratch\nADD --keep-git-dir=false {ref} /\n"
            assert list(tree(engine, (await build(engine, dockerfile)).image, below=0)) == ["dir", "dir/g"]
        kept = tree(engine, (await build(engine, f"FROM scratch\nADD --keep-git-dir {url} /\n")).image, below=0)
        assert ".git/HEAD" in kept
        await build(engine, f"FROM scratch\nADD --checksum={second} {url}#main /\n")
        with pytest.raises(BuildFailed, match="expected checksum to match"):
            await build(engine, f"FROM scratch\nADD --checksum={first} {url}#main /\n")
        with pytest.raises(BuildFailed, match="failed to load git source"):
            await build(engine, f"FROM scratch\nADD {url}#nothing /\n")
        with pytest.raises(BuildFailed, match="subdirectory link is not in"):
            await build(engine, f"FROM scratch\nADD {url}#main:link /\n")
        with pytest.raises(BuildFailed, match="source can't be a git ref for COPY"):
            await build(engine, f"FROM scratch\nCOPY {url} /\n")

    with_repository(tmp_path, test)


@pytest.mark.row("F-174")
@pytest.mark.row("F-227")
@pytest.mark.row("F-104")
def test_a_context_may_be_a_repository(tmp_path: Path) -> None:
    async def test(engine: Engine, repository: Path, address: str) -> None:
        commit(
            repository,
            {"Dockerfile": "FROM scratch\nCOPY . /\n", "d/Dockerfile": "FROM scratch\nCOPY f /g\n", "d/f": "x"},
        )
        url = f"{address}/r.git"
        built = await build(engine, "", remote=url)
        assert "d/f" in tree(engine, built.image, below=0)
        assert ".git" not in tree(engine, built.image, below=0)
        assert (await build(engine, "", remote=url)).cached == 1
        kept = await build(engine, "", remote=url, buildargs='{"BUILDKIT_CONTEXT_KEEP_GIT_DIR":"1"}')
        assert ".git/HEAD" in tree(engine, kept.image, below=0)
        assert tree(engine, (await build(engine, "", remote=f"{url}#main:d")).image, below=0) == {"g": "644 0:0 x"}
        dated = await build(engine, "", remote=f"{url}?mtime=commit&subdir=d", nocache="1")
        path = Path(engine.layers.path(dated.image.layers[-1])) / "g"
        assert int(path.stat().st_mtime) == 1_500_000_000

    with_repository(tmp_path, test)


@pytest.mark.row("F-102")
def test_submodules_come_along_and_hostile_ones_do_not(tmp_path: Path) -> None:
    async def test(engine: Engine, repository: Path, address: str) -> None:
        other = repository.parent / "other.git"
        other.mkdir()
        git(other, "init", "-q", "-b", "main")
        commit(other, {"inside": "module"})
        commit(repository, {"f": "1"})
        git(repository, "submodule", "add", "-q", f"{address}/other.git", "module")
        commit(repository, {})
        found = tree(engine, (await build(engine, f"FROM scratch\nADD {address}/r.git /\n")).image, below=0)
        assert found["module/inside"] == "644 0:0 module"
        plain = f"FROM scratch\nADD {address}/r.git?submodules=false /\n"
        assert "module/inside" not in tree(engine, (await build(engine, plain)).image, below=0)
        # A file: URL would read this machine's disk, ext:: would run a program.
        for hostile in (f"file://{other}", "ext::sh -c touch% /tmp/pwned"):
            git(repository, "config", "-f", ".gitmodules", "submodule.module.url", hostile)
            commit(repository, {})
            with pytest.raises(BuildFailed, match="failed to load git source"):
                await build(engine, f"FROM scratch\nADD {address}/r.git /\n")

    with_repository(tmp_path, test)


@pytest.mark.row("F-102")
@pytest.mark.row("S-25")
@pytest.mark.parametrize(
    "address",
    [
        "git://-oProxyCommand=x/r.git", "https://h/r.git#--upload-pack=x", "https://h/r.git#a..b", "https://h/r.git#a b",
        "ssh://-oProxyCommand=touch/r.git", "git@h:r.git#$(x)", "https://h/r.git?ref=-x",
    ],
)  # fmt: skip
def test_an_address_can_not_be_an_option_of_gits(address: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid git"):
        parse_git(address)
