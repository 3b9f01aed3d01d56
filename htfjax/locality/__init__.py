"""Locality of networks: how strongly an output couples distant parts of an image.

Images and tasks -> networks -> training with the locality regularizer -> measures of how
local the trained network is.
"""

from htfjax._extras import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__, __file__)
