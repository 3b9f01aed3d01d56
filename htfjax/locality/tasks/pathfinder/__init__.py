"""Pathfinder: are two dots the ends of one dashed path? Our generator after Linsley et al.

Flow: settings -> stamps -> paths on masks -> ink -> pixels -> examples; the distance of
the dots is measured beside it.
"""

from htfjax.locality.tasks.pathfinder.baseline import MarkerBaseline as MarkerBaseline
from htfjax.locality.tasks.pathfinder.baseline import PositionBaseline as PositionBaseline
from htfjax.locality.tasks.pathfinder.baseline import (
    marker_distance_baseline as marker_distance_baseline,
)
from htfjax.locality.tasks.pathfinder.baseline import (
    marker_position_baseline as marker_position_baseline,
)
from htfjax.locality.tasks.pathfinder.draw import PathfinderImages as PathfinderImages
from htfjax.locality.tasks.pathfinder.draw import draw_pathfinder as draw_pathfinder
from htfjax.locality.tasks.pathfinder.draw import marker_distances as marker_distances
from htfjax.locality.tasks.pathfinder.examples import (
    PathfinderExamples as PathfinderExamples,
)
from htfjax.locality.tasks.pathfinder.examples import load_pathfinder as load_pathfinder
from htfjax.locality.tasks.pathfinder.examples import (
    pathfinder_examples as pathfinder_examples,
)
from htfjax.locality.tasks.pathfinder.examples import save_pathfinder as save_pathfinder
from htfjax.locality.tasks.pathfinder.examples import stored_pathfinder as stored_pathfinder
from htfjax.locality.tasks.pathfinder.settings import (
    PathfinderSettings as PathfinderSettings,
)
from htfjax.locality.tasks.pathfinder.settings import lra_pathfinder as lra_pathfinder
from htfjax.locality.tasks.pathfinder.settings import paper_pathfinder as paper_pathfinder
