"""Where the engine is: DOCKER_HOST's forms, and a connected socket to it."""

from __future__ import annotations

import os
import socket

from onggi.client.errors import ConnectionRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

DEFAULT = "unix:///run/onggi.sock"


class Endpoint:
    """`unix:///path` or `tcp://host:port`; TLS when `certificates` names a directory with ca.pem, cert.pem, key.pem."""

    __slots__ = ("address", "certificates", "text")

    def __init__(self, text: str, certificates: str | None = None) -> None:
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in ("unix", "tcp", "http", "https") or not rest:
            raise ConnectionRefused(f"unable to parse docker host `{text}`")
        self.text, self.certificates = text, certificates
        self.address: str | tuple[str, int] = rest
        if scheme != "unix":
            host, _, port = rest.rstrip("/").rpartition(":")
            if not host or not port.isdigit():
                raise ConnectionRefused(f"invalid host {text!r}: use tcp://HOST:PORT")
            self.address = (host.strip("[]"), int(port))

    @classmethod
    def from_environment(cls, host: str | None = None) -> Endpoint:
        """`host` (--host), else ONGGI_HOST, else DOCKER_HOST, else onggid's own socket."""
        text = host or os.environ.get("ONGGI_HOST") or os.environ.get("DOCKER_HOST") or DEFAULT
        verify = os.environ.get("DOCKER_TLS_VERIFY") or os.environ.get("DOCKER_TLS")
        directory = os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")
        return cls(text, directory if verify and not text.startswith("unix:") else None)

    def connect(self, timeout: float | None = None) -> socket.socket:
        """A connected stream socket. Raises ConnectionRefused in docker's words."""
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
        except OSError as error:
            raise ConnectionRefused(
                f"Cannot connect to the Docker daemon at {self.text}. Is the docker daemon running? ({error.strerror or error})"
            ) from error
        sock.settimeout(timeout)
        if not self.certificates:
            return sock
        return self.tls_context().wrap_socket(sock, server_hostname=self.address[0])

    def tls_context(self) -> ssl.SSLContext:
        """Trusts the endpoint's own ca.pem and shows its client certificate."""
        import ssl

        directory = self.certificates or ""
        context = ssl.create_default_context(cafile=os.path.join(directory, "ca.pem"))
        context.load_cert_chain(os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem"))
        return context
