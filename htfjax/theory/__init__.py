"""The theory of arXiv:2201.11729 as functions of factors: laws, bounds, closed forms."""

import lazy_loader as _lazy_loader

__getattr__, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)
