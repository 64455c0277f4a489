"""The keys that leave a container running and go away: `ctrl-p,ctrl-q`, or what the client asks for. Pure."""

from __future__ import annotations

from typing import Final

from onggi.errors import InvalidArgument

DEFAULT: Final = b"\x10\x11"
_MOST_KEYS: Final = 32
_CONTROLS: Final = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """Bytes of `a,ctrl-b,ctrl-@`. Raises ValueError for a key that isn't one (docker's term.ToBytes)."""
    keys = bytearray()
    for name in text.split(","):
        if len(name) == 1 and name.isascii():
            keys.append(ord(name))
            continue
        key = name.removeprefix("ctrl-")
        if key == name or len(key) != 1:
            raise ValueError(f"Unknown character: '{name[:16]}'")
        if "a" <= key <= "z":
            keys.append(ord(key) - ord("a") + 1)
        elif key in _CONTROLS:
            keys.append(_CONTROLS[key])
        else:
            raise ValueError(f"Unknown character: '{name[:16]}'")
    if not keys or len(keys) > _MOST_KEYS:
        raise ValueError("between one and 32 keys are wanted")
    return bytes(keys)


def keys_of_attach(text: str) -> bytes:
    """The query's keys, or docker's own. Raises InvalidArgument in dockerd's words for attach."""
    try:
        return parse_keys(text) if text else DEFAULT
    except ValueError as error:
        raise InvalidArgument(f"Invalid detach keys ({text[:64]}) provided") from error


def keys_of_exec(text: str) -> bytes:
    """The same for exec, which words it otherwise."""
    try:
        return parse_keys(text) if text else DEFAULT
    except ValueError as error:
        raise InvalidArgument(f"Invalid escape keys ({text[:64]}) provided") from error


class DetachScanner:
    """Looks for the keys in what a person types; a first key typed alone is held, then passed on."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """What goes on to the container. `found` is true once the keys were complete; nothing after them counts."""
        if not self._matched and self._keys[0] not in data:
            return data
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self.found = True
                    break
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed)
