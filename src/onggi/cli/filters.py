"""`--filter name=value` as the API's map of lists."""

from __future__ import annotations

from onggi.cli.flags import UsageError


def parse_filters(words: list[str]) -> dict[str, list[str]]:
    """Raises UsageError in docker's words."""
    found: dict[str, list[str]] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise UsageError(
                f'invalid argument "{word}" for "-f, --filter" flag: bad format of filter (expected name=value)'
            )
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return found
