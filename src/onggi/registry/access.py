"""Who may do what: htpasswd, checked away from the loop and at the same cost for every name.

Without a password file everybody may do everything, which command.py allows on loopback only; with one, nobody may do
anything without logging in, unless pulling was opened to all (D-05).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import enum
import hmac
import os
import re
import secrets
import time
from collections import OrderedDict
from typing import Final

import bcrypt

from onggi.errors import InvalidArgument
from onggi.registry.answers import Refused

_BCRYPT: Final = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_LEAST_COST: Final = 10
_MOST_COST: Final = 14
"""A second on a slow machine: more would let one request occupy a thread for minutes."""
_CHECKS_AT_ONCE: Final = 2
_REMEMBERED_S: Final = 300.0
_REMEMBERED: Final = 1024
_FAILURES: Final = 20
_FAILURES_WINDOW_S: Final = 60.0
_PEERS_KEPT: Final = 4096
_PASSWORD_BYTES: Final = 72
"""bcrypt looks at no more; a longer one is refused instead of being cut in silence."""


class Scope(enum.Enum):
    """The right that a route needs."""

    BASE = "base"
    CATALOG = "catalog"
    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


_OPEN: Final = frozenset({Scope.BASE, Scope.PULL})


class Access:
    """One for a server. `htpasswd` is read again when it has changed."""

    def __init__(
        self, htpasswd: str | None = None, *, anonymous_pull: bool = False, realm: str = "onggi-registry"
    ) -> None:
        self._path = htpasswd
        self._anonymous_pull = anonymous_pull
        self._realm = realm
        self._stamp: tuple[int, int, int] | None = None
        self._users: dict[bytes, bytes] = {}
        self._dummy = b""
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._slots = asyncio.Semaphore(_CHECKS_AT_ONCE)
        if htpasswd is not None:
            self._load()

    async def check(self, scope: Scope, header: str, peer: str) -> str:
        """The user's name, "" for nobody. Raises Refused UNAUTHORIZED, TOOMANYREQUESTS."""
        if self._path is None:
            return ""
        if not header:
            if self._anonymous_pull and scope in _OPEN:
                return ""
            raise self._unauthorized("authentication required")
        found = _basic(header)
        if found and await self._knows(*found, peer):
            return found[0].decode("utf-8", "replace")
        raise self._unauthorized("invalid username or password")

    async def _knows(self, user: bytes, password: bytes, peer: str) -> bool:
        self._load()
        stored = self._users.get(user)
        # bcrypt takes tens of milliseconds on purpose: a pull of 20 layers pays once. The key names user, password and hash, so
        # that a changed password file forgets.
        seal = hmac.digest(self._key, b"\0".join([user, stored or b"", password]), "sha256")
        now = time.monotonic()
        if stored and self._good.get(seal, 0) > now:
            return True
        recent = [at for at in self._failures.get(peer, []) if at > now - _FAILURES_WINDOW_S]
        if len(recent) >= _FAILURES:
            raise Refused("TOOMANYREQUESTS", "too many failed logins: wait a minute", headers={"Retry-After": "60"})
        fits = len(password) <= _PASSWORD_BYTES and b"\0" not in password
        async with self._slots:
            # An unknown user costs what a known one does, or the time would tell them apart (S-72).
            same = await asyncio.to_thread(bcrypt.checkpw, password if fits else b"", stored or self._dummy)
        if same and fits and stored is not None:
            self._good[seal] = now + _REMEMBERED_S
            while len(self._good) > _REMEMBERED:
                self._good.popitem(last=False)
            return True
        self._failures[peer] = [*recent, now]
        self._failures.move_to_end(peer)
        while len(self._failures) > _PEERS_KEPT:
            self._failures.popitem(last=False)
        return False

    def _load(self) -> None:
        """Raises InvalidArgument when the file can't be used; a later bad version leaves the one before in force."""
        if self._path is None:
            return
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            with open(self._path, "rb") as file:
                users = parse_htpasswd(file.read())
        except (OSError, InvalidArgument) as error:
            if self._stamp is None:
                raise InvalidArgument(f"{self._path}: {error}") from error
            return
        self._stamp, self._users = stamp, users
        cost = max((int(stored[4:6]) for stored in users.values()), default=_LEAST_COST)
        self._dummy = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(cost))

    def _unauthorized(self, message: str) -> Refused:
        return Refused("UNAUTHORIZED", message, headers={"WWW-Authenticate": f'Basic realm="{self._realm}"'})


def parse_htpasswd(data: bytes) -> dict[bytes, bytes]:
    """User → bcrypt hash. Raises InvalidArgument for any other kind of hash, or a cheap one: nobody should believe in it."""
    users = {}
    for number, line in enumerate(map(bytes.strip, data.splitlines()), 1):
        if not line or line.startswith(b"#"):
            continue
        user, colon, stored = line.partition(b":")
        found = _BCRYPT.fullmatch(stored)
        if not colon or not user or not found:
            raise InvalidArgument(f"line {number}: want user:bcrypt-hash (htpasswd -B)")
        if not _LEAST_COST <= int(found[1]) <= _MOST_COST:
            raise InvalidArgument(
                f"line {number}: bcrypt cost {int(found[1])}, want {_LEAST_COST} to {_MOST_COST} (htpasswd -B -C 10)"
            )
        users[user] = stored
    return users


def _basic(header: str) -> tuple[bytes, bytes] | None:
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None
