"""--log-driver and --log-opt: refused at create or at the start, in dockerd's words."""

from __future__ import annotations

import pytest

from onggi.engine import logtag
from onggi.engine.config import LogConfig
from onggi.engine.logdrivers import check, facility, fluentd_address, gelf_address, is_cached, syslog_address
from onggi.engine.logwords import boolean, duration_s, number
from onggi.errors import InvalidArgument
from onggi.sizes import human_size, memory_size

REFUSED = [
    ("json-file", {"bogus": "1"}, "unknown log opt 'bogus' for json-file log driver"),
    ("json-file", {"mode": "foo"}, "logger: logging mode not supported: foo"),
    (
        "json-file",
        {"max-buffer-size": "1m"},
        "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
    ),
    ("json-file", {"cache-disabled": "foo"}, "invalid value for option cache-disabled: foo"),
    ("local", {"bogus": "1"}, "unknown log opt 'bogus' for log driver local"),
    ("syslog", {"syslog-address": "foo://x"}, "unsupported scheme: 'foo'"),
    ("syslog", {"syslog-address": "unix:///nonexist"}, "stat /nonexist: no such file or directory"),
    ("syslog", {"syslog-facility": "foo"}, "invalid syslog facility"),
    ("syslog", {"syslog-format": "foo"}, "Invalid syslog format"),
    ("syslog", {"bogus": "1"}, "unknown log opt 'bogus' for syslog log driver"),
    ("fluentd", {"fluentd-address": "foo://x"}, "invalid fluentd-address (foo://x): unsupported scheme: 'foo'"),
    (
        "fluentd",
        {"fluentd-address": "tcp://127.0.0.1:1/x"},
        "invalid fluentd-address (tcp://127.0.0.1:1/x): should not contain a path element",
    ),
    (
        "fluentd",
        {"fluentd-address": "tcp://127.0.0.1:99999"},
        (
            'invalid fluentd-address (tcp://127.0.0.1:99999): invalid port: strconv.ParseUint: parsing "99999": '
            "value out of range"
        ),
    ),
    ("fluentd", {"fluentd-buffer-limit": "x"}, "invalid size: 'x'"),
    ("fluentd", {"fluentd-retry-wait": "x"}, 'time: invalid duration "x"'),
    ("fluentd", {"fluentd-max-retries": "x"}, 'strconv.ParseUint: parsing "x": invalid syntax'),
    ("fluentd", {"fluentd-async": "x"}, 'strconv.ParseBool: parsing "x": invalid syntax'),
    (
        "fluentd",
        {"fluentd-async-reconnect-interval": "1ms"},
        'invalid value for fluentd-async-reconnect-interval: value ("1ms") must be between 100ms and 10s',
    ),
    (
        "fluentd",
        {"fluentd-write-timeout": "-1s"},
        "invalid value for fluentd-write-timeout: value must be a duration that is non-negative",
    ),
    ("gelf", {"a": "b"}, "gelf-address is a required parameter"),
    ("gelf", {"gelf-address": "udp://127.0.0.1"}, "gelf: please provide gelf-address as proto://host:port"),
    ("gelf", {"gelf-address": "http://127.0.0.1:1"}, "gelf: endpoint needs to be TCP or UDP"),
    (
        "gelf",
        {"gelf-address": "tcp://h:1", "gelf-compression-type": "gzip"},
        "compression is only supported on UDP",
    ),
    (
        "gelf",
        {"gelf-address": "udp://h:1", "gelf-compression-level": "10"},
        'unknown value "10" for log opt "gelf-compression-level" for gelf log driver',
    ),
    (
        "gelf",
        {"gelf-address": "udp://h:1", "gelf-tcp-max-reconnect": "1"},
        '"gelf-tcp-max-reconnect" is only valid for TCP',
    ),
    ("journald", {"a": "b"}, "unknown log opt 'a' for journald log driver"),
    ("awslogs", {}, "logger: no log driver named 'awslogs' is registered"),
    ("splunk", {}, "logger: no log driver named 'splunk' is registered"),
    ("bogus", {}, 'error looking up logging plugin bogus: plugin "bogus" not found'),
]


@pytest.mark.parametrize(("driver", "options", "text"), REFUSED)
@pytest.mark.row("E-308", "E-309", "E-310")
def test_a_log_option_that_cannot_be_is_refused_in_dockers_words(
    driver: str, options: dict[str, str], text: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(LogConfig(driver, options))
    assert str(refused.value) == text


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("none", {"a": "b"}),
        ("json-file", {"max-size": "10m", "max-file": "3", "compress": "true", "tag": "x", "labels-regex": "a.*"}),
        ("local", {"mode": "non-blocking", "max-buffer-size": "4m"}),
        ("syslog", {"syslog-address": "tcp+tls://h", "syslog-tls-skip-verify": "1", "cache-max-size": "1m"}),
        ("fluentd", {"fluentd-address": "h", "fluentd-request-ack": "true", "fluentd-async": ""}),
        ("gelf", {"gelf-address": "udp://h:1", "gelf-compression-level": "-1"}),
        ("journald", {"tag": "{{.Name}}"}),
    ],
)
def test_what_docker_takes_is_taken(driver: str, options: dict[str, str]) -> None:
    check(LogConfig(driver, options))


def test_addresses_are_completed() -> None:
    assert syslog_address("udp://h") == "udp://h:514"
    assert syslog_address("tcp://[::1]:6514") == "tcp://[::1]:6514"
    assert fluentd_address("") == "tcp://127.0.0.1:24224"
    assert fluentd_address("h:5") == "tcp://h:5"
    assert fluentd_address("unix:///run/f.sock") == "unix:///run/f.sock"
    assert gelf_address("udp://h:12201") == "udp://h:12201"
    assert [facility(word) for word in ("", "local7", "23", "kern")] == [3, 23, 23, 0]


@pytest.mark.row("E-308")
def test_drivers_that_cannot_be_read_keep_a_file_unless_told_not_to() -> None:
    assert not is_cached(LogConfig("json-file", {}))
    assert not is_cached(LogConfig("none", {}))
    assert is_cached(LogConfig("syslog", {}))
    assert not is_cached(LogConfig("syslog", {"cache-disabled": "true"}))


def test_sizes_of_files_are_decimal_and_sizes_of_buffers_binary() -> None:
    assert (human_size("10m"), memory_size("10m"), human_size("1.5kB"), memory_size("1KiB")) == (
        10**7,
        10485760,
        1500,
        1024,
    )
    assert (duration_s("1m30s"), duration_s("1.5h"), duration_s("-100ms"), duration_s("0")) == (90, 5400, -0.1, 0)
    assert (number("-3"), boolean("T"), boolean("0")) == (-3, True, False)


FIELDS = {"ID": "0123456789ab", "Name": "web", "ImageName": "busybox:latest", "Command": "sh -c x"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.Name}}/{{.ID}}", "web/0123456789ab"),
        ("{{ .Name | upper }}", "WEB"),
        ("{{upper .Name}}-{{truncate .ID 4}}", "WEB-0123"),
        ("{{pad .Name 1 2}}.", " web  ."),
        ("{{json .ImageName}}", '"busybox:latest"'),
        ('{{join (split .ImageName ":") "-"}}', None),
        ('{{split .ImageName ":"}}', "[busybox latest]"),
        ("a {{- .Name -}} b", "awebb"),
    ],
)
@pytest.mark.row("E-311")
def test_a_tag_is_a_template_over_the_container(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(InvalidArgument):
            logtag.render(template, FIELDS)
    else:
        assert logtag.render(template, FIELDS) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            "{{.Bogus}}",
            'template: log-tag:1:2: executing "log-tag" at <.Bogus>: can\'t evaluate field Bogus in type *logger.Info',
        ),
        ("{{.Name", "template: log-tag:1: unclosed action"),
        ("{{bogus .Name}}", 'template: log-tag:1: function "bogus" not defined'),
        ("{{}}", "template: log-tag:1: missing value for command"),
    ],
)
@pytest.mark.row("E-311")
def test_a_tag_that_is_no_template_is_refused_in_gos_words(template: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        logtag.render(template, FIELDS)
    assert str(refused.value) == text
