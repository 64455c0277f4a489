"""What the OCI specifications define, as pure data: no files, no network, no clock.

Here: digests (digest.py), names of images (reference.py), platforms (platform.py), manifests and indexes (manifest.py),
image configs (image.py), the runtime specification (runtime.py). Begin in digest.py.
Not here: where bytes come from (images/) and where they lie (store/).
Invariants: (1) a `Digest` has been parsed, so it is safe as a file name; (2) a document's type is decided once, from
header, `mediaType` and shape together, and they agree.

Nothing is imported here: the launcher and `onggi-runtime` import runtime.py alone and pay for nothing else.
"""
