"""Databases of packages as strangers write them, and the SPDX document that is made of them. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.build.exporters import packages
from onggi.build.exporters.packages import Package

DPKG = """Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b2
Description: GNU Bourne Again SHell
 Package: not-me

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
APK = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\nP:bad name\nV:1\n"
METADATA = "Metadata-Version: 2.1\nName: aio_http\nVersion: 3.12\nLicense-Expression: Apache-2.0\n\nName: body\n"


@pytest.mark.row("F-211")
def test_each_database_gives_its_packages() -> None:
    assert packages.from_dpkg(DPKG, "/s") == [Package("deb", "bash", "5.2.15-2+b2", "amd64", found="/s")]
    assert packages.from_apk(APK, "/a") == [Package("apk", "musl", "1.2.5-r0", "x86_64", "MIT", "/a")]
    (python,) = packages.from_metadata(METADATA, "/m")
    assert (python.name, python.version, python.license) == ("aio_http", "3.12", "Apache-2.0")
    (npm,) = packages.from_npm('{"name":"@scope/x","version":"1.0.0","license":{"type":"MIT"}}', "/n")
    assert npm.url("") == "pkg:npm/%40scope/x@1.0.0"
    assert python.url("") == "pkg:pypi/aio-http@3.12"
    assert packages.from_dpkg(DPKG, "")[0].url("debian") == "pkg:deb/debian/bash@5.2.15-2%2Bb2?arch=amd64"
    assert packages.from_npm("{", "/n") == packages.from_npm('{"name":"a b","version":"1"}', "/n") == []


@pytest.mark.row("F-210")
def test_the_same_packages_give_the_same_document() -> None:
    found = packages.from_dpkg(DPKG, "/s") + packages.from_apk(APK, "/a")
    one = packages.document(found, distribution="debian", created="2026-01-02T03:04:05.678Z", name="n")
    two = packages.document(
        list(reversed(found)) + found, distribution="debian", created="2026-01-02T03:04:05.9Z", name="n"
    )
    assert one == two
    assert one["spdxVersion"] == "SPDX-2.3"
    assert one["creationInfo"]["created"] == "2026-01-02T03:04:05Z"
    assert len(one["packages"]) == len(one["relationships"]) == 2


@pytest.mark.row("F-7")
@given(st.text(max_size=300))
def test_any_text_is_some_packages_or_none(text: str) -> None:
    for read in (packages.from_dpkg, packages.from_apk, packages.from_metadata, packages.from_npm):
        for package in read(text, "/x"):
            assert "\n" not in package.url("debian")
