"""Log drivers and their options: what dockerd refuses at create, and in which words. Pure but for a look at a unix socket.

Source: the ValidateLogOpt functions below daemon/logger in moby. What they leave to the start is checked there
(logconfig.py), as docker does it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from onggi.engine.config import LogConfig
from onggi.engine.logwords import boolean, duration_s, duration_text, number, unsigned
from onggi.errors import InvalidArgument
from onggi.sizes import memory_size

COMMON: Final = frozenset({"env", "env-regex", "labels", "labels-regex", "tag"})
FILES: Final = frozenset({"max-file", "max-size", "compress"})
_CACHE: Final = frozenset({"cache-disabled", *(f"cache-{name}" for name in FILES | COMMON)})
_MODES: Final = frozenset({"", "blocking", "non-blocking"})
_NOT_HERE: Final = frozenset({"awslogs", "gcplogs", "splunk", "etwlogs"})
_FACILITIES: Final = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp . . . . local0 local1 local2 local3 local4 local5 "
    "local6 local7"
).split()
_DURATIONS: Final = ("fluentd-write-timeout", "fluentd-read-timeout")
_MOST_RETRIES: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Driver:
    """`readable`: it keeps a file of its own that `logs` reads. `address` checks and completes where it sends to."""

    options: frozenset[str]
    unknown: str
    check: Callable[[dict[str, str]], None]
    readable: bool = False
    address: Callable[[str], str] | None = None


def check(log: LogConfig) -> None:
    """Raises InvalidArgument for what dockerd refuses at create."""
    if log.type == "none":
        return
    options = log.config
    if options.get("mode", "") not in _MODES:
        raise InvalidArgument(f"logger: logging mode not supported: {options['mode']}")
    if "max-buffer-size" in options:
        if options.get("mode") != "non-blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        try:
            memory_size(options["max-buffer-size"])
        except InvalidArgument as error:
            raise InvalidArgument(f"error parsing option max-buffer-size: {error}") from None
    if disabled := options.get("cache-disabled"):
        try:
            boolean(disabled)
        except InvalidArgument:
            raise InvalidArgument(f"invalid value for option cache-disabled: {disabled}") from None
    driver = DRIVERS.get(log.type)
    if driver is None:
        if log.type in _NOT_HERE:
            raise InvalidArgument(f"logger: no log driver named '{log.type}' is registered")
        raise InvalidArgument(f'error looking up logging plugin {log.type}: plugin "{log.type}" not found')
    own = {name: value for name, value in options.items() if name not in _CACHE | {"mode", "max-buffer-size"}}
    if log.type == "gelf":
        # Its address is asked for before anything else.
        gelf_address(options.get("gelf-address", ""))
    for name in own:
        if name not in driver.options:
            raise InvalidArgument(driver.unknown.format(name))
    driver.check(own)


def is_cached(log: LogConfig) -> bool:
    """Whether a driver that can't be read keeps a file besides."""
    driver = DRIVERS.get(log.type)
    if driver is None or driver.readable:
        return False
    return not boolean(log.config.get("cache-disabled") or "false")


def facility(text: str) -> int:
    """Number of a syslog facility. Raises InvalidArgument."""
    if not text:
        return _FACILITIES.index("daemon")
    if text in _FACILITIES and text != ".":
        return _FACILITIES.index(text)
    if text.isdigit() and int(text) < len(_FACILITIES):
        return int(text)
    raise InvalidArgument("invalid syslog facility")


def syslog_address(text: str) -> str:
    """A complete URL, "" for the machine's own daemon. Raises InvalidArgument."""
    if not text:
        return ""
    url = _url(text)
    if url.scheme in {"unix", "unixgram"}:
        if not os.path.exists(url.path):
            raise InvalidArgument(f"stat {url.path}: no such file or directory")
        return f"{url.scheme}://{url.path}"
    if url.scheme not in {"udp", "tcp", "tcp+tls"}:
        raise InvalidArgument(f"unsupported scheme: '{url.scheme}'")
    return f"{url.scheme}://{_host(url.hostname)}:{_port(url) or 514}"


def fluentd_address(text: str) -> str:
    """A complete URL. Raises InvalidArgument."""
    if not text:
        return "tcp://127.0.0.1:24224"
    try:
        url = _url(text if "://" in text else f"tcp://{text}")
        if url.scheme == "unix":
            if not url.path.strip("/"):
                raise InvalidArgument("path is empty")
            return f"unix://{url.path}"
        if url.scheme not in {"tcp", "tls"}:
            raise InvalidArgument(f"unsupported scheme: '{url.scheme}'")
        if url.path:
            raise InvalidArgument("should not contain a path element")
        port = url.netloc.rpartition("]")[2].rpartition(":")[2] if ":" in url.netloc.rpartition("]")[2] else ""
        try:
            number_of_port = unsigned(port, 65535) if port else 24224
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid port: {error}") from None
        return f"{url.scheme}://{_host(url.hostname or '127.0.0.1')}:{number_of_port}"
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid fluentd-address ({text}): {error}") from None


def gelf_address(text: str) -> str:
    """A complete URL. Raises InvalidArgument."""
    if not text:
        raise InvalidArgument("gelf-address is a required parameter")
    url = _url(text)
    if url.scheme not in {"udp", "tcp"}:
        raise InvalidArgument("gelf: endpoint needs to be TCP or UDP")
    if not _port(url):
        raise InvalidArgument("gelf: please provide gelf-address as proto://host:port")
    return f"{url.scheme}://{_host(url.hostname)}:{_port(url)}"


def _url(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise InvalidArgument(f'parse "{text}": {error}') from None


def _port(url: SplitResult) -> int | None:
    try:
        return url.port
    except ValueError:
        raise InvalidArgument(f"address {url.netloc}: invalid port") from None


def _host(name: str | None) -> str:
    return f"[{name}]" if name and ":" in name else name or ""


def _no_check(_options: dict[str, str]) -> None:
    return


def _syslog(options: dict[str, str]) -> None:
    syslog_address(options.get("syslog-address", ""))
    facility(options.get("syslog-facility", ""))
    if options.get("syslog-format", "") not in {"", "rfc3164", "rfc5424", "rfc5424micro"}:
        raise InvalidArgument("Invalid syslog format")


def _fluentd(options: dict[str, str]) -> None:
    fluentd_address(options.get("fluentd-address", ""))
    if size := options.get("fluentd-buffer-limit"):
        memory_size(size)
    if wait := options.get("fluentd-retry-wait"):
        duration_s(wait)
    if (retries := options.get("fluentd-max-retries")) and unsigned(retries, 2**32 - 1) > _MOST_RETRIES:
        raise InvalidArgument("invalid fluentd-max-retries: value out of range")
    if value := options.get("fluentd-async"):
        boolean(value)
    _fluentd_reconnect(options.get("fluentd-async-reconnect-interval", ""))
    for name in ("fluentd-sub-second-precision", "fluentd-request-ack"):
        if value := options.get(name):
            boolean(value)
    for name in _DURATIONS:
        if value := options.get(name):
            try:
                seconds = duration_s(value)
            except InvalidArgument as error:
                raise InvalidArgument(f"invalid value for {name}: value must be a duration: {error}") from None
            if seconds < 0:
                raise InvalidArgument(f"invalid value for {name}: value must be a duration that is non-negative")


def _fluentd_reconnect(text: str) -> None:
    name = "fluentd-async-reconnect-interval"
    if not text:
        return
    try:
        seconds = duration_s(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid value for {name}: {error}") from None
    if seconds and not 0.1 <= seconds <= 10:
        shown = duration_text(seconds)
        raise InvalidArgument(f'invalid value for {name}: value ("{shown}") must be between 100ms and 10s')


def _gelf(options: dict[str, str]) -> None:
    scheme = gelf_address(options.get("gelf-address", "")).partition(":")[0]
    for name, value in options.items():
        if name.startswith("gelf-compression"):
            if scheme != "udp":
                raise InvalidArgument("compression is only supported on UDP")
            levels = {str(level) for level in range(-1, 10)}
            if value not in (levels if name.endswith("level") else {"gzip", "zlib", "none"}):
                raise InvalidArgument(f'unknown value "{value}" for log opt "{name}" for gelf log driver')
        elif name.startswith("gelf-tcp"):
            if scheme != "tcp":
                raise InvalidArgument(f'"{name}" is only valid for TCP')
            try:
                good = number(value) >= 0
            except InvalidArgument:
                good = False
            if not good:
                raise InvalidArgument(f'"{name}" must be a positive integer')


def _names(prefix: str, words: str) -> frozenset[str]:
    return COMMON | {f"{prefix}-{word}" for word in words.split()}


DRIVERS: Final = {
    "json-file": Driver(COMMON | FILES, "unknown log opt '{}' for json-file log driver", _no_check, readable=True),
    "local": Driver(COMMON | FILES, "unknown log opt '{}' for log driver local", _no_check, readable=True),
    "journald": Driver(COMMON, "unknown log opt '{}' for journald log driver", _no_check),
    "syslog": Driver(
        _names("syslog", "address facility format tls-ca-cert tls-cert tls-key tls-skip-verify"),
        "unknown log opt '{}' for syslog log driver", _syslog, address=syslog_address,
    ),
    "fluentd": Driver(
        _names(
            "fluentd",
            "address async async-reconnect-interval buffer-limit max-retries request-ack retry-wait sub-second-precision "
            "write-timeout read-timeout",
        ),
        "unknown log opt '{}' for fluentd log driver", _fluentd, address=fluentd_address,
    ),
    "gelf": Driver(
        _names("gelf", "address compression-level compression-type tcp-max-reconnect tcp-reconnect-delay"),
        'unknown log opt "{}" for gelf log driver', _gelf, address=gelf_address,
    ),
}  # fmt: skip
