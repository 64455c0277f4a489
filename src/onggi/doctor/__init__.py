"""What of an engine is on this machine, found from the outside.

Here: the leak check. It trusts no row and no engine: it reads what the kernel shows (mount tables of every mount
namespace, links, nft tables, cgroups, processes, descriptors, files) and names all that belongs to one engine.
Begin in footprint.py. Tests, `onggi doctor --leaks` and the demo's last step use this same code.
Not here: repairing (engine/reconcile.py).
Invariant: everything that an engine makes on the machine carries its tag, its roots or its cgroup parent in its name,
so leftovers are found even when the database is gone.
"""

from onggi.doctor.footprint import Engine, Trace, engine_tag, footprint

__all__ = ["Engine", "Trace", "engine_tag", "footprint"]
