"""Runs in a worker process: a git repository is fetched by git, as nobody, and becomes a spool and an index.

What git reads was written by strangers: it runs without rights, without any configuration of the machine, with the protocols of
fetching alone, without hooks, and in a directory that goes away. Its checkout is read by descriptors, no link is followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import stat
import subprocess
from typing import Final

import msgspec

from onggi.build.entries import DIRECTORY, FILE, SYMLINK, Entry, Received
from onggi.build.gitwords import GitAddress
from onggi.errors import InvalidArgument, NotFound
from onggi.kernel import mounts, process
from onggi.kernel.clone import CloneFlag
from onggi.kernel.mounts import MountFlag
from onggi.store.worker import Report

NOBODY: Final = 65534
_ROOM: Final = "/tmp"
_TIMEOUT_S: Final = 1800
_FILES_LIMIT: Final = 1_000_000
_TOLD_LIMIT: Final = 2000
_COMMIT: Final = frozenset("0123456789abcdef")
_SETTINGS: Final = (
    "protocol.allow=never", "protocol.https.allow=always", "protocol.http.allow=always", "protocol.git.allow=always",
    "protocol.ssh.allow=always", "core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "advice.detachedHead=false",
    "init.defaultBranch=main", "core.symlinks=true", "http.followRedirects=initial", "transfer.fsckObjects=true",
    "submodule.recurse=false", "safe.directory=*",
)  # fmt: skip


class Fetch(msgspec.Struct, frozen=True):
    """`directory` is an empty one to work in. `header` is for HTTP ("Authorization: …"), `agent` an ssh agent's socket."""

    address: GitAddress
    directory: str
    keep_git_dir: bool = False
    header: str = ""
    agent: str = ""


class Fetched(msgspec.Struct, frozen=True):
    commit: str
    received: Received


def fetch(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Descriptor: the spool. Answers `Fetched`. Raises InvalidArgument, NotFound."""
    request = msgspec.msgpack.decode(args, type=Fetch)
    # Workers ignore their children's ends: how git ended could not be told then (wait(2), ECHILD).
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        repository = _Repository(request)
        commit = repository.check_out()
        received = _Reading(fds[0], repository.times()).read(repository.subdirectory(), keep=request.keep_git_dir)
        return msgspec.msgpack.encode(Fetched(commit, received))
    finally:
        signal.signal(signal.SIGCHLD, before)
        shutil.rmtree(request.directory, ignore_errors=True)


class _Repository:
    def __init__(self, request: Fetch) -> None:
        self._request, self._address = request, request.address
        self._tree = os.path.join(request.directory, "tree")
        self._home = os.path.join(request.directory, "home")
        for path in (self._tree, self._home):
            os.mkdir(path, 0o700)
            os.chown(path, NOBODY, NOBODY)
        os.chown(request.directory, NOBODY, NOBODY)
        if request.agent:
            with open(os.path.join(request.directory, "agent"), "xb"):
                pass

    def check_out(self) -> str:
        """The commit whose files are in the tree now."""
        address = self._address
        self._git("init", "-q")
        self._git("remote", "add", "origin", address.remote)
        wanted = address.ref or address.checksum or "HEAD"
        if _is_commit(wanted):
            # A server may refuse to give a commit by its hash, and can't by a part of it: then all is fetched.
            if len(wanted) < 40 or not self._try("fetch", "-q", "--depth=1", "origin", wanted):
                self._git("fetch", "-q", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
            commit = self._git("rev-parse", "--verify", "-q", f"{wanted}^{{commit}}").strip()
        else:
            self._git("fetch", "-q", "--depth=1", "--no-tags", "origin", wanted)
            commit = self._git("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
        if address.checksum and not commit.startswith(address.checksum):
            raise InvalidArgument(f"expected checksum to match {address.checksum}, got {commit} for {address.remote}")
        self._git("checkout", "-q", "--detach", commit)
        if address.submodules and os.path.lexists(os.path.join(self._tree, ".gitmodules")):
            self._git("submodule", "update", "-q", "--init", "--recursive", "--depth=1")
        return commit

    def times(self) -> int:
        """Of all files, in nanoseconds: that of the commit; 0 for the time of the checkout."""
        if self._address.mtime != "commit":
            return 0
        return int(self._git("show", "-s", "--format=%ct", "HEAD")) * 1_000_000_000

    def subdirectory(self) -> int:
        """The open directory that is wanted. Raises NotFound, also when a link leads to it."""
        fd = os.open(self._tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in self._address.directory.split("/") if self._address.directory else ():
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            except OSError:
                raise NotFound(f"subdirectory {self._address.directory} is not in {self._address.remote}") from None
            finally:
                os.close(fd)
            fd = below
        return fd

    def _try(self, *words: str) -> bool:
        try:
            self._git(*words)
        except InvalidArgument:
            return False
        return True

    def _git(self, *words: str) -> str:
        """What it printed. Raises InvalidArgument with what it said."""
        settings = [word for each in _SETTINGS for word in ("-c", each)]
        env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": f"{_ROOM}/home", "LANG": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ASKPASS": "/bin/false", "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null",
        }  # fmt: skip
        if self._request.header:
            # By the environment: what is among the words is seen by everybody on the machine.
            env |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "http.extraHeader",
                "GIT_CONFIG_VALUE_0": self._request.header,
            }
        if self._request.agent:
            env["SSH_AUTH_SOCK"] = f"{_ROOM}/agent"
        for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            if name in os.environ:
                env[name] = os.environ[name]
        try:
            done = subprocess.run(
                ["/usr/bin/git", *settings, *words],
                env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIMEOUT_S,
                preexec_fn=self._confine,
            )  # fmt: skip
        except FileNotFoundError:
            raise InvalidArgument("git sources need git on the engine's machine: install it") from None
        except subprocess.TimeoutExpired:
            raise InvalidArgument(f"git {words[0]} took more than {_TIMEOUT_S} s") from None
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip()[-_TOLD_LIMIT:]
            raise InvalidArgument(f"failed to load git source {self._address.remote}: git {words[0]}: {told}")
        return done.stdout.decode("utf-8", "replace")

    def _confine(self) -> None:
        """In the child: our directory is its /tmp, it has no rights and no way back to them, and doesn't outlive us."""
        process.unshare(CloneFlag.NEWNS)
        mounts.mount(None, "/", None, MountFlag.REC | MountFlag.PRIVATE)
        if self._request.agent:
            os.chown(self._request.agent, NOBODY, NOBODY)
            mounts.mount(self._request.agent, os.path.join(self._request.directory, "agent"), None, MountFlag.BIND)
        mounts.mount(self._request.directory, _ROOM, None, MountFlag.BIND | MountFlag.REC)
        os.chdir(f"{_ROOM}/tree")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        process.set_no_new_privs()
        # After the change of ids, which takes it away (prctl(2)).
        process.set_pdeathsig(signal.SIGKILL)


class _Reading:
    """A checkout into the spool."""

    def __init__(self, spool: int, time_ns: int) -> None:
        self._spool, self._time_ns, self._offset = spool, time_ns, 0
        self._entries: list[Entry] = []

    def read(self, directory: int, *, keep: bool) -> Received:
        """`keep`: .git is part of it. Closes the directory."""
        try:
            self._below(directory, "", keep=keep)
        finally:
            os.close(directory)
        return Received(self._entries, self._offset)

    def _below(self, directory: int, prefix: str, *, keep: bool) -> None:
        for name in sorted(os.listdir(directory)):
            if name == ".git" and not keep:
                continue
            if len(self._entries) > _FILES_LIMIT:
                raise InvalidArgument(f"the repository has more than {_FILES_LIMIT} files")
            path = f"{prefix}/{name}" if prefix else name
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            time_ns = self._time_ns or status.st_mtime_ns
            if stat.S_ISDIR(status.st_mode):
                self._entries.append(Entry(path, DIRECTORY, 0o755, time_ns))
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                try:
                    self._below(below, path, keep=keep)
                finally:
                    os.close(below)
            elif stat.S_ISLNK(status.st_mode):
                link = os.readlink(name, dir_fd=directory)
                self._entries.append(Entry(path, SYMLINK, 0o777, time_ns, link=link))
            elif stat.S_ISREG(status.st_mode):
                self._file(directory, name, path, status, time_ns)

    def _file(self, directory: int, name: str, path: str, status: os.stat_result, time_ns: int) -> None:
        hasher = hashlib.sha256()
        start = self._offset
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        with contextlib.closing(os.fdopen(fd, "rb", buffering=0)) as file:
            while piece := file.read(1 << 20):
                hasher.update(piece)
                os.pwrite(self._spool, piece, self._offset)
                self._offset += len(piece)
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        self._entries.append(Entry(path, FILE, mode, time_ns, self._offset - start, start, hasher.digest()))


def _is_commit(text: str) -> bool:
    return 7 <= len(text) <= 64 and not set(text) - _COMMIT
