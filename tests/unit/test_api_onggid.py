"""onggid's options, files and sockets."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from onggi.api import onggid
from onggi.api.engineoptions import registry_options, set_proxies
from onggi.api.listeners import TlsFiles, close_listeners, open_listeners, passed_sockets, server_context
from onggi.api.options import OPTIONS, merge, parse_arguments, parse_file, usage
from onggi.errors import InvalidArgument, OnggiError

# Names of dockerd's configuration (moby daemon/config): each is known here, honoured or refused by name.
DOCKERD_KEYS = """authorization-plugins bridge builder cdi-spec-dirs containerd containerd-namespace
containerd-plugin-namespace cri-containerd data-root debug default-address-pools default-network-opts default-runtime
default-stop-timeout dns dns-opts dns-search exec-opts exec-root experimental features firewall-backend fixed-cidr group
host-gateway-ips hosts proxies labels live-restore log-driver log-format log-level log-opts max-concurrent-downloads
max-concurrent-uploads max-download-attempts metrics-addr min-api-version mtu network-control-plane-mtu
network-diagnostic-port node-generic-resources nri-opts pidfile raw-logs shutdown-timeout storage-driver storage-opts
swarm-default-advertise-addr tls tlscacert tlscert tlskey tlsverify allow-direct-routing bip bip6 bridge-accept-fwmark
cgroup-parent cpu-rt-period cpu-rt-runtime default-cgroupns-mode default-gateway default-gateway-v6 default-init
default-ipc-mode default-shm-size default-ulimits fixed-cidr-v6 icc init init-path ip ip-forward ip-forward-no-drop ip-masq
ip6tables iptables ipv6 no-new-privileges resolv-conf rootless runtimes seccomp-profile selinux-enabled userland-proxy
userland-proxy-path userns-remap insecure-registries registry-mirrors""".split()


@pytest.mark.row("P-343")
def test_every_key_of_dockerds_file_is_known() -> None:
    keys = {option.key for option in OPTIONS}
    assert [key for key in DOCKERD_KEYS if key not in keys] == []


@pytest.mark.row("P-343")
def test_an_unknown_key_is_named() -> None:
    with pytest.raises(InvalidArgument, match="don't match any configuration option: nonsense, other"):
        parse_file(b'{"nonsense": 1, "debug": true, "other": 2}')


@pytest.mark.row("P-343")
def test_a_name_in_both_places_is_an_error_that_shows_both() -> None:
    with pytest.raises(InvalidArgument) as caught:
        merge(parse_arguments(["-H", "unix:///a", "--label=x"]), parse_file(b'{"hosts": ["unix:///b"]}'))
    assert str(caught.value) == (
        "the following directives are specified both as a flag and in the configuration file: "
        "hosts: (from flag: [unix:///a], from file: [unix:///b])"
    )


@pytest.mark.row("P-343")
def test_a_refused_name_says_why() -> None:
    with pytest.raises(
        InvalidArgument, match="bip6 is not supported: the default bridge takes its IPv6 subnet from the pools"
    ):
        merge(parse_arguments(["--bip6=2001:db8::1/64"]), {})
    with pytest.raises(InvalidArgument, match="live-restore can't be switched off"):
        merge({}, parse_file(b'{"live-restore": false}'))
    merge({}, parse_file(b'{"live-restore": true, "iptables": false}'))


def test_the_line_is_read_as_dockerd_reads_it() -> None:
    line = parse_arguments(
        "-D -H tcp://0.0.0.0:2376 --host=fd:// --tlsverify=false --default-ulimit nofile=1:2 --default-ulimit core=0"
        " -lwarn --log-opt max-size=1m -G wheel --mtu 1400".split()
    )
    settings = merge(line, {})
    assert settings.flag("debug")
    assert settings.texts("host") == ["tcp://0.0.0.0:2376", "fd://"]
    assert not settings.flag("tlsverify")
    assert settings.pairs("default-ulimit") == {"nofile": "1:2", "core": "0"}
    assert settings.text("log-level") == "warn"
    assert settings.pairs("log-opt") == {"max-size": "1m"}
    assert settings.text("group") == "wheel"
    assert settings.number("mtu") == 1400
    assert settings.text("data-root") == "/var/lib/onggi"


def test_the_file_has_its_own_forms() -> None:
    settings = merge(
        {},
        parse_file(
            b'{"default-address-pools": [{"base": "10.9.0.0/16", "size": 24}],'
            b'"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}}, "features": {"buildkit": true}}'
        ),
    )
    assert settings.texts("default-address-pool") == ["base=10.9.0.0/16,size=24"]
    assert settings.pairs("default-ulimit") == {"nofile": "1:2"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--nonsense"], "unknown flag: --nonsense"),
        (["-Z"], "unknown shorthand flag: 'Z' in -Z"),
        (["--data-root"], "flag needs an argument: --data-root"),
        (["serve"], "accepts no arguments"),
        (["--debug=perhaps"], "want true or false"),
        (["--mtu=big"], "want a number"),
    ],
)
def test_wrong_lines_are_refused(words: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_arguments(words)
    assert text in str(caught.value)


def test_validate_prints_what_dockerd_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"debug": true}')
    bad.write_text('{"hosts": "no list"}')
    assert onggid.main(["--validate", "--config-file", str(good)]) == 0
    assert capsys.readouterr().out == "configuration OK\n"
    assert onggid.main(["--validate", "--config-file", str(bad)]) == 1
    assert "hosts: want a list" in capsys.readouterr().err
    assert onggid.main(["--validate", "--config-file", str(tmp_path / "none")]) == 1
    assert onggid.main(["--version"]) == 0
    assert "--data-root" in usage()


@pytest.mark.row("D-02")
@pytest.mark.parametrize("host", ["tcp://0.0.0.0:0", "tcp://127.0.0.1:0", "tcp://:0"])
def test_plain_tcp_is_refused(host: str) -> None:
    with pytest.raises(InvalidArgument, match="without TLS is refused"):
        open_listeners([host], group="0", tls=None, insecure_loopback=False, passed=[])


@pytest.mark.row("D-02")
def test_plain_tcp_on_loopback_needs_the_option_and_nothing_else_gets_it() -> None:
    with pytest.raises(InvalidArgument, match="without TLS is refused"):
        open_listeners(["tcp://0.0.0.0:0"], group="0", tls=None, insecure_loopback=True, passed=[])
    listeners = open_listeners(["tcp://127.0.0.1:0"], group="0", tls=None, insecure_loopback=True, passed=[])
    assert [listener.trusted for listener in listeners] == [False]
    close_listeners(listeners)


@pytest.mark.row("D-01")
def test_the_unix_socket_has_its_mode_and_group_from_the_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "onggi.sock"
    group = "0" if os.geteuid() else "12345"
    listeners = open_listeners([f"unix://{path}"], group=group, tls=None, insecure_loopback=False, passed=[])
    found = path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert found.st_gid == int(group)
    assert listeners[0].trusted
    with pytest.raises(OnggiError, match="another engine is listening there"):
        open_listeners([f"unix://{path}"], group=group, tls=None, insecure_loopback=False, passed=[])
    listeners[0].sock.close()  # as a crash leaves it
    again = open_listeners([f"unix://{path}"], group=group, tls=None, insecure_loopback=False, passed=[])
    close_listeners(again)
    assert not path.exists()


def test_a_group_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="does not exist"):
        open_listeners([f"unix://{tmp_path}/a"], group="nobodys-group", tls=None, insecure_loopback=False, passed=[])


@pytest.mark.row("D-03")
def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("x")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(InvalidArgument, match="can be read by others"):
        server_context(TlsFiles(f"{tmp_path}/ca", f"{tmp_path}/cert", f"{tmp_path}/key"))
    with pytest.raises(InvalidArgument, match="does not exist"):
        server_context(TlsFiles(f"{tmp_path}/none", f"{tmp_path}/cert", f"{tmp_path}/key"))


def test_sockets_of_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert passed_sockets() == []
    assert "LISTEN_FDS" not in os.environ
    with pytest.raises(InvalidArgument, match="no socket was passed"):
        open_listeners(["fd://"], group="", tls=None, insecure_loopback=False, passed=[])
    with socket.socket(socket.AF_INET) as sock, pytest.raises(InvalidArgument, match="unix sockets only"):
        open_listeners(["fd://"], group="", tls=None, insecure_loopback=False, passed=[sock])


@pytest.mark.row("I-066", "I-103")
def test_registries_numbers_and_mirrors_are_the_files_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = b'{"max-concurrent-downloads": 9, "max-concurrent-uploads": 2, "max-download-attempts": 7, "registry-mirrors": ["https://m"]}'
    options = registry_options(merge({}, parse_file(file)))
    assert (options.downloads, options.uploads, options.tries, options.mirrors) == (9, 2, 7, ["https://m"])
    usual = registry_options(merge({}, {}))
    assert (usual.downloads, usual.uploads, usual.tries) == (3, 5, 5)
    assert usual.certificates == "/etc/docker/certs.d"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/anna/.config")
    assert (
        registry_options(merge(parse_arguments(["--rootless"]), {})).certificates == "/home/anna/.config/docker/certs.d"
    )
    with pytest.raises(InvalidArgument, match="invalid max concurrent downloads: 0"):
        registry_options(merge(parse_arguments(["--max-concurrent-downloads=0"]), {}))
    for url in ("m.example", "ftp://m", "https://", "https://u@m", "https://m?x"):
        with pytest.raises(InvalidArgument, match="invalid mirror"):
            registry_options(merge(parse_arguments(["--registry-mirror", url]), {}))


@pytest.mark.row("I-085")
def test_proxies_of_the_file_take_the_place_of_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "before")
    set_proxies(merge({}, parse_file(b'{"proxies": {"https-proxy": "http://p:1", "no-proxy": "10.0.0.0/8"}}')))
    assert [os.environ[name] for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY")] == [
        "http://p:1",
        "http://p:1",
        "10.0.0.0/8",
    ]
    with pytest.raises(InvalidArgument, match=r"proxies\.ftp-proxy"):
        parse_file(b'{"proxies": {"ftp-proxy": "x"}}')
    with pytest.raises(InvalidArgument, match="specified both as a flag and in the configuration file"):
        merge(parse_arguments(["--no-proxy=a"]), parse_file(b'{"proxies": {"no-proxy": "b"}}'))
