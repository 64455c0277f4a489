"""Volumes: directories that outlive containers, by name.

Here: what volumes there are, who uses them, what of an image is copied into a new one, and the mounts of those with options.
Begin in volumes.py; copyup.py copies, localoptions.py reads `type`, `o` and `device`.
Not here: binds of host paths and tmpfs of one container (engine/), drivers of other programs.
Invariants: (1) a volume's data is deleted by `remove` and `prune` only, never by a crash; (2) an image's content is in a volume
wholly or not at all, and comes once; (3) nothing outside of the image is read for it, whatever its config says.
"""

from onggi.volumes.volumes import ANONYMOUS_LABEL, Volume, Volumes

__all__ = ["ANONYMOUS_LABEL", "Volume", "Volumes"]
