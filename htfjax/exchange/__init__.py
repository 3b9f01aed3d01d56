"""Exchange with tensap, quimb, tensorly, hiepy, tntorch, torchTT and MATLAB's htucker."""

from htfjax._extras import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__, __file__)
