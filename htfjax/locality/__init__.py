"""Locality of networks: how strongly an output couples distant parts of an image.

Images and tasks -> networks -> training with the locality regularizer -> measures of how
local the trained network is.
"""

import lazy_loader as _lazy_loader

__getattr__, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)
