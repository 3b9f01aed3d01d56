# ruff: noqa: TID252
"""Public names of `htfjax.plot` and the modules that define them."""

from .component_norms import components as components
from .heat_map import phase_diagram as phase_diagram
from .mode_trees import tree as tree
from .patch_distances import locality as locality
from .seed_bands import bands as bands
from .singular_values import spectra as spectra
from .style import colors as colors

__all__: list[str]
