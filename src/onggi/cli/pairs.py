"""NAME=value words, from flags and from the files that flags name: --env, --env-file, --label, --label-file."""

from __future__ import annotations

import os

from onggi.cli.flags import UsageError


def file_lines(path: str) -> list[str]:
    """NAME=value lines of an --env-file or --label-file, without comments. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            lines = file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UsageError(f"open {path}: {(error.strerror or '').lower()}") from None
    found = []
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.rstrip(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            shown = "[" + " ".join(str(byte) for byte in raw) + "]"
            raise UsageError(f"invalid env file ({path}): invalid utf8 bytes at line {number}: {shown}") from None
        if not line or line.startswith("#"):
            continue
        name, separator, _ = line.partition("=")
        if not name:
            raise UsageError(f"invalid env file ({path}): no variable name on line '{line}'")
        if any(letter.isspace() for letter in name):
            raise UsageError(f"invalid env file ({path}): variable '{name}' contains whitespaces")
        found.append(line if separator else name)
    return found


def environment(words: list[str], files: list[str]) -> list[str]:
    """NAME=value. A NAME alone takes the client's own value; where it has none, one of a file is left out and one of a
    flag goes as it is: the engine then takes the image's variable away.
    """
    found = []
    for word in [line for path in files for line in file_lines(path)]:
        if "=" in word:
            found.append(word)
        elif word in os.environ:
            found.append(f"{word}={os.environ[word]}")
    return found + [word if "=" in word or word not in os.environ else f"{word}={os.environ[word]}" for word in words]


def labels(words: list[str], files: list[str]) -> dict[str, str]:
    lines = [line for path in files for line in file_lines(path)] + words
    return {key: value for key, _, value in (line.partition("=") for line in lines)}
