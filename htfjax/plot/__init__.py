"""Plots of what runs recorded, on matplotlib axes.

    Trajectory or load_results -> components, spectra, bands, phase_diagram
    ModeTree or Factors        -> tree
    ChangeByDistance           -> locality

Each takes `ax=None`, draws in one style, and returns the axes.
"""

from htfjax._extras import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__, __file__)
