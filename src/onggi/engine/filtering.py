"""Filters of `docker ps` and of prune, as tests on a container (E-312)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from onggi.engine.container import Container, State
from onggi.engine.inspecting import shown_state
from onggi.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

Filters = Mapping[str, list[str]]
Test = Callable[[Container], bool]
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTH = ("none", "starting", "healthy", "unhealthy")
_BOOLEANS = frozenset({"true", "True", "1", "false", "False", "0"})


def matcher(engine: Engine, filters: Filters) -> Test:
    """Different keys all, values of one key any, labels all. Raises InvalidArgument for a value that can't be."""
    tests = [_test(engine, key, values) for key, values in filters.items() if values]
    return lambda container: all(test(container) for test in tests)


def _test(engine: Engine, key: str, values: list[str]) -> Test:  # a table of what each key means
    match key:
        case "id":
            return lambda c: any(c.id.startswith(value) for value in values)
        case "name":
            patterns = [_pattern(value) for value in values]
            return lambda c: any(p.search(c.name) or p.search(f"/{c.name}") for p in patterns)
        case "status":
            for value in values:
                _check_word("status", value, "state", _STATES)
            return lambda c: shown_state(c) in values
        case "exited":
            codes = {_number(key, value) for value in values}
            return lambda c: c.state == State.EXITED and c.row.exit_code in codes
        case "label":
            return lambda c: has_labels(c, values)
        case "ancestor":
            return _ancestor(engine, values)
        case "network":
            return lambda c: any(name in values or (s.network_id and any(s.network_id.startswith(v) for v in values if len(v) > 3))
                                 for name, s in c.row.endpoints.items())  # fmt: skip
        case "volume":
            return lambda c: any(value in (p.name, p.source, p.destination) for p in c.row.mounts for value in values)
        case "health":
            for value in values:
                _check_word("health", value, "health", _HEALTH)
            return lambda c: (c.health.status if c.health else "none") in values
        case "before" | "since":
            return _by_time(engine, key, values)
        case "publish" | "expose":
            return _ports(engine, key, values)
        case "is-task":
            if not _BOOLEANS.issuperset(values):
                raise InvalidArgument(f"invalid filter 'is-task=[{' '.join(values)}]'")
            return lambda _c: values[0].lower() in ("false", "0")
        case _:
            return lambda _c: True


def _pattern(text: str) -> re.Pattern[str]:
    if len(text) > 256:
        raise InvalidArgument("invalid filter 'name': too long")
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"invalid filter 'name={text}': {error}") from None


def _check_word(key: str, value: str, what: str, known: tuple[str, ...]) -> None:
    if value not in known:
        text = f"invalid filter '{key}={value}': invalid value for {what} ({value}): must be one of {', '.join(known)}"
        raise InvalidArgument(text)


def _number(key: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidArgument(
            f"invalid filter '{key}={value}': strconv.Atoi: parsing \"{value}\": invalid syntax"
        ) from None


def has_labels(container: Container, values: list[str]) -> bool:
    labels = container.row.config.labels or {}
    for value in values:
        key, separator, wanted = value.partition("=")
        if key not in labels or (separator and labels[key] != wanted):
            return False
    return True


def _ancestor(engine: Engine, values: list[str]) -> Test:
    """Images of that name or id, and those built on them."""
    bases: list[list[str]] = []
    for value in values:
        try:
            bases.append([str(layer) for layer in engine.images.resolve(value).layers])
        except (NotFound, InvalidArgument):
            continue
    return lambda c: any(c.row.layers[: len(base)] == base for base in bases) or c.row.image_name in values


def _by_time(engine: Engine, key: str, values: list[str]) -> Test:
    limit = engine.containers.get(values[0]).row.created_ns
    if key == "before":
        return lambda c: c.row.created_ns < limit
    return lambda c: c.row.created_ns > limit


def _ports(engine: Engine, key: str, values: list[str]) -> Test:
    wanted: set[str] = set()
    for value in values:
        span, _, protocol = value.partition("/")
        first, _, last = span.partition("-")
        start, end = _number(key, first), _number(key, last or first)
        if end < start:
            raise InvalidArgument(f"invalid filter '{key}={value}': Invalid range specified for the Port: {span}")
        for port in range(start, min(end, 65535) + 1):
            wanted.add(f"{port}/{protocol or 'tcp'}")
    if key == "expose":
        return lambda c: bool(wanted & set(c.row.config.exposed_ports or {}))
    return lambda c: any(f"{one.host_port}/{one.protocol}" in wanted for one in engine.publishing.of(c))


def prune_matcher(filters: Filters) -> Test:
    """until, label, label!. Raises InvalidArgument."""
    tests: list[Test] = []
    if len(filters.get("until", ())) > 1:
        raise InvalidArgument("more than one until filter specified")
    if filters.get("until"):
        limit = until_ns(filters["until"][0])
        tests.append(lambda c: c.row.created_ns < limit)
    if filters.get("label"):
        tests.append(lambda c: has_labels(c, filters["label"]))
    if filters.get("label!"):
        tests.append(lambda c: not any(has_labels(c, [value]) for value in filters["label!"]))
    return lambda container: all(test(container) for test in tests)


_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def until_ns(text: str) -> int:
    """A unix time, or a Go duration back from now. Raises InvalidArgument."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return int(float(text) * 1e9)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", text)
    if parts and "".join(n + u for n, u in parts) == text:
        return time.time_ns() - sum(int(float(n) * _UNITS[u]) for n, u in parts)
    found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z?)?", text)
    if found:
        import calendar

        return calendar.timegm((*(int(p or 0) for p in found.groups()), 0, 0, 0)) * 10**9
    raise InvalidArgument(f'failed to parse value as time or duration: "{text}"')
