"""The registry server: the OCI distribution spec over blobs on disk.

Here: routes with the right that each needs (routes.py; begin there), repositories on disk (repositories.py), uploads
that can go on where they stopped (uploads.py), who may do what (access.py), what is kept of other registries (mirrors.py),
`onggi-registry` (command.py).
Not here: how other registries are spoken to (images/), bytes by digest (store/content.py).
Invariants: (1) 201 means durable; (2) a repository shows the blobs that were pushed or mounted into it, and no others;
(3) no state in the process: what is cached is compared with the disk before it counts, so replicas may share a root;
(4) a tag is a file that is replaced by rename: a reader sees the old manifest or the new one.
"""

from onggi.registry.access import Access
from onggi.registry.server import Registry
from onggi.registry.serving import Served, serve

__all__ = ["Access", "Registry", "Served", "serve"]
