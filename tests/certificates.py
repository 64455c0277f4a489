"""Certificates for a test's servers and clients, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def certificates(folder: Path, address: str = "127.0.0.1") -> None:
    """An authority, and with its signature a server's and a client's certificate; one that isn't for clients too."""
    run = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"]
    subprocess.run([*run, "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem"], check=True, capture_output=True)
    for name, extension in (
        ("server", f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth\n"),
        ("client", "extendedKeyUsage=clientAuth\n"),
        ("wrong", "extendedKeyUsage=serverAuth\n"),
    ):
        (folder / "extension").write_text(extension)
        request = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
        subprocess.run(
            [*request, "-keyout", folder / f"{name}-key.pem", "-out", folder / "request"],
            check=True,
            capture_output=True,
        )
        sign = [
            "openssl",
            "x509",
            "-req",
            "-in",
            folder / "request",
            "-CA",
            folder / "ca.pem",
            "-CAkey",
            folder / "ca-key.pem",
        ]
        subprocess.run(
            [*sign, "-CAcreateserial", "-days", "2", "-extfile", folder / "extension", "-out", folder / f"{name}.pem"],
            check=True,
            capture_output=True,
        )
