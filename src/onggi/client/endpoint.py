"""Where the engine is: DOCKER_HOST's forms, and a connected socket to it."""

from __future__ import annotations

import os
import socket

from onggi.client.errors import ConnectionRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

DEFAULT = "unix:///run/onggi.sock"
_PORTS = {"tcp": "2375", "http": "80", "https": "443"}
_TLS_PORT = "2376"


def own_socket() -> str:
    """The socket of the user's own engine where there is one (`onggid --rootless`), else that of root's."""
    path = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/onggi.sock"
    return f"unix://{path}" if os.geteuid() != 0 and os.path.exists(path) else DEFAULT


class Tls:
    """Files for TLS: the authority to trust, and the client's own certificate; any may be missing."""

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, ca: str = "", cert: str = "", key: str = "", *, verify: bool = True) -> None:
        self.ca, self.cert, self.key, self.verify = ca, cert, key, verify

    @classmethod
    def of_directory(cls, directory: str, *, verify: bool = True) -> Tls:
        """ca.pem, cert.pem and key.pem of `directory`."""
        return cls(*(os.path.join(directory, name) for name in ("ca.pem", "cert.pem", "key.pem")), verify=verify)

    def context(self) -> ssl.SSLContext:
        """Raises ConnectionRefused when a file that was named isn't there."""
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert and self.key:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:
            missing = next((path for path in (self.ca, self.cert, self.key) if path and not os.path.exists(path)), "")
            raise ConnectionRefused(
                f"Failed to initialize: unable to resolve docker endpoint: open {missing}: no such file or directory"
                if missing
                else f"Failed to initialize: unable to resolve docker endpoint: {error}"
            ) from None
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


class Endpoint:
    """`unix:///path`, `tcp://host[:port]` with or without TLS, or `ssh://[user@]host[:port][/socket]`.

    Raises ConnectionRefused, in docker's words, for what is none of these.
    """

    __slots__ = ("address", "text", "tls")

    def __init__(self, text: str, tls: Tls | None = None) -> None:
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest, text = "tcp", text, f"tcp://{text}"
        if scheme == "npipe":
            raise ConnectionRefused("Failed to initialize: protocol not available")
        if scheme not in ("unix", "tcp", "http", "https", "ssh") or not rest:
            raise ConnectionRefused(f"Failed to initialize: unable to parse docker host `{text}`")
        self.tls = tls if scheme in ("tcp", "http", "https") else None
        self.text = text
        self.address: str | tuple[str, int] = rest
        if scheme == "ssh":
            from onggi.client.ssh import check

            check(text)
        elif scheme != "unix":
            self.address = self._tcp(scheme, rest)
            host, port = self.address
            self.text = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def _tcp(self, scheme: str, rest: str) -> tuple[str, int]:
        place = rest.partition("/")[0]
        host, colon, port = place.rpartition(":")
        if not colon or place.endswith("]"):
            host, port = place, _TLS_PORT if self.tls and scheme == "tcp" else _PORTS[scheme]
        if not port.isdigit():
            raise ConnectionRefused(f"Failed to initialize: unable to parse docker host `{self.text}`")
        return host.strip("[]"), int(port)

    @classmethod
    def from_environment(cls, host: str | None = None) -> Endpoint:
        """`host`, else ONGGI_HOST, else DOCKER_HOST, else onggid's own socket; TLS as DOCKER_TLS_VERIFY, DOCKER_TLS and
        DOCKER_CERT_PATH say.
        """
        text = host or os.environ.get("ONGGI_HOST") or os.environ.get("DOCKER_HOST") or own_socket()
        return cls(text, tls_from_environment())

    def connect(self, timeout: float | None = None) -> socket.socket:
        """A connected stream socket. Raises ConnectionRefused in docker's words."""
        if self.text.startswith("ssh:"):
            from onggi.client.ssh import connect

            return connect(self.text)
        try:
            if isinstance(self.address, str):
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    sock.connect(self.address)
                except OSError:
                    sock.close()
                    raise
            else:
                sock = socket.create_connection(self.address, timeout)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except PermissionError as error:
            raise ConnectionRefused(
                f"permission denied while trying to connect to the docker API at {self.text} ({error.strerror})"
            ) from error
        except OSError as error:
            raise ConnectionRefused(
                f"Cannot connect to the Docker daemon at {self.text}. Is the docker daemon running?"
            ) from error
        sock.settimeout(timeout)
        return self._with_tls(sock, self.tls) if self.tls else sock

    def _with_tls(self, sock: socket.socket, tls: Tls) -> socket.socket:
        try:
            return tls.context().wrap_socket(sock, server_hostname=self.address[0])
        except OSError as error:
            sock.close()
            raise ConnectionRefused(f"error during connect: {self.text}: {error}") from error


def tls_from_environment() -> Tls | None:
    verify = os.environ.get("DOCKER_TLS_VERIFY")
    if not verify and not os.environ.get("DOCKER_TLS"):
        return None
    directory = os.environ.get("DOCKER_CERT_PATH") or os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return Tls.of_directory(directory, verify=bool(verify))
