"""What packages an image says it has, and an SPDX document of them. Pure.

Databases: dpkg's status (deb-control(5)), apk's installed (wiki.alpinelinux.org/wiki/Apk_spec), Python's *.dist-info/METADATA
(PyPA core metadata), npm's package.json. Source of the document: SPDX 2.3; package URLs: package-url/purl-spec.
"""

from __future__ import annotations

import email.parser
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from onggi import __version__

PREDICATE_TYPE: Final = "https://spdx.dev/Document"
_NAME: Final = re.compile(r"[\w.+~@/-]{1,214}")
_VERSION: Final = re.compile(r"[\w.+~:!*-]{1,200}")


class Package(msgspec.Struct, frozen=True, order=True):
    """`kind` is the package URL's type; `found` the file that says so."""

    kind: str
    name: str
    version: str
    architecture: str = ""
    license: str = ""
    found: str = ""

    def url(self, distribution: str) -> str:
        """`pkg:deb/debian/bash@5.2?arch=amd64`."""
        space = {"deb": f"{distribution or 'debian'}/", "apk": f"{distribution or 'alpine'}/"}.get(self.kind, "")
        name = self.name.lower().replace("_", "-") if self.kind == "pypi" else self.name
        words = f"pkg:{self.kind}/{space}{quote(name, safe='/')}@{quote(self.version, safe='')}"
        return f"{words}?arch={self.architecture}" if self.architecture else words


def _is_sound(name: str, version: str) -> bool:
    """A stranger's words go into a document: what no package is called stays out."""
    return bool(_NAME.fullmatch(name) and _VERSION.fullmatch(version))


def from_dpkg(text: str, found: str) -> list[Package]:
    """Installed packages of a status file, or of one of status.d (distroless images)."""
    packages = []
    for paragraph in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[:1].isalpha())
        installed = fields.get("Status", "install ok installed").endswith(" installed")
        name, version = fields.get("Package", ""), fields.get("Version", "")
        if installed and _is_sound(name, version):
            packages.append(Package("deb", name, version, fields.get("Architecture", ""), found=found))
    return packages


def from_apk(text: str, found: str) -> list[Package]:
    packages = []
    for paragraph in text.split("\n\n"):
        fields = {line[0]: line[2:] for line in paragraph.splitlines() if line[1:2] == ":"}
        name, version = fields.get("P", ""), fields.get("V", "")
        if _is_sound(name, version):
            packages.append(Package("apk", name, version, fields.get("A", ""), fields.get("L", ""), found))
    return packages


def from_metadata(text: str, found: str) -> list[Package]:
    """A METADATA or PKG-INFO file."""
    headers = email.parser.HeaderParser().parsestr(text)
    name, version = str(headers.get("Name", "")), str(headers.get("Version", ""))
    declared = str(headers.get("License-Expression", "") or "")
    return [Package("pypi", name, version, license=declared, found=found)] if _is_sound(name, version) else []


class _Npm(msgspec.Struct):
    name: str = ""
    version: str = ""
    license: Any = ""


def from_npm(text: str, found: str) -> list[Package]:
    """A package.json of node_modules."""
    try:
        package = msgspec.json.decode(text, type=_Npm)
    except msgspec.DecodeError:
        return []
    declared = package.license if isinstance(package.license, str) else ""
    if not _is_sound(package.name, package.version):
        return []
    return [Package("npm", package.name, package.version, license=declared, found=found)]


def document(packages: Iterable[Package], *, distribution: str, created: str, name: str) -> Mapping[str, Any]:
    """SPDX 2.3 as JSON. The same packages give the same document."""
    listed = sorted(set(packages))
    described = [_described(package, distribution) for package in listed]
    digest = hashlib.sha256(repr(listed).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://onggi.invalid/spdx/{digest}",
        "creationInfo": {"created": _seconds(created), "creators": [f"Tool: onggi-{__version__}"]},
        "packages": described,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            }
            for package in described
        ],
    }


def _described(package: Package, distribution: str) -> dict[str, Any]:
    identifier = hashlib.sha256(repr(package).encode()).hexdigest()[:16]
    return {
        "SPDXID": f"SPDXRef-Package-{package.kind}-{identifier}",
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": package.license if re.fullmatch(r"[\w.+() -]{1,100}", package.license) else "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "sourceInfo": f"found in {package.found}",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.url(distribution),
            }
        ],
    }


def _seconds(moment: str) -> str:
    """RFC 3339 without fractions, as SPDX wants it."""
    return re.sub(r"\.\d+", "", moment) or "1970-01-01T00:00:00Z"
