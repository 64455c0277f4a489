"""Images: what is here under which name, and how it comes and goes.

Here: the records of images and their names (catalog.py; begin there), pull, push, load, save, import, prune. An image is a
config (its id is the config's digest), layers by diff id, and names that point to it.
Not here: bytes on disk (store/), Dockerfiles (build/), what a container does with an image (engine/).
Invariants: (1) a name is committed after everything it leads to is durable; (2) a layer is removed only when no image,
and nothing under way, needs it; (3) reads are answered from memory.
"""

from onggi.images.catalog import Image
from onggi.images.images import Images
from onggi.images.options import RegistryOptions

__all__ = ["Image", "Images", "RegistryOptions"]
