"""Where branches live: one directory a branch, copied as cheaply as the file system can.

`open_volume` finds the best driver for a directory; `probe` tells `skerry doctor` why; `image`
makes a file system that can clone, in a file, where the machine's own cannot.
"""

from skerry.node.volume.drivers import Finding, open_volume, probe
from skerry.node.volume.image import attach, create_image, detach, image_filesystem, move_in
from skerry.node.volume.tree import Immutable, folders
from skerry.node.volume.volume import Volume

__all__ = [
    "Finding",
    "Immutable",
    "Volume",
    "attach",
    "create_image",
    "detach",
    "folders",
    "image_filesystem",
    "move_in",
    "open_volume",
    "probe",
]
