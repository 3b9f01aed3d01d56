"""Losses: random observations, penalties, and comparisons of factors with data."""

from htfjax._extras import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__, __file__)
