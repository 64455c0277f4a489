"""Registries behind TLS, mirrors and proxies: certs.d, hosts.toml, registry-mirrors, NO_PROXY."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from onggi.errors import InvalidArgument, Unavailable
from onggi.images import RegistryOptions
from onggi.images.endpoints import endpoints, is_insecure
from onggi.images.proxies import proxy_for
from tests.certificates import certificates
from tests.imaging import RudeRegistry, make_image, room, rude_registry, says

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked")
IMAGE = make_image({"etc/one": b"1" * 1000})
MANIFEST = "/v2/app/manifests/v1"


def own_address() -> str:
    """The machine's address: what is on loopback may do without certificates, so it can't show that they are looked at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))  # nothing is sent: the kernel chooses the source
        return str(sock.getsockname()[0])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    certificates(folder, own_address())
    return folder


def server_tls(keys: Path, *, clients: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys / "server.pem", keys / "server-key.pem")
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(keys / "ca.pem")
    return context


def quick(folder: Path, **words: object) -> RegistryOptions:
    return RegistryOptions(backoff_s=0.01, tries=2, certificates=str(folder), **words)


def place(folder: Path, host: str, files: Mapping[str, str | Path]) -> None:
    """`folder`/`host` with files: texts, or copies."""
    (folder / host).mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        (folder / host / name).write_text(source.read_text() if isinstance(source, Path) else source)


@pytest.mark.row("I-084")
def test_certificates_of_a_registry_are_where_docker_has_them(tmp_path: Path, keys: Path) -> None:
    folder = tmp_path / "certs.d"

    async def run() -> None:
        async with rude_registry(own_address(), server_tls(keys, clients=True)) as registry:
            registry.add("app", "v1", IMAGE)
            name = f"{registry.host}/app:v1"
            async with room(tmp_path / "root", quick(folder)) as here:
                with pytest.raises(Unavailable, match="tls: failed to verify certificate: x509"):
                    await here.pull(name)
                place(folder, registry.host, {"ca.crt": keys / "ca.pem"})
                with pytest.raises(Unavailable):  # it wants to see a certificate of ours
                    await here.pull(name)
                place(
                    folder, registry.host, {"client.cert": keys / "client.pem", "client.key": keys / "client-key.pem"}
                )
                await here.pull(name)
                assert here.images.resolve(name).id == IMAGE.id
                place(folder, registry.host, {"client.key": "no key\n"})
                with pytest.raises(Unavailable, match=f"certificates of {registry.host} can't be used"):
                    await here.pull(name)

    asyncio.run(run())


@pytest.mark.row("I-079")
def test_hosts_of_a_hosts_toml_are_asked_in_its_order_as_it_says(tmp_path: Path, keys: Path) -> None:
    folder = tmp_path / "certs.d"

    async def run() -> None:
        tls = server_tls(keys, clients=True)
        async with rude_registry() as down, rude_registry("127.0.0.1", tls) as second, rude_registry() as origin:
            for registry in (down, second, origin):
                registry.add("app", "v1", IMAGE)
            # The second one has its API below a path of its own.
            second.documents = {path.replace("/v2/", "/cache/hub/"): what for path, what in second.documents.items()}
            down.fault(MANIFEST, *[says(503)] * 9)
            place(folder, "registry.test", {
                "authority.pem": keys / "ca.pem", "both.pem": (keys / "client.pem").read_text() + (keys / "client-key.pem").read_text(),
                "hosts.toml": HOSTS.format(down=down.host, second=second.host, origin=origin.host),
            })  # fmt: skip
            async with room(tmp_path / "root", quick(folder)) as here:
                await here.pull("registry.test/app:v1")
            assert down.count(MANIFEST) == 2  # tried twice, then the next one
            assert second.count("/cache/hub/app/manifests/v1") == 1
            told = [CIMultiDict(headers) for _, _, headers in second.requests]
            assert {(headers["X-Team"], headers["Authorization"]) for headers in told} == {("jars", "Token abc")}
            assert origin.requests == []

            second.documents.clear()
            async with room(tmp_path / "other", quick(folder)) as here:
                await here.pull("registry.test/app:v1")
                assert origin.count(MANIFEST) == 1
                await here.push("registry.test/app:v1")
            asked = [path for method, path, _ in origin.requests if method in ("HEAD", "POST", "PUT")]
            assert asked  # a mirror that is only for pulling isn't pushed to
            assert not any(method in ("HEAD", "POST", "PUT") for one in (down, second) for method, _, _ in one.requests)

    asyncio.run(run())


HOSTS = """
server = "http://{origin}"

[host."http://{down}"]
  capabilities = ["pull", "resolve"]

[host."https://{second}/cache/hub"]
  capabilities = ["pull", "resolve"]
  ca = "authority.pem"
  client = "both.pem"
  skip_verify = true
  override_path = true
  dial_timeout = "1m30s"
  [host."https://{second}/cache/hub".header]
    x-team = "jars"
    authorization = ["Token abc"]
"""


@pytest.mark.row("I-079")
def test_a_hosts_toml_says_what_it_wants_or_is_refused_by_name(tmp_path: Path) -> None:
    options = RegistryOptions(certificates=str(tmp_path), mirrors=["https://mirror.example/hub"])
    place(
        tmp_path,
        "docker.io",
        {"hosts.toml": '[host."m.example:5000"]\n[host."http://n.example/v2/x/"]\ncapabilities=["push"]\n'},
    )
    first, second, last = endpoints("docker.io", options)
    assert (first.host, first.schemes, first.root, first.is_mirror, first.namespace) == (
        "m.example:5000",
        ("https",),
        "/v2",
        True,
        "docker.io",
    )
    assert (second.root, second.insecure, second.pulls, second.pushes) == ("/v2/x/v2", True, False, True)
    assert (last.host, last.root, last.is_mirror, last.namespace) == ("registry-1.docker.io", "/v2", False, "")
    place(tmp_path, "_default", {"hosts.toml": 'server = "https://everything.example"\nclient = [["a", "b"], "c"]\n'})
    (default,) = endpoints("else.example", options)
    assert default.host == "everything.example"
    assert default.clients == ((f"{tmp_path}/_default/a", f"{tmp_path}/_default/b"), (f"{tmp_path}/_default/c", ""))
    place(tmp_path, "port.example_5000_", {"hosts.toml": 'server = "https://by-port.example"\n'})
    assert endpoints("port.example:5000", options)[0].host == "by-port.example"
    for text, why in (
        ("server = ", "Invalid value"), ('[host."ftp://x"]', "neither http nor https"), ('dial_timeout = "soon"', "no duration"),
        ('capabilities = ["fly"]', "unknown capability 'fly'"), ("ca = 3", "neither a text nor a list"), ('client = [["a", "b", "c"]]', "pair"),
    ):  # fmt: skip
        place(tmp_path, "bad.example", {"hosts.toml": text})
        with pytest.raises(InvalidArgument, match=why):
            endpoints("bad.example", options)


@pytest.mark.row("I-078", "I-083")
def test_mirrors_and_insecure_registries_are_found_by_name_address_and_network() -> None:
    options = RegistryOptions(
        ["reg.example:5000", "10.1.0.0/16", "plain.example"], ["https://m.example/hub/", "http://n.example"]
    )
    first, second, hub = endpoints("docker.io", options)
    assert (first.host, first.root, first.schemes, first.pushes) == ("m.example", "/hub/v2", ("https",), False)
    assert (second.host, second.schemes, second.insecure) == ("n.example", ("http",), True)
    assert (hub.host, hub.is_mirror, hub.schemes) == ("registry-1.docker.io", False, ("https",))
    for host, insecure in {
        "reg.example:5000": True, "reg.example": False, "reg.example:443": False, "plain.example:5000": True, "10.1.2.3:5000": True,
        "10.2.0.1": False, "127.9.9.9:1": True, "localhost:5000": True, "[::1]:5000": True, "[fd00::1]:5000": False,
    }.items():  # fmt: skip
        assert is_insecure(host, options.insecure) is insecure, host
        assert endpoints(host, options)[0].schemes == (("https", "http") if insecure else ("https",))


@pytest.mark.row("I-085")
@pytest.mark.parametrize(
    ("url", "no_proxy", "goes"),
    [
        ("https://a.example/", "", True),
        ("https://a.example/", "*", False),
        ("https://a.example/", "b.example, a.example", False),
        ("https://x.a.example/", "a.example", False),
        ("https://xa.example/", "a.example", True),
        ("https://a.example/", ".a.example", True),
        ("https://x.a.example/", "*.a.example", False),
        ("https://A.Example./", "a.example", False),
        ("https://a.example:5000/", "a.example:5000", False),
        ("https://a.example/", "a.example:5000", True),
        ("https://a.example/", "a.example:443", False),
        ("https://10.1.2.3:5000/", "10.0.0.0/8", False),
        ("https://11.1.2.3/", "10.0.0.0/8,nonsense/99", True),
        ("https://10.1.2.3/", "10.1.2.3", False),
        ("https://10.1.2.3/", "2.3", True),
        ("https://[fd00::5]:5000/", "fd00::/8", False),
        ("https://[fd00::5]:5000/", "[fd00::5]:5000", False),
        ("https://127.0.0.1:5000/", "", False),
        ("https://localhost/", "", False),
        ("https://[::1]/", "", False),
    ],
)
def test_no_proxy_is_read_as_gos_programs_read_it(url: str, no_proxy: str, *, goes: bool) -> None:
    found = proxy_for(URL(url), {"HTTPS_PROXY": "proxy.example:3128", "no_proxy": no_proxy})
    assert found == (URL("http://proxy.example:3128") if goes else None)


@pytest.mark.row("I-085")
def test_a_proxy_that_is_none_is_named() -> None:
    assert proxy_for(URL("http://a.example"), {"HTTPS_PROXY": "proxy"}) is None
    assert proxy_for(URL("http://a.example"), {"http_proxy": "https://u:p@proxy:1"}) == URL("https://u:p@proxy:1")
    with pytest.raises(InvalidArgument, match="HTTPS_PROXY names no http or https proxy"):
        proxy_for(URL("https://a.example"), {"HTTPS_PROXY": "socks5://proxy"})


@pytest.mark.row("I-085")
def test_a_pull_goes_by_way_of_the_proxy_with_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with rude_registry() as registry, proxying(registry) as (proxy, seen):
            registry.add("app", "v1", IMAGE)
            monkeypatch.setenv("http_proxy", f"http://anna:secret@{proxy}")
            place(tmp_path / "certs.d", "registry.test", {"hosts.toml": 'server = "http://registry.test"\n'})
            async with room(tmp_path / "root", quick(tmp_path / "certs.d")) as here:
                await here.pull("registry.test/app:v1")
                assert here.images.resolve("registry.test/app:v1").id == IMAGE.id
            assert (
                "http://registry.test/v2/app/manifests/v1",
                "Basic " + base64.b64encode(b"anna:secret").decode(),
            ) in seen

    asyncio.run(run())


@contextlib.asynccontextmanager
async def proxying(registry: RudeRegistry) -> AsyncIterator[tuple[str, list[tuple[str, str]]]]:
    """A proxy for one registry, whatever it is called: its address, and what it was asked for by whom."""
    seen: list[tuple[str, str]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((str(request.url), request.headers.get("Proxy-Authorization", "")))
        return await registry.answer(request)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()
