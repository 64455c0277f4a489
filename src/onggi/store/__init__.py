"""Bytes and state on disk: the database, content, unpacked layers, snapshots, locks.

Here: what must survive a power cut. Begin in durable.py, then content.py and database.py; unpack.py turns a tar into a
layer, tarstream.py a tree into a tar.
Not here: where bytes come from (images/), what a container is (engine/), volumes (volumes/).
Invariants: (1) a blob under its digest is whole, a layer under its diff id is whole; both are durable before they can be
seen; (2) a row is committed before its effect is announced; (3) nothing is written outside the directory that a tar is
unpacked into, whatever links are on the way; (4) after an fsync that failed nothing more is written.

Nothing is imported here: the worker process and the registry pay for what they use. Faces: database.Database, content.Content,
layers.Layers, snapshots.Snapshots, workers.Workers, locks.RootLock.
"""
