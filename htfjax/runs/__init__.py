"""Durable runs: grids of descents on disk, and the locks, signals and digests of folders.

    Grid -> make_lane -> programs -> blocks of lanes -> records on disk -> load_results

`run` does it all; a grid is seeds x named axes over the fields of a setting such as
`Completion`.
"""

from htfjax._extras import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__, __file__)
