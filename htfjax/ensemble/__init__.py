"""Ensembles: grids of descents, batched, sharded, durable and resumable.

    Grid -> make_lane -> programs -> blocks of lanes -> records on disk -> load_results

`run` does it all; a grid is seeds x named axes over the fields of a setting such as
`Completion`.
"""

from htfjax.ensemble.batch import lane_mesh as lane_mesh
from htfjax.ensemble.completion import Completion as Completion
from htfjax.ensemble.completion import completion_lane as completion_lane
from htfjax.ensemble.folder import is_locked as is_locked
from htfjax.ensemble.grid import Grid as Grid
from htfjax.ensemble.grid import Run as Run
from htfjax.ensemble.lanes import Lane as Lane
from htfjax.ensemble.lanes import make_lane as make_lane
from htfjax.ensemble.progress import Progress as Progress
from htfjax.ensemble.run import run as run

__all__ = [
    "Completion",
    "Grid",
    "Lane",
    "Progress",
    "Run",
    "completion_lane",
    "is_locked",
    "lane_mesh",
    "make_lane",
    "run",
]
