"""Losses: random observations, penalties, and comparisons of factors with data."""

import lazy_loader as _lazy_loader

__getattr__, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)
