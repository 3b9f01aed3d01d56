"""Formats of tensors as factors: hierarchical Tucker, CP, tensor trains, their algebra."""

from htfjax._extras import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__, __file__)
