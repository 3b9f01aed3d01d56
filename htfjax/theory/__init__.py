"""The theory of arXiv:2201.11729 as functions of factors: laws, bounds, closed forms."""

from htfjax._extras import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__, __file__)
